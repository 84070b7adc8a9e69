"""The sliding baselines against a classifier that looks at known rectangles; the grids they slide on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conftest import FakeNetwork
from wsdet import boxes
from wsdet.engine import localize_all
from wsdet.localizers.sliding import Sliding
from wsdet.localizers.windows import grid, image_windows
from wsdet.questions import Cropped, Localizer, Masked, NetworkInput
from wsdet.types import Boxes, Floats, InputError, Sample

H, W = 80, 160
OBJECTS = np.array([[20, 30, 60, 70], [100, 10, 140, 50]], np.float32)  # of classes 0 and 1: a quarter wide, half high


def scores(one: NetworkInput) -> Floats:
    """Of a class: the share of its rectangle left visible by a mask, or its IoU with a crop."""
    match one.question:
        case Masked(xyxy=xyxy):
            hidden = boxes.intersection(xyxy[one.row : one.row + 1], OBJECTS)[0] / boxes.area(OBJECTS)
            return np.array([0.6, 0.4], np.float32) * (1 - hidden)
        case Cropped(xyxy=xyxy):
            return boxes.iou(xyxy[one.row : one.row + 1], OBJECTS)[0]
        case _:
            return np.array([0.6, 0.4], np.float32)


def localize(localizer: Localizer, labels: tuple[int, ...], network: FakeNetwork | None = None) -> Boxes:
    sample = Sample("scene", np.zeros((H, W, 3), np.uint8), labels)
    ((_, outcome),) = localize_all([("scene", sample)], localizer, network or FakeNetwork(scores))
    assert not isinstance(outcome, InputError)
    return outcome


def test_each_label_has_its_own_window_first() -> None:
    found = localize(Sliding("crop", class_known=True), (0, 1))
    for label in (0, 1):
        own = found[found.labels == label]
        assert boxes.iou(own.xyxy[:1], OBJECTS[label : label + 1])[0, 0] > 0.75
        assert (np.diff(own.scores) <= 0).all()


def test_each_label_has_an_occlusion_of_its_whole_object_first() -> None:
    found = localize(Sliding("drop", class_known=True, sides=[0.25, 0.5], stride=0.0625), (0, 1))
    for label, best in ((0, 0.6), (1, 0.4)):
        own = found[found.labels == label]
        assert own.scores[0] == pytest.approx(best)
        assert boxes.intersection(own.xyxy[:1], OBJECTS[label : label + 1])[0, 0] == boxes.area(OBJECTS)[label]
        assert (np.diff(own.scores) <= 0).all()


def test_top_classes_are_those_of_the_crop_or_of_the_whole_image() -> None:
    window = localize(Sliding("crop", top_classes=1), (1,))
    assert set(window.labels) == {-1}
    assert boxes.iou(window.xyxy[:2], OBJECTS).max(axis=0).min() > 0.75  # a crop's best class is what it shows
    occlusion = localize(Sliding("drop", top_classes=1, sides=[0.25], stride=0.125), (1,))
    assert set(occlusion.labels) == {-1}
    assert boxes.intersection(occlusion.xyxy[:1], OBJECTS)[0, 0] > 0  # class 0 is the image's best


@pytest.mark.parametrize("by", ["crop", "drop"])
def test_a_label_unknown_to_the_network_is_localized_by_the_top_classes(by: Any) -> None:
    found = localize(Sliding(by, class_known=True, top_classes=2), (1,), FakeNetwork(scores, unknown=[1]))
    assert set(found.labels) == {1}
    np.testing.assert_array_equal(found.xyxy, localize(Sliding(by, top_classes=2), (1,)).xyxy)


@pytest.mark.parametrize("by", ["crop", "drop"])
def test_no_label_gives_no_class_known_box(by: Any) -> None:
    assert len(localize(Sliding(by, class_known=True), ())) == 0
    assert len(localize(Sliding(by), ())) > 0


def test_boxes_do_not_overlap_by_more_than_the_threshold_and_are_at_most_max_boxes() -> None:
    found = localize(Sliding("crop", nms_iou=0.3), ())
    overlaps = boxes.iou(found.xyxy, found.xyxy)
    assert overlaps[~np.eye(len(found), dtype=bool)].max() <= 0.3
    assert len(localize(Sliding("drop", class_known=True, max_boxes=2), (0, 1))) == 4


def test_a_grid_reaches_the_far_edges_without_repeating_a_window() -> None:
    windows = grid(np.array([10, 20, 74, 84], np.float32), (51.2, 51.2), (4, 4))
    assert len(windows) == 25  # 0, 4, 8, 12 and 12.8 along each side
    assert windows.min(axis=0)[:2].tolist() == [10, 20]
    np.testing.assert_allclose(windows.max(axis=0)[2:], [74, 84])
    assert len(grid(np.array([0, 0, 1, 1], np.float32), (0.7, 0.7), (0.1, 0.1))) == 16
    assert grid(np.array([1, 1, 3, 3], np.float32), (2, 2), (1, 1)).tolist() == [[1, 1, 3, 3]]


def test_windows_of_an_image_pair_every_width_with_every_height() -> None:
    windows = image_windows((H, W), (0.5, 1.0), 0.5)
    sizes = {(float(x2 - x1), float(y2 - y1)) for x1, y1, x2, y2 in windows}
    assert sizes == {(80, 40), (80, 80), (160, 40), (160, 80)}
    assert len(windows) == len(np.unique(windows, axis=0)) == 9


@pytest.mark.parametrize("by", ["crop", "drop"])
@pytest.mark.parametrize(
    "arguments", [{"sides": []}, {"sides": [0]}, {"stride": 0}, {"top_classes": 0}, {"nms_iou": 2}, {"max_boxes": -1}]
)
def test_bad_arguments_are_named(by: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(arguments))}(\[0\])? must"):
        Sliding(by, **arguments)
