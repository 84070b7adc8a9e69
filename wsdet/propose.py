"""Class-agnostic boxes of many images, computed in parallel processes: `python -m wsdet.propose`.

Images are read here, in id order, and handed to the workers, so that of a dataset nothing but the pixels of the few
images under way is ever copied.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.build import build, limited, network_of
from wsdet.cli.entry_point import entry_point
from wsdet.formats.contents import file_name
from wsdet.storage.box_store import BoxStore, FillReport, Outcome
from wsdet.types import Boxes, Dataset, InputError, ProposalSource, Sample

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

_AHEAD = 2  # images under way for each worker: one at work, one waiting

_source: ProposalSource  # of a worker process, set when it starts


def propose(
    dataset: Dataset,
    ids: Sequence[str],
    source: ProposalSource,
    store: BoxStore,
    workers: int = 2,
    strict: bool = False,
) -> FillReport:
    """Fills `store` with the boxes that `source` proposes for the images `ids` that it does not have yet.

    The boxes do not depend on `workers`. An image that cannot be read, or over which a worker process dies, is
    recorded as failed; what was finished before stays.

    Args:
        dataset: where the images come from.
        ids: images, in the order in which the store keeps them.
        source: what proposes; workers get a copy of it by pickling.
        store: where the boxes go.
        workers: processes; 0 or 1 computes in this one.
        strict: raise for the first image that fails.

    Raises:
        InputError: with `strict`, an image failed; or worker processes cannot start at all.
    """

    def produce(missing: Sequence[str]) -> Iterator[Outcome]:
        if min(workers, len(missing)) > 1:
            return _side_by_side(dataset, missing, source, min(workers, len(missing)))
        return ((image_id, _inline(dataset, image_id, source)) for image_id in missing)

    return store.fill(ids, produce, "propose", strict)


def source_of(node: DictConfig, localized: Callable[[str, DictConfig], Path]) -> ProposalSource:
    """The proposal source that a config node describes.

    A part of it with a `localizer` stands for that localizer's boxes: files that are made now.

    Args:
        node: as `cfg.proposals`.
        localized: runs a localizer; takes the part's `name` and the localizer's config, gives the folder of its boxes.
    """
    from omegaconf import DictConfig, OmegaConf

    def with_files(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        if "localizer" in part:
            name, localizer = file_name(str(part.pop("name"))), DictConfig(part.pop("localizer"))
            return part | {"path": str(localized(name, localizer))}
        return {key: with_files(value) for key, value in part.items()}

    return build(OmegaConf.create(with_files(OmegaConf.to_container(node, resolve=True))), "proposals")


def main() -> None:
    """The entry point `python -m wsdet.propose`."""
    entry_point("propose", _run)


def _run(cfg: DictConfig) -> None:
    from wsdet.cli.factories import proposed

    dataset = build(cfg.data, "data")
    train_ids = limited(dataset.ids("train"), cfg.limit, cfg.seed)
    ids = [*train_ids, *limited(dataset.ids("test"), cfg.limit, cfg.seed)]
    proposed(cfg, cfg.proposals, cfg.names.proposals, dataset, ids, lambda: network_of(cfg, dataset, train_ids))


def _inline(dataset: Dataset, image_id: str, source: ProposalSource) -> Boxes | InputError:
    try:
        return source.propose(dataset.load(image_id))
    except InputError as error:
        return error


def _side_by_side(dataset: Dataset, ids: Sequence[str], source: ProposalSource, workers: int) -> Iterator[Outcome]:
    waiting = deque(ids)
    while waiting:
        under_way: deque[tuple[str, Future[Boxes | InputError]]] = deque()
        try:
            with _started(source, workers) as pool:
                while waiting or under_way:
                    while waiting and len(under_way) < workers * _AHEAD:
                        under_way.append((waiting[0], _submitted(pool, dataset, waiting[0])))
                        waiting.popleft()
                    image_id, future = under_way[0]
                    outcome = future.result()
                    under_way.popleft()
                    yield image_id, outcome
        except BrokenProcessPool:
            # one death takes the whole pool down and does not say over which image: find out one by one
            log.warning("a worker process died; doing the %d images under way again, one at a time", len(under_way))
            for image_id, _ in under_way:
                yield image_id, _alone(dataset, image_id, source)


def _alone(dataset: Dataset, image_id: str, source: ProposalSource) -> Boxes | InputError:
    with _started(source, 1) as pool:
        try:
            return _submitted(pool, dataset, image_id).result()
        except BrokenProcessPool:
            return InputError(
                f"the worker process died over {image_id!r}: killed, perhaps for lack of memory, or crashed inside a "
                "library; run again with fewer workers= or a smaller proposals.max_side="
            )


def _submitted(pool: ProcessPoolExecutor, dataset: Dataset, image_id: str) -> Future[Boxes | InputError]:
    try:
        return pool.submit(_work, dataset.load(image_id))
    except InputError as error:
        unreadable: Future[Boxes | InputError] = Future()
        unreadable.set_result(error)
        return unreadable


@contextmanager
def _started(source: ProposalSource, workers: int) -> Iterator[ProcessPoolExecutor]:
    # spawn: forking a process that has threads, as torch and OpenCV start, can hang
    context = multiprocessing.get_context("spawn")
    hung_up, line = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (source, hung_up))
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


def _start_worker(source: ProposalSource, line: Connection) -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with_parent, args=(line,), daemon=True).start()
    cv2.setNumThreads(1)
    global _source
    _source = source


def _leave_with_parent(line: Connection) -> None:
    wait([line])  # nothing is ever sent: it ends when the parent hangs up or is killed
    os._exit(1)


def _work(sample: Sample) -> Boxes | InputError:
    try:
        return _source.propose(sample)
    except InputError as error:
        return error


if __name__ == "__main__":
    main()
