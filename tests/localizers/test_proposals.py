from __future__ import annotations

import numpy as np
import pytest

from wsdet.engine import localize_all
from wsdet.localizers.proposals import Proposals
from wsdet.types import Boxes, Sample

SAMPLE = Sample("a", np.zeros((20, 30, 3), np.uint8), (1, 4))


class Grid:
    """Three boxes, best first."""

    def propose(self, sample: Sample) -> Boxes:
        xyxy = np.array([[0, 0, 10, 10], [5, 5, 20, 20], [0, 0, 30, 20]], np.float32)
        return Boxes(xyxy, np.array([3, 2, 1], np.float32))


def found(localizer: Proposals, sample: Sample) -> Boxes:
    (_, boxes), *_ = localize_all([(sample.image_id, sample)], localizer, network=None)  # type: ignore[arg-type]
    assert isinstance(boxes, Boxes)
    return boxes


def test_every_label_gets_the_first_boxes() -> None:
    boxes = found(Proposals(Grid(), n_boxes=2), SAMPLE)
    assert boxes.labels.tolist() == [1, 1, 4, 4]
    assert boxes.scores.tolist() == [3, 2, 3, 2]
    np.testing.assert_array_equal(boxes.xyxy[:2], boxes.xyxy[2:])


def test_all_boxes_and_an_image_without_labels() -> None:
    boxes = found(Proposals(Grid(), n_boxes=0), Sample("b", SAMPLE.pixels))
    assert boxes.labels.tolist() == [-1, -1, -1]


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="n_boxes must be a whole number of at least 0"):
        Proposals(Grid(), n_boxes=-1)
