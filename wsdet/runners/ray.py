"""Jobs done on a Ray cluster, by actors that each hold an opened job and are given chunks of image ids.

Plain actors, with the caller's store as the only place where results are kept. Ray Data was left aside: a checkpoint
on a list of items writes rows twice after a kill, small inputs become one block so that a kill loses all, one image
that cannot be read fails the job, and a fixed pool of actors can hang when a node dies (seen with Ray 2.60).
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from wsdet import check
from wsdet.runners.job import Job, chunks_of, died_over
from wsdet.types import InputError

log = logging.getLogger(__name__)

T = TypeVar("T")
Chunk = tuple[str, ...]
Task = tuple[int, Chunk]  # the number of a chunk, and some or all of its images

_AHEAD = 2  # chunks under way for each actor: one at work, one waiting
_TRIES = 3  # workers that may fail to start, one after the other
_PATIENCE = 300.0  # seconds without any result, after which the cluster is asked whether it still has nodes


class Ray:
    """A Ray cluster.

    Args:
        address: "auto" or an address joins a running cluster; "local" starts one on this machine.
        workers: actors; 0: as many as the cluster has room for.
        cpus_per_worker: processors of an actor, and its threads.
        gpus_per_worker: GPUs of an actor; a fraction lets several share one.

    Raises:
        InputError: a number is out of its range.
    """

    def __init__(
        self, address: str = "auto", workers: int = 0, cpus_per_worker: float = 1, gpus_per_worker: float = 0
    ) -> None:
        check.at_least(0, workers=workers, gpus_per_worker=gpus_per_worker)
        check.positive(cpus_per_worker=cpus_per_worker)
        self._address = address
        self.workers = workers
        self._resources = {"num_cpus": cpus_per_worker, "num_gpus": gpus_per_worker}
        self.n_forward_passes = 0

    def run(self, job: Job[T], ids: Sequence[str]) -> Iterator[tuple[str, T | InputError]]:
        """See `wsdet.runners.job.Runner`."""
        if not ids:
            return
        ray = self._joined()
        wanted = min(self.workers or self._room(ray), len(ids))
        chunks = chunks_of(ids, job.chunk_size, wanted)
        pool = _Pool(ray, ray.put(job.packed()), self._resources, min(wanted, len(chunks)))
        try:
            yield from pool.work(chunks)
        finally:
            self.n_forward_passes += pool.n_forward_passes
            pool.close()

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that are alive: `address`, `cpus`, `gpus`, `memory` in bytes for workers, as Ray counts them.

        Raises:
            InputError: the package ray is missing, or no cluster answers.
        """
        alive = [node for node in self._joined().nodes() if node["Alive"]]
        return [
            {
                "address": node["NodeManagerAddress"],
                "cpus": node["Resources"].get("CPU", 0.0),
                "gpus": node["Resources"].get("GPU", 0.0),
                "memory": node["Resources"].get("memory", 0.0),
            }
            for node in alive
        ]

    def _joined(self) -> Any:
        """The module `ray`, connected."""
        try:
            import ray
        except ImportError as error:
            raise InputError("runner=ray needs the package ray: install wsdet[ray], or take runner=local") from error
        if not ray.is_initialized():
            # the dashboard is no business of a cluster that is joined
            options: dict[str, Any] = {"include_dashboard": False} if self._address == "local" else {}
            try:
                ray.init(address=self._address, log_to_driver=False, logging_level=logging.WARNING, **options)
            except ConnectionError as error:
                raise InputError(
                    f"runner.address={self._address}: no Ray cluster answers there ({error}); start one with "
                    "`ray start --head`, or give runner.address=local"
                ) from error
        return ray

    def _room(self, ray: Any) -> int:
        """How many actors fit into the cluster as it is now."""
        there, rooms = ray.cluster_resources(), []
        for name, key in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
            if self._resources[name] > 0:
                rooms.append(int(there.get(key, 0) / self._resources[name]))
        if min(rooms) < 1:
            raise InputError(
                f"runner=ray: no worker of {self._resources['num_cpus']} processors and "
                f"{self._resources['num_gpus']} GPUs fits into the cluster, which has {there.get('CPU', 0):g} and "
                f"{there.get('GPU', 0):g}; lower runner.cpus_per_worker or runner.gpus_per_worker"
            )
        return min(rooms)


@dataclass(eq=False)
class _Actor:
    """An actor, and what it has been given.

    Attributes:
        handle: Ray's.
        ready: a reference that is there once the actor has opened the job; None afterwards.
        tasks: what is under way, by reference, in the order in which it was given.
    """

    handle: Any
    ready: Any
    tasks: dict[Any, Task] = field(default_factory=dict)


