"""A source's boxes of tiles."""

from __future__ import annotations

import numpy as np
import pytest

from wsdet.proposals.tiles import Tiles
from wsdet.types import Boxes, Sample


class Halves:
    """The left half of whatever it sees, then all of it."""

    def propose(self, sample: Sample) -> Boxes:
        h, w = sample.size_hw
        return Boxes(np.array([[0, 0, w / 2, h], [0, 0, w, h]], np.float32), scores=np.array([0.9, 0.5], np.float32))


def test_the_image_and_its_tiles_are_proposed_in_turns_without_repeats() -> None:
    sample = Sample("a", np.zeros((40, 100, 3), np.uint8))
    found = Tiles(Halves(), tile=60, tile_overlap=0.3).propose(sample)  # tiles begin at 0 and 40
    expected = [[0, 0, 50, 40], [0, 0, 30, 40], [40, 0, 70, 40], [0, 0, 100, 40], [0, 0, 60, 40], [40, 0, 100, 40]]
    assert found.xyxy.tolist() == expected
    assert found.scores.tolist() == [-i for i in range(6)]
    assert Tiles(Halves(), tile=60, tile_overlap=0.3, max_boxes=1).propose(sample).xyxy.tolist() == expected[:3]
    assert len(Tiles(Halves(), tile=60, tile_overlap=0.3, nms_iou=0.55).propose(sample)) == 3  # three have IoU 0.6


def test_a_small_image_is_proposed_as_it_is() -> None:
    sample = Sample("a", np.zeros((40, 50, 3), np.uint8))
    np.testing.assert_array_equal(Tiles(Halves(), tile=60).propose(sample).xyxy, Halves().propose(sample).xyxy)


@pytest.mark.parametrize(("argument", "value"), [("tile", 0), ("tile_overlap", 1.0), ("max_boxes", -1), ("nms_iou", 2)])
def test_arguments_are_checked(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be"):
        Tiles(Halves(), **{argument: value})  # type: ignore[arg-type]
