"""TokenCut on made-up maps: objects are the parts of the map that are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conftest import FakeNetwork
from wsdet.engine import localize_all
from wsdet.localizers.token_cut import TokenCut
from wsdet.questions import Note
from wsdet.types import Boxes, Floats, InputError, Sample

ROWS, COLUMNS, CELL = 12, 16, 10
DIRECTIONS = np.eye(8, dtype=np.float32)


def feature_map(*objects: tuple[int, int, int, int], noise: float = 0.05) -> Floats:
    """(8, rows, columns): the ground's features and those of each rectangle (x1, y1, x2, y2), after a ReLU."""
    features = np.broadcast_to(DIRECTIONS[0], (ROWS, COLUMNS, 8)).copy()
    for i, (x1, y1, x2, y2) in enumerate(objects):
        features[y1:y2, x1:x2] = DIRECTIONS[1 + i]
    features += 2 + np.random.default_rng(0).uniform(0, noise, features.shape).astype(np.float32)
    return features.transpose(2, 0, 1)


def localize(features: Floats, notes: list[Note] | None = None, **arguments: Any) -> Boxes:
    sample = Sample("a", np.zeros((ROWS * CELL, COLUMNS * CELL, 3), np.uint8), (0, 1))
    heard = [] if notes is None else notes
    network = FakeNetwork(lambda _: features)
    ((_, found),) = localize_all(
        [("a", sample)], TokenCut(**arguments), network, look_on=lambda _, note: heard.append(note)
    )
    assert isinstance(found, Boxes)
    assert len(network.inputs) == 1
    return found


def test_the_object_is_the_part_that_is_alike_and_not_the_ground() -> None:
    found = localize(feature_map((3, 2, 8, 9)), n_objects=1)
    np.testing.assert_array_equal(found.xyxy, [[30, 20, 80, 90]])
    assert found.labels.tolist() == [-1]
    assert 0.5 < found.scores[0] <= 2


def test_what_was_found_is_taken_out_and_the_rest_is_cut_again() -> None:
    notes: list[Note] = []
    found = localize(feature_map((1, 1, 5, 6), (8, 4, 15, 11)), notes, n_objects=2)
    assert {tuple(box) for box in found.xyxy.astype(int).tolist()} == {(10, 10, 50, 60), (80, 40, 150, 110)}
    assert (np.diff(found.scores) <= 0).all()
    masks = [note.value["mask"] for note in notes]
    assert not (masks[0] & masks[1]).any()


def test_two_of_one_kind_that_do_not_touch_are_two_objects() -> None:
    features = feature_map((1, 1, 5, 5), (9, 6, 13, 10))
    features[:, 6:10, 9:13] = features[:, 1:5, 1:5]
    found = localize(features, n_objects=2)
    assert {tuple(box) for box in found.xyxy.astype(int).tolist()} == {(10, 10, 50, 50), (90, 60, 130, 100)}


def test_equal_boxes_of_several_thresholds_are_one() -> None:
    assert len(localize(feature_map((3, 2, 8, 9)), thresholds=[0.1, 0.2, 0.3], n_objects=1)) == 1


def test_a_plain_map_gives_the_whole_image() -> None:
    found = localize(np.ones((8, ROWS, COLUMNS), np.float32))
    np.testing.assert_array_equal(found.xyxy, [[0, 0, COLUMNS * CELL, ROWS * CELL]])


@pytest.mark.parametrize("arguments", [{"thresholds": []}, {"thresholds": [2.0]}, {"n_objects": 0}])
def test_arguments_outside_their_range(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        TokenCut(**arguments)
