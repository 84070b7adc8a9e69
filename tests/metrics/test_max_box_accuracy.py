from __future__ import annotations

import cv2
import numpy as np
import pytest

from wsdet.metrics.max_box_accuracy import THRESHOLDS, Version, best_iou_by_threshold, max_box_accuracy
from wsdet.types import Boxes, Floats


def rectangle(x1: int, y1: int, x2: int, y2: int, side: int = 224) -> Floats:
    heat = np.zeros((side, side), np.float32)
    heat[y1:y2, x1:x2] = 1
    return heat


def boxes(*xyxy: list[float]) -> Boxes:
    return Boxes(np.array(xyxy, np.float32))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_map_of_the_object_is_right(version: Version) -> None:
    maps, truth = {"a": rectangle(40, 60, 100, 150)}, {"a": boxes([40, 60, 100, 150])}
    assert max_box_accuracy(maps, truth, {"a": (224, 224)}, ["a"], version) == 1


def test_boxes_are_carried_to_the_map() -> None:
    maps, truth = {"a": rectangle(40, 60, 100, 150)}, {"a": boxes([80, 180, 200, 450])}
    assert max_box_accuracy(maps, truth, {"a": (672, 448)}, ["a"]) == 1


def test_v1_takes_the_largest_blob_and_v2_the_best() -> None:
    heat = rectangle(0, 0, 100, 100) + rectangle(150, 150, 200, 200)
    truth = {"a": boxes([150, 150, 200, 200])}
    assert max_box_accuracy({"a": heat}, truth, {"a": (224, 224)}, ["a"], "v1") == 0
    assert max_box_accuracy({"a": heat}, truth, {"a": (224, 224)}, ["a"], "v2") == 1


def test_v2_averages_three_overlaps() -> None:
    # the box is 60 of the object's 100 rows: right at 0.3 and 0.5, wrong at 0.7
    maps, truth = {"a": rectangle(50, 50, 150, 110)}, {"a": boxes([50, 50, 150, 150])}
    assert max_box_accuracy(maps, truth, {"a": (224, 224)}, ["a"]) == pytest.approx(2 / 3)


def test_one_threshold_serves_the_whole_set() -> None:
    # a wants a low threshold, b a high one
    object_xyxy = [50.0, 50.0, 150.0, 150.0]
    wide, core = rectangle(50, 50, 150, 150), rectangle(90, 90, 110, 110)
    spill = rectangle(0, 0, 224, 224)
    maps = {"a": wide * 0.4 + core * 0.6, "b": spill * 0.0 + rectangle(5, 5, 220, 220) * 0.6 + wide * 0.4}
    truth = {"a": boxes(object_xyxy), "b": boxes(object_xyxy)}
    sizes = {"a": (224, 224), "b": (224, 224)}
    assert max_box_accuracy(maps, truth, sizes, ["a"], "v1") == max_box_accuracy(maps, truth, sizes, ["b"], "v1") == 1
    assert max_box_accuracy(maps, truth, sizes, ["a", "b"], "v1") == 0.5


@pytest.mark.parametrize("heat", [np.zeros((7, 7), np.float32), np.full((7, 7), np.nan, np.float32)])
def test_a_flat_map_gives_the_box_of_one_pixel(heat: Floats) -> None:
    assert max_box_accuracy({"a": heat}, {"a": boxes([50, 50, 150, 150])}, {"a": (224, 224)}, ["a"]) == 0


@pytest.mark.parametrize("largest_only", [True, False])
def test_equals_cutting_at_every_threshold(rng: np.random.Generator, largest_only: bool) -> None:
    heat = np.array(cv2.GaussianBlur(rng.random((224, 224), np.float32), (0, 0), 15), np.float32)
    true = np.array([[30, 40, 120, 160], [100, 20, 200, 90]], np.float32)
    normal = (heat - heat.min()) / (heat.max() - heat.min())
    image = (normal * 255).astype(np.uint8)
    expected = []
    for threshold in THRESHOLDS[::10]:
        _, cut = cv2.threshold(image, int(threshold * image.max()), 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(cut, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        if largest_only:
            contours = sorted(contours, key=cv2.contourArea)[-1:]
        corners = [(x, y, min(x + w, 223), min(y + h, 223)) for x, y, w, h in map(cv2.boundingRect, contours)]
        expected.append(max(_iou_plus_one(corner, box) for corner in corners for box in true))
    found = best_iou_by_threshold(heat, true, largest_only)
    assert len(found) == 1000
    np.testing.assert_allclose(found[::10], expected, atol=1e-6)


def _iou_plus_one(a: tuple[int, int, int, int], b: Floats) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return float(max(w, 0) * max(h, 0) / (sum(areas) - max(w, 0) * max(h, 0)))
