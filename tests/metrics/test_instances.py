"""Recall, precision and counts of sets of boxes over all objects."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wsdet.metrics.instances import count_instances, recall_by_size
from wsdet.types import Boxes

LEFT, RIGHT, BELOW = [0, 0, 10, 10], [20, 0, 30, 10], [0, 20, 10, 30]


def boxes(xyxy: list[list[int]], labels: list[int], scores: list[float] | None = None, **flags: list[bool]) -> Boxes:
    return Boxes(np.array(xyxy, np.float32).reshape(-1, 4), scores, labels, **flags)  # type: ignore[arg-type]


def test_without_images_there_is_nothing_to_measure() -> None:
    counted = count_instances({}, {}, [], 2)
    assert math.isnan(counted.recall)
    assert math.isnan(counted.precision)
    assert math.isnan(counted.boxes_per_image)


def test_every_object_and_every_box_counts() -> None:
    truth = {"a": boxes([LEFT, RIGHT, BELOW], [0, 0, 0]), "b": boxes([LEFT], [1])}
    found = {"a": boxes([LEFT, RIGHT], [0, 0], [2, 1])}
    counted = count_instances(found, truth, ["a", "b"], 2)
    assert (counted.recall, counted.precision) == (2 / 4, 1)
    assert (counted.boxes_per_image, counted.objects_per_image) == (1, 2)
    assert counted.correct.tolist() == [2, 0]
    assert counted.objects.tolist() == [3, 1]


def test_a_second_box_on_an_object_and_one_of_another_class_are_wrong() -> None:
    truth = {"a": boxes([LEFT], [0])}
    found = {"a": boxes([LEFT, [0, 0, 10, 9], LEFT], [0, 0, 1], [3, 2, 1])}
    counted = count_instances(found, truth, ["a"], 2)
    assert (counted.recall, counted.precision) == (1, 1 / 3)


@pytest.mark.parametrize("difficult", ["object", "box"])
def test_what_is_difficult_counts_neither_way(difficult: str) -> None:
    true = boxes([LEFT, RIGHT], [0, 0], difficult=[difficult == "object", False])
    found = boxes([LEFT, RIGHT], [0, 0], [2, 1], difficult=[difficult == "box", False])
    counted = count_instances({"a": found}, {"a": true}, ["a"], 1)
    assert counted.boxes.tolist() == [1]
    assert counted.precision == 1
    assert counted.recall == (1 if difficult == "object" else 1 / 2)


def test_boxes_without_a_label_are_left_out() -> None:
    counted = count_instances({"a": boxes([LEFT], [-1])}, {"a": boxes([LEFT], [0])}, ["a"], 1)
    assert counted.boxes.tolist() == [0]
    assert counted.recall == 0


def test_recall_by_size_counts_the_objects_of_each_size() -> None:
    truth = {"a": boxes([[0, 0, 20, 20], [100, 0, 150, 50], [0, 100, 200, 300], [50, 50, 70, 70]], [0, 0, 1, 0])}
    found = {"a": boxes([[0, 0, 20, 19], [100, 0, 150, 45], [0, 0, 9, 9]], [0, 0, 0], [0.9, 0.8, 0.7])}
    assert recall_by_size(found, truth, ["a"], 2) == {"small": (0.5, 2), "medium": (1.0, 1), "large": (0.0, 1)}
    none = recall_by_size({}, {"a": Boxes.empty()}, ["a"], 2)
    assert [(np.isnan(recall), n) for recall, n in none.values()] == [(True, 0)] * 3
