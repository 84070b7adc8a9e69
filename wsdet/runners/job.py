"""What is done with single images, wherever: a `Job` is sent to worker processes, which open it once.

Work on single images needs nothing of other images, so it may be done anywhere and in any order; a `Runner` decides
where, and gives the results back in the order of the images. What comes out does not depend on the runner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from wsdet.types import InputError

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Work(Protocol, Generic[T_co]):
    """A job that was opened: holds its network, if any."""

    @property
    def n_forward_passes(self) -> int:
        """So far."""

    def __call__(self, ids: Sequence[str]) -> Iterator[tuple[str, T_co | InputError]]:
        """(image id, what was made of the image or what was wrong with it) in the order of `ids`."""


class Job(Protocol, Generic[T_co]):
    """A description of work on single images."""

    @property
    def chunk_size(self) -> int:
        """Images handed out together, and the maximum number that is lost when a worker dies."""

    def packed(self) -> Job[T_co]:
        """The job as it travels to other processes and machines: what holds a device is taken apart."""

    def open(self, worker: int = 0) -> Work[T_co]:
        """Makes ready to work, in the process that does it.

        Args:
            worker: its number among the workers of this machine, which of several GPUs it takes.
        """


class Runner(Protocol):
    """Where jobs are done.

    Attributes:
        workers: how many work side by side; 0: not known before they start.
    """

    workers: int

    @property
    def n_forward_passes(self) -> int:
        """Of all its jobs so far."""

    def run(self, job: Job[T], ids: Sequence[str]) -> Iterator[tuple[str, T | InputError]]:
        """Results for the images `ids`, in their order.

        An image over which a worker dies again when it is alone is one that cannot be done; a worker or node that is
        lost for another reason costs nothing but time.

        Raises:
            InputError: no worker can be started.
        """


def chunks_of(ids: Sequence[str], size: int, n_workers: int) -> list[tuple[str, ...]]:
    """The images in chunks of at most `size`, small enough that every worker gets some."""
    size = max(1, min(size, -(-len(ids) // max(1, n_workers))))
    return [tuple(ids[start : start + size]) for start in range(0, len(ids), size)]


def died_over(image_id: str) -> InputError:
    """What is recorded for an image over which workers die."""
    return InputError(
        f"the worker process died over {image_id!r}: killed, perhaps for lack of memory, or crashed inside a "
        "library; run again with fewer workers= or a smaller proposals.max_side="
    )
