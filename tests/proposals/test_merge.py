"""First n of one source, then the other."""

from __future__ import annotations

import numpy as np
import pytest

from wsdet.proposals.merge import Merge
from wsdet.types import Boxes, Sample

SAMPLE = Sample("a", np.zeros((10, 10, 3), np.uint8))


class Fixed:
    """Always the same boxes."""

    def __init__(self, *xyxy: tuple[float, float, float, float]) -> None:
        self.boxes = Boxes(np.array(xyxy, np.float32), scores=np.linspace(1, 0.5, len(xyxy), dtype=np.float32))

    def propose(self, sample: Sample) -> Boxes:
        return self.boxes


A = Fixed((0, 0, 4, 4), (5, 5, 9, 9), (0, 5, 4, 9))
B = Fixed((0, 0, 4, 3.5), (0, 0, 4, 2.7), (1, 1, 9, 9), (0, 5, 4, 9))
NOTHING = Fixed()


@pytest.mark.parametrize(
    ("first", "then", "n_first", "expected"),
    [
        pytest.param(NOTHING, NOTHING, 2, [], id="both empty"),
        pytest.param(NOTHING, B, 2, B.boxes.xyxy.tolist(), id="first empty"),
        pytest.param(A, NOTHING, 2, A.boxes.xyxy[:2].tolist(), id="then empty"),
        pytest.param(A, B, 0, B.boxes.xyxy.tolist(), id="none of the first"),
        pytest.param(
            *(A, B, 2, [[0, 0, 4, 4], [5, 5, 9, 9], [0, 0, 4, 2.7], [1, 1, 9, 9], [0, 5, 4, 9]]),
            id="a repeat (IoU .875) is dropped, IoU .675 and a box beyond the first two stay",
        ),
    ],
)
def test_merge(first: Fixed, then: Fixed, n_first: int, expected: list[list[float]]) -> None:
    merged = Merge(first, then, n_first).propose(SAMPLE)
    np.testing.assert_allclose(merged.xyxy, np.array(expected).reshape(-1, 4), rtol=1e-6)
    assert merged.scores.tolist() == [-i for i in range(len(expected))]


def test_max_boxes_cuts_the_joined_list() -> None:
    assert len(Merge(A, B, max_boxes=3).propose(SAMPLE)) == 3


@pytest.mark.parametrize(("argument", "value"), [("n_first", -1), ("iou_threshold", 1.5), ("max_boxes", -1)])
def test_arguments_are_checked(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be"):
        Merge(A, B, **{argument: value})  # type: ignore[arg-type]
