"""Training by the processes of torchrun, on one node or several: process 0 runs the program, the others join in.

All but training is done once, so process 0 alone does it. Where it comes to a training (`wsdet.training.resumable.fit`)
it hands the others what it is about to do; they do it too, each with a share of the batches, and wait for the next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from wsdet.types import InputError

Work = Callable[[], Any]

# a script of a user's own, started by torchrun, does not lead: it trains in all its processes
_leads = ContextVar("leads", default=False)

_PATIENCE = timedelta(days=30)  # process 0 may have days of work to do between two trainings


def rank() -> int | None:
    """The number of this process among those that torchrun has started; None: it has started none."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


@contextmanager
def leading() -> Iterator[None]:
    """Process 0's work, at whose end the others are let go; without torchrun nothing more than the work.

    What it raises ends process 0, on which torchrun ends the others.
    """
    if rank() is None:
        yield
        return
    _join()
    token = _leads.set(True)
    try:
        yield
    finally:
        _leads.reset(token)
    _broadcast(None)
    _leave()


def follow() -> None:
    """What the other processes do: each piece of work that process 0 hands out, until it is done.

    Raises:
        InputError: process 0 has ended without a word.
    """
    _join()
    while (work := _broadcast(None)) is not None:
        work()
    _leave()


def hand_out(work: Work) -> Work:
    """Gives `work`, which can be pickled, to the processes that follow this one, if there are any; returns it."""
    if _leads.get():
        _broadcast(work)
    return work


def _join() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group(timeout=_PATIENCE)  # gloo between processors, NCCL between GPUs


def _leave() -> None:
    import torch

    torch.distributed.destroy_process_group()


def _broadcast(work: Work | None) -> Work | None:
    """Process 0's work, in every process."""
    import torch

    given = [work]
    try:
        torch.distributed.broadcast_object_list(given, src=0, device=torch.device("cpu"))
    except RuntimeError as error:  # gloo's, of a closed connection
        raise InputError(f"a process of torchrun has ended before the others; its log says why ({error})") from error
    return given[0]
