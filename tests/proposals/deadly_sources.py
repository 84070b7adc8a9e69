"""Images and proposal sources that go wrong, in a module of their own so that worker processes can import them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence

import numpy as np

from wsdet.stages.propose import ProposeJob
from wsdet.types import Boxes, InputError, Sample, Split


class Images:
    """Images whose first pixel is their number.

    Args:
        n: how many.
        unreadable: those that cannot be read.
    """

    classes = ("a",)
    truth: dict[str, Boxes] = {}  # noqa: RUF012 - never changed

    def __init__(self, n: int, unreadable: tuple[int, ...] = ()) -> None:
        self.n = n
        self.unreadable = unreadable

    def ids(self, split: Split) -> tuple[str, ...]:
        """All of them train."""
        return tuple(f"image{i}" for i in range(self.n)) if split == "train" else ()

    def labels(self, image_id: str) -> tuple[int, ...]:
        """None."""
        return ()

    def load(self, image_id: str) -> Sample:
        """Noise."""
        number = int(image_id.removeprefix("image"))
        if number in self.unreadable:
            raise InputError(f"{image_id} cannot be read")
        pixels = np.random.default_rng(number).integers(0, 255, (24, 32, 3)).astype(np.uint8)
        pixels[0, 0] = number
        return Sample(image_id, pixels)


class Brightness:
    """One box whose score is the image's first pixel; dies, refuses or breaks over the given values.

    Args:
        dies_at: first pixels over which the process is killed.
        refuses: first pixels over which `InputError` is raised.
    """

    def __init__(self, dies_at: tuple[int, ...] = (), refuses: tuple[int, ...] = ()) -> None:
        self.dies_at = dies_at
        self.refuses = refuses

    def propose(self, sample: Sample) -> Boxes:
        """The box."""
        value = int(sample.pixels[0, 0, 0])
        if value in self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if value in self.refuses:
            raise InputError(f"{sample.image_id} is refused")
        return Boxes(np.array([[0, 0, 1, 1]], np.float32), scores=np.array([value], np.float32))


class CannotArrive:
    """A source that breaks when a worker process unpickles it."""

    def __init__(self) -> None:
        self.something = 1

    def __setstate__(self, state: object) -> None:
        raise RuntimeError("cannot arrive")

    def propose(self, sample: Sample) -> Boxes:
        """Never comes to it."""
        return Boxes.empty()


class SlowJob(ProposeJob):
    """`Brightness` as a job that takes its time, so that something can happen meanwhile."""

    def __init__(self, dataset: Images, seconds: float) -> None:
        super().__init__(dataset, Brightness(), chunk_size=4)
        self.seconds = seconds

    def __call__(self, ids: Sequence[str]) -> Iterator[tuple[str, Boxes | InputError]]:
        """The boxes, late."""
        for outcome in super().__call__(ids):
            time.sleep(self.seconds)
            yield outcome
