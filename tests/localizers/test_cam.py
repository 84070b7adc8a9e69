"""The heat-map baseline against made-up maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.conftest import FakeNetwork
from wsdet.engine import localize_all
from wsdet.localizers.cam import Cam
from wsdet.questions import ActivationMaps, Note
from wsdet.types import Boxes, Floats, InputError, Sample

CELLS, CELL = 8, 10  # the image has 8 x 8 cells of 20 x 10 pixels


def layer_maps(of: dict[int, ActivationMaps]) -> FakeNetwork:
    """A network that answers with a map for each label."""
    return FakeNetwork(lambda one: of[one.question.label])


def grid(*patches: tuple[int, int, int, int, float]) -> Floats:
    """A map that is 0 but for patches (x1, y1, x2, y2, value) in cells."""
    cells = np.zeros((CELLS, CELLS), np.float32)
    for x1, y1, x2, y2, value in patches:
        cells[y1:y2, x1:x2] = value
    return cells


def maps(activations: Sequence[Floats], gradients: Sequence[Floats]) -> ActivationMaps:
    return ActivationMaps(np.stack(activations), np.stack(gradients))


def plain(heat: Floats) -> ActivationMaps:
    return maps([heat], [np.ones_like(heat)])


def localize(
    network: FakeNetwork, labels: tuple[int, ...], notes: list[Note] | None = None, cam: Cam | None = None
) -> Boxes:
    sample = Sample("a", np.zeros((CELLS * CELL, 2 * CELLS * CELL, 3), np.uint8), labels)
    heard = [] if notes is None else notes
    ((_, outcome),) = localize_all([("a", sample)], cam or Cam(), network, look_on=lambda _, note: heard.append(note))
    assert not isinstance(outcome, InputError)
    return outcome


def test_each_label_gets_the_box_of_its_own_heat_in_pixels_of_the_image() -> None:
    network = layer_maps({0: plain(grid((1, 2, 4, 6, 1.0))), 3: plain(grid((5, 0, 8, 3, 7.0)))})
    notes: list[Note] = []
    found = localize(network, (0, 3), notes)
    np.testing.assert_array_equal(found.labels, [0, 3])
    np.testing.assert_allclose(found.xyxy, [[20, 20, 80, 60], [100, 0, 160, 30]], atol=CELL)  # blurred by a cell
    np.testing.assert_allclose(found.scores, 1, atol=0.05)
    assert [note.value["label"] for note in notes] == [0, 3]
    assert notes[0].value["map"].shape == (CELLS * CELL, 2 * CELLS * CELL)


def test_the_largest_region_above_the_threshold_wins() -> None:
    network = layer_maps({0: plain(grid((0, 0, 2, 2, 9.0), (4, 3, 8, 8, 3.0)))})
    found = localize(network, (0,))
    np.testing.assert_allclose(found.xyxy, [[80, 30, 160, 80]], atol=CELL)
    assert 0.5 < found.scores[0] < 0.75  # 25 x 3 of 4 x 9 + 25 x 3
    above = localize(network, (0,), cam=Cam(threshold=0.5))
    np.testing.assert_allclose(above.xyxy, [[0, 0, 40, 20]], atol=CELL)


def test_gradients_that_speak_against_the_class_count_nothing() -> None:
    patches = [grid((0, 0, 3, 3, 5.0)), grid((4, 4, 8, 8, 1.0))]
    network = layer_maps({0: maps(patches, [grid((0, 0, 8, 8, -1.0)), grid((0, 0, 8, 8, 1.0))])})
    np.testing.assert_allclose(localize(network, (0,)).xyxy, [[80, 40, 160, 80]], atol=CELL)


def test_a_label_without_heat_gets_the_box_of_the_prediction_and_at_last_the_image() -> None:
    network = layer_maps({2: plain(grid()), -1: plain(grid((4, 4, 8, 8, 1.0)))})
    found = localize(network, (2,))
    assert found.labels.tolist() == [2]
    np.testing.assert_array_equal(found.xyxy, localize(network, ()).xyxy)
    cold = localize(layer_maps({2: plain(grid()), -1: plain(grid())}), (2,))
    np.testing.assert_array_equal(cold.xyxy, [[0, 0, 160, 80]])
    assert (cold.scores.tolist(), cold.labels.tolist()) == ([0], [2])


def test_without_labels_the_prediction_is_localized() -> None:
    found = localize(layer_maps({-1: plain(grid((4, 4, 8, 8, 1.0)))}), ())
    assert found.labels.tolist() == [-1]


def test_a_bad_threshold_is_named() -> None:
    with pytest.raises(ValueError, match="threshold must be"):
        Cam(threshold=1)
