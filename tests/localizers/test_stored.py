from __future__ import annotations

import numpy as np

from wsdet.engine import localize_all
from wsdet.localizers.stored import Stored
from wsdet.types import Boxes, InputError, Sample

BOXES = {
    "a": Boxes(
        np.array([[0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7], [3, 3, 6, 6]], np.float32),
        np.array([0.4, 0.3, 0.2, 0.1], np.float32),
        np.array([4, 2, -1, 1]),
    )
}


def found(image_id: str, labels: tuple[int, ...]) -> Boxes | InputError:
    sample = Sample(image_id, np.zeros((20, 30, 3), np.uint8), labels)
    ((_, outcome),) = localize_all([(image_id, sample)], Stored(BOXES), network=None)  # type: ignore[arg-type]
    return outcome


def test_boxes_of_the_image_s_labels_and_of_none_come_back_as_they_are() -> None:
    boxes = found("a", (1, 4))
    assert isinstance(boxes, Boxes)
    assert boxes.labels.tolist() == [4, -1, 1]
    np.testing.assert_array_equal(boxes.xyxy, BOXES["a"].xyxy[[0, 2, 3]])
    np.testing.assert_array_equal(boxes.scores, BOXES["a"].scores[[0, 2, 3]])


def test_an_image_that_the_earlier_run_lacks_is_named() -> None:
    outcome = found("b", (1,))
    assert isinstance(outcome, InputError)
    assert "no boxes for 'b'; localize the same images there" in str(outcome)
