"""Single images, worked on side by side in processes of this machine.

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

from wsdet.storage.box_store import Outcome
from wsdet.types import Boxes, Dataset, InputError, Sample

log = logging.getLogger(__name__)

Work = Callable[[Sample], Boxes]

_AHEAD = 2  # images under way for each worker: one at work, one waiting

_work: Work  # of a worker process, set when it starts


def in_processes(dataset: Dataset, ids: Sequence[str], work: Work, workers: int) -> Iterator[Outcome]:
    """(image id, what `work` makes of the image) in the order of `ids`, whatever the number of processes.

    Args:
        dataset: where the images come from.
        ids: of the images.
        work: what is done with each; workers get a copy of it by pickling.
        workers: processes; 0 or 1 works in this one.

    Raises:
        InputError: worker processes cannot start at all.
    """
    workers = min(workers, len(ids))
    if workers > 1:
        yield from _side_by_side(dataset, ids, work, workers)
        return
    for image_id in ids:
        try:
            yield image_id, work(dataset.load(image_id))
        except InputError as error:
            yield image_id, error


def _side_by_side(dataset: Dataset, ids: Sequence[str], work: Work, workers: int) -> Iterator[Outcome]:
    waiting = deque(ids)
    while waiting:
        under_way: deque[tuple[str, Future[Boxes | InputError]]] = deque()
        try:
            with _started(work, workers) as pool:
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
                yield image_id, _alone(dataset, image_id, work)


def _alone(dataset: Dataset, image_id: str, work: Work) -> Boxes | InputError:
    with _started(work, 1) as pool:
        try:
            return _submitted(pool, dataset, image_id).result()
        except BrokenProcessPool:
            return InputError(
                f"the worker process died over {image_id!r}: killed, perhaps for lack of memory, or crashed inside a "
                "library; run again with fewer workers= or a smaller proposals.max_side="
            )


def _submitted(pool: ProcessPoolExecutor, dataset: Dataset, image_id: str) -> Future[Boxes | InputError]:
    try:
        return pool.submit(_worked, dataset.load(image_id))
    except InputError as error:
        unreadable: Future[Boxes | InputError] = Future()
        unreadable.set_result(error)
        return unreadable


@contextmanager
def _started(work: Work, workers: int) -> Iterator[ProcessPoolExecutor]:
    # spawn: forking a process that has threads, as torch and OpenCV start, can hang
    context = multiprocessing.get_context("spawn")
    hung_up, line = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (work, hung_up))
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


def _start_worker(work: Work, line: Connection) -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with_parent, args=(line,), daemon=True).start()
    cv2.setNumThreads(1)
    global _work
    _work = work


def _leave_with_parent(line: Connection) -> None:
    wait([line])  # nothing is ever sent: it ends when the parent hangs up or is killed
    os._exit(1)


def _worked(sample: Sample) -> Boxes | InputError:
    try:
        return _work(sample)
    except InputError as error:
        return error
