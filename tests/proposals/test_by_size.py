"""The longer side chooses the source."""

from __future__ import annotations

import numpy as np
import pytest

from wsdet.proposals.by_size import BySize
from wsdet.types import Boxes, InputError, Sample


class Named:
    """Three boxes, as wide as the source's number."""

    def __init__(self, number: int) -> None:
        self.boxes = Boxes(np.array([[0, 0, number, 1 + i] for i in range(3)], np.float32), np.array([3, 2, 1]))

    def propose(self, sample: Sample) -> Boxes:
        return self.boxes


@pytest.mark.parametrize(
    ("size_hw", "number"), [((10, 5), 1), ((5, 10), 1), ((11, 5), 2), ((5, 11), 2)], ids=lambda value: str(value)
)
def test_the_longer_side_counts(size_hw: tuple[int, int], number: int) -> None:
    found = BySize(Named(1), Named(2), side=10).propose(Sample("a", np.zeros((*size_hw, 3), np.uint8)))
    assert found.xyxy[:, 2].tolist() == [number] * 3


def test_max_boxes_keeps_the_best() -> None:
    sample = Sample("a", np.zeros((4, 4, 3), np.uint8))
    assert BySize(Named(1), Named(2), max_boxes=2).propose(sample).scores.tolist() == [3, 2]
    assert len(BySize(Named(1), Named(2), max_boxes=0).propose(sample)) == 3


def test_arguments_are_checked() -> None:
    with pytest.raises(InputError, match="side must be"):
        BySize(Named(1), Named(2), side=0)
