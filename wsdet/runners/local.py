"""Jobs done on this machine: in this process, or in several that each have their own network."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.queues import SimpleQueue
from typing import Any, TypeVar

from wsdet import check
from wsdet.runners.job import Job, Work, chunks_of, died_over
from wsdet.types import InputError

log = logging.getLogger(__name__)

T = TypeVar("T")
Chunk = tuple[str, ...]
Done = tuple[list[tuple[str, Any]], int]  # outcomes by image id, forward passes

_AHEAD = 2  # chunks under way for each worker: one at work, one waiting

_work: Work[Any]  # of a worker process, opened when it starts


class Local:
    """This machine.

    Args:
        workers: processes; 0 or 1 works in this one. On a CPU they share its cores; of several GPUs each takes one.

    Raises:
        InputError: `workers` is below 0.
    """

    def __init__(self, workers: int = 1) -> None:
        check.at_least(0, workers=workers)
        self.workers = workers
        self.n_forward_passes = 0

    def run(self, job: Job[T], ids: Sequence[str]) -> Iterator[tuple[str, T | InputError]]:
        """See `wsdet.runners.job.Runner`."""
        workers = min(self.workers, len(ids))
        if workers > 1:
            yield from self._side_by_side(job.packed(), ids, workers)
            return
        work = job.open()
        before = work.n_forward_passes
        yield from work(ids)
        self.n_forward_passes += work.n_forward_passes - before

    def _side_by_side(self, job: Job[T], ids: Sequence[str], workers: int) -> Iterator[tuple[str, T | InputError]]:
        waiting = deque(chunks_of(ids, job.chunk_size, workers))
        while waiting:
            under_way: deque[tuple[Chunk, Future[Done]]] = deque()
            try:
                with _started(job, workers) as pool:
                    while waiting or under_way:
                        while waiting and len(under_way) < workers * _AHEAD:
                            under_way.append((waiting[0], pool.submit(_worked, waiting[0])))
                            waiting.popleft()
                        done = under_way[0][1].result()
                        under_way.popleft()
                        yield from self._counted(done)
            except BrokenProcessPool:
                # one death takes the whole pool down and does not say over which image: find out one by one
                lost = [image_id for chunk, _ in under_way for image_id in chunk]
                log.warning("a worker process died; doing the %d images under way again, one at a time", len(lost))
                yield from self._one_by_one(job, lost)

    def _one_by_one(self, job: Job[T], ids: Sequence[str]) -> Iterator[tuple[str, T | InputError]]:
        waiting = deque(ids)
        while waiting:
            try:
                with _started(job, 1) as pool:
                    while waiting:
                        yield from self._counted(pool.submit(_worked, (waiting[0],)).result())
                        waiting.popleft()
            except BrokenProcessPool:
                image_id = waiting.popleft()
                yield image_id, died_over(image_id)

    def _counted(self, done: Done) -> Iterator[tuple[str, Any]]:
        outcomes, n_forward_passes = done
        self.n_forward_passes += n_forward_passes
        yield from outcomes


@contextmanager
def _started(job: Job[Any], workers: int) -> Iterator[ProcessPoolExecutor]:
    # spawn: forking a process that has threads, as torch and OpenCV start, can hang
    context = multiprocessing.get_context("spawn")
    hung_up, line = context.Pipe(duplex=False)
    numbers: SimpleQueue[int] = context.SimpleQueue()
    for number in range(workers):
        numbers.put(number)
    threads = max(1, (os.cpu_count() or 1) // workers)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (job, numbers, threads, hung_up))
    try:
        try:
            pool.submit(os.getpid).result()
        except BrokenProcessPool as error:
            raise InputError(
                "worker processes cannot start, the reason is above; workers=0 computes without them"
            ) from error
        yield pool
        pool.shutdown()
    finally:
        line.close()  # an interrupt or an error: the workers leave what they are at
        hung_up.close()
        pool.shutdown(cancel_futures=True)


def _start_worker(job: Job[Any], numbers: SimpleQueue[int], threads: int, line: Connection) -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with_parent, args=(line,), daemon=True).start()
    cv2.setNumThreads(1)
    if "torch" in sys.modules:  # the job came with a network
        sys.modules["torch"].set_num_threads(threads)
    global _work
    _work = job.open(numbers.get())


def _leave_with_parent(line: Connection) -> None:
    wait([line])  # nothing is ever sent: it ends when the parent hangs up or is killed
    os._exit(1)


def _worked(chunk: Chunk) -> Done:
    before = _work.n_forward_passes
    return list(_work(chunk)), _work.n_forward_passes - before