class _Pool:
    """Actors that chunks are handed to; one that dies is replaced, and what it had is done again, image by image."""

    def __init__(self, ray: Any, job: Any, resources: dict[str, float], size: int) -> None:
        self._ray = ray
        # of an actor, or of a result that lay on its node
        self._losses = (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError)
        self._job = job
        self._type = ray.remote(_Worker).options(max_restarts=0, **resources)
        self._threads = max(1, int(resources["num_cpus"]))
        self._waiting: deque[Task] = deque()
        self._done: defaultdict[int, dict[str, Any]] = defaultdict(dict)  # by chunk and image
        self._deaths: Counter[str] = Counter()  # workers that died over an image alone
        self._n_failed_starts = 0  # since the last that went well
        self.n_forward_passes = 0
        self._actors = [self._started() for _ in range(size)]

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor.handle)

    def work(self, chunks: Sequence[Chunk]) -> Iterator[tuple[str, Any]]:
        """(image id, outcome) for the images of all chunks, in their order."""
        self._waiting.extend(enumerate(chunks))
        for number, chunk in enumerate(chunks):
            while len(self._done[number]) < len(chunk):
                self._hand_out(ahead_of=number)
                self._gather()
            of_chunk = self._done.pop(number)
            yield from ((image_id, of_chunk[image_id]) for image_id in chunk)

    def _started(self) -> _Actor:
        handle = self._type.remote(self._job, self._threads)
        return _Actor(handle, handle.ready.remote())

    def _hand_out(self, ahead_of: int) -> None:
        """Gives waiting tasks to actors that have room, but none far ahead of the chunk that is wanted next."""
        bound = ahead_of + 2 * _AHEAD * len(self._actors)  # what is done before its turn is kept in memory
        for actor in sorted(self._actors, key=lambda one: len(one.tasks)):
            while actor.ready is None and self._waiting and self._waiting[0][0] < bound and self._has_room(actor):
                task = self._waiting.popleft()
                actor.tasks[actor.handle.work.remote(task[1])] = task

    def _has_room(self, actor: _Actor) -> bool:
        """Whether an actor takes the next task: a suspect's alone, as what it did just before it died may be lost."""
        alone = any(self._is_suspect(task) for task in [self._waiting[0], *actor.tasks.values()])
        return len(actor.tasks) < (1 if alone else _AHEAD)

    def _is_suspect(self, task: Task) -> bool:
        _, chunk = task
        return len(chunk) == 1 and self._deaths[chunk[0]] > 0

    def _gather(self) -> None:
        """Waits until something comes, and takes it."""
        owners = {reference: actor for actor in self._actors for reference in actor.tasks}
        owners |= {actor.ready: actor for actor in self._actors if actor.ready is not None}
        there, _ = self._ray.wait(list(owners), timeout=_PATIENCE)
        if not there and not any(node["Alive"] for node in self._ray.nodes()):
            raise InputError("runner=ray: no node of the cluster is alive; start nodes and run the same command again")
        for reference in there:
            actor = owners[reference]
            if actor not in self._actors:  # it died, as another of its references has told
                continue
            try:
                self._take(actor, reference)
            except self._losses as error:
                self._replace(actor, error)

    def _take(self, actor: _Actor, reference: Any) -> None:
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from error
        if reference is actor.ready:
            actor.ready, self._n_failed_starts = None, 0
            return
        number, _ = actor.tasks.pop(reference)
        outcomes, n_forward_passes = result
        self._done[number].update(outcomes)
        self.n_forward_passes += n_forward_passes

    def _replace(self, actor: _Actor, error: Exception) -> None:
        """Starts another actor in place of one that died; its tasks wait again."""
        self._take_finished(actor)
        if actor.ready is not None:
            self._n_failed_starts += 1
            if self._n_failed_starts > _TRIES:
                reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
                raise InputError(
                    f"runner=ray: no worker can start on the cluster: {reason[0]}; all nodes need the same packages, "
                    "and modules of your own on their PYTHONPATH"
                ) from error
        log.warning("a worker of the cluster was lost; its %d chunks are done again", len(actor.tasks))
        self._actors[self._actors.index(actor)] = self._started()
        tasks = list(actor.tasks.values())
        self._waiting.extendleft(reversed(tasks[1:]))  # they had no part in its death
        for number, chunk in tasks[:1]:
            self._suspect(number, chunk)

    def _take_finished(self, actor: _Actor) -> None:
        """Takes what a dead actor had finished, so that the first of its tasks is the one that it died over."""
        for reference in list(actor.tasks):
            try:
                self._take(actor, reference)
            except self._losses:
                return

    def _suspect(self, number: int, chunk: Chunk) -> None:
        """Does the images one by one that a worker died over; one that kills two workers alone is given up."""
        if len(chunk) > 1:
            self._waiting.extendleft((number, (image_id,)) for image_id in reversed(chunk))
            return
        self._deaths[chunk[0]] += 1
        if self._deaths[chunk[0]] > 1:
            self._done[number][chunk[0]] = died_over(chunk[0])
        else:
            self._waiting.appendleft((number, chunk))


class _Worker:
    """An actor."""

    def __init__(self, job: Job[Any], threads: int) -> None:
        import sys

        import cv2

        cv2.setNumThreads(1)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        self._work = job.open()

    def ready(self) -> bool:
        """Answers once the job is opened."""
        return True

    def work(self, chunk: Chunk) -> tuple[list[tuple[str, Any]], int]:
        """Outcomes by image id, and the forward passes that they took."""
        before = self._work.n_forward_passes
        return list(self._work(chunk)), self._work.n_forward_passes - before
