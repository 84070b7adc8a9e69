"""Sources take turns, each in proportion to its number of boxes."""

from __future__ import annotations

import numpy as np
import pytest

from wsdet.proposals.interleave import Interleave
from wsdet.types import Boxes, InputError, Sample

SAMPLE = Sample("a", np.zeros((10, 10, 3), np.uint8))


class Fixed:
    """Boxes of one width, told apart by where they end."""

    def __init__(self, width: float, *ends: float) -> None:
        xyxy = np.array([[end - width, 0, end, 1] for end in ends], np.float32).reshape(-1, 4)
        self.boxes = Boxes(xyxy, scores=-np.arange(len(ends), dtype=np.float32))

    def propose(self, sample: Sample) -> Boxes:
        return self.boxes


@pytest.mark.parametrize(
    ("sources", "ends"),
    [
        pytest.param({"a": Fixed(1, 1, 2, 3), "b": Fixed(2, 4, 5, 6)}, [1, 4, 2, 5, 3, 6], id="as many of each"),
        pytest.param({"a": Fixed(1, 1), "b": Fixed(2, 4, 5, 6, 7)}, [4, 5, 1, 6, 7], id="the few stand in the middle"),
        pytest.param({"a": Fixed(1, 1, 2), "b": Fixed(1, 3, 1)}, [1, 3, 2], id="a repeat stands where it came first"),
        pytest.param({"a": Fixed(1), "b": Fixed(2, 4)}, [4], id="an empty one gives nothing"),
        pytest.param({"a": Fixed(1)}, [], id="nothing at all"),
    ],
)
def test_the_order(sources: dict[str, Fixed], ends: list[float]) -> None:
    found = Interleave(sources).propose(SAMPLE)
    assert found.xyxy[:, 2].tolist() == ends
    assert found.scores.tolist() == [-i for i in range(len(ends))]


def test_max_boxes_cuts_the_list() -> None:
    assert len(Interleave({"a": Fixed(1, 1, 2), "b": Fixed(2, 4, 5)}, max_boxes=3).propose(SAMPLE)) == 3


def test_arguments_are_checked() -> None:
    with pytest.raises(InputError, match="sources must name at least one"):
        Interleave({})
    with pytest.raises(InputError, match="max_boxes must be"):
        Interleave({"a": Fixed(1)}, max_boxes=-1)
