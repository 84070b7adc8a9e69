"""Proposal sources that go wrong, in a module of their own so that worker processes can import them."""

from __future__ import annotations

import os
import signal

import numpy as np

from wsdet.types import Boxes, InputError, Sample


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
