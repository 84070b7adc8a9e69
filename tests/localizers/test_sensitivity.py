"""The sensitivity localizer against made-up gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import FakeNetwork
from wsdet.engine import localize_all
from wsdet.linear_models.box_regressor import BoxRegressor
from wsdet.localizers.sensitivity import Sensitivity
from wsdet.questions import Note
from wsdet.stages import localize as stage
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Dataset, Floats, InputError, Sample

SIDE = 8


def gradients(of: dict[int, Floats]) -> FakeNetwork:
    """A network that answers with a gradient for each label."""
    return FakeNetwork(lambda one: of[one.question.label])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A linear map that says x1 = 0.1 + a tenth of the top left pixel, and the rest whatever is seen."""
    linear = np.zeros((1, 4, SIDE, SIDE), np.float32)
    linear[0, 0, 0, 0] = 0.1 / SIDE
    path = tmp_path / "regressor.safetensors"
    BoxRegressor(linear, np.array([[0.1, 0.25, 0.75, 1.0]], np.float32), ("a", "b"), input_size=SIDE, network="1").save(
        path
    )
    return path


def spot(row: int, column: int) -> Floats:
    """A gradient at one pixel: the map there is SIDE."""
    gradient = np.zeros((3, SIDE, SIDE), np.float32)
    gradient[1, row, column] = -0.001
    return gradient


def localize(weights: Path, network: FakeNetwork, labels: tuple[int, ...], notes: list[Note] | None = None) -> Any:
    heard = [] if notes is None else notes
    sample = Sample("a", np.zeros((40, 80, 3), np.uint8), labels)
    ((_, outcome),) = localize_all(
        [("a", sample)], Sensitivity(weights), network, look_on=lambda _, note: heard.append(note)
    )
    return outcome


def test_each_label_s_box_is_read_off_its_own_map(weights: Path) -> None:
    notes: list[Note] = []
    found = localize(weights, gradients({0: spot(0, 0), 1: spot(7, 7)}), (0, 1), notes)
    assert isinstance(found, Boxes)
    np.testing.assert_array_equal(found.labels, [0, 1])
    np.testing.assert_allclose(found.xyxy, [[16, 10, 60, 40], [8, 10, 60, 40]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0, 0])  # both spots lie outside
    assert [note.value["label"] for note in notes] == [0, 1]
    assert notes[0].value["map"].shape == (40, 80)


def test_the_score_is_the_share_of_the_sensitivity_inside(weights: Path) -> None:
    found = localize(weights, gradients({0: spot(4, 4)}), (0,))
    np.testing.assert_allclose(found.scores, 1)


def test_an_image_without_label_gets_the_box_of_the_prediction(weights: Path) -> None:
    found = localize(weights, gradients({-1: spot(4, 4)}), ())
    assert found.labels.tolist() == [-1]


def test_a_map_without_any_sensitivity_gives_the_box_of_the_constant_terms(weights: Path) -> None:
    found = localize(weights, gradients({0: np.zeros((3, SIDE, SIDE), np.float32)}), (0,))
    np.testing.assert_allclose(found.xyxy, [[8, 10, 60, 40]], atol=1e-4)


def test_what_it_was_not_trained_for_is_said(weights: Path) -> None:
    outcome = localize(weights, gradients({0: np.zeros((3, 16, 16), np.float32)}), (0,))
    assert isinstance(outcome, InputError)
    assert "network input of 8 pixels" in str(outcome)
    with pytest.raises(InputError, match="this network is 2"):
        Sensitivity(weights).check(("a", "b"), "2")
    with pytest.raises(InputError, match="does not exist"):
        Sensitivity(weights.parent / "other.safetensors")


def test_the_stage_refuses_another_network_before_the_first_image(
    weights: Path, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    store = BoxStore(tmp_path / "store", {})
    with pytest.raises(InputError, match="trained on sensitivity maps of network 1"):
        stage.localize(tiny_dataset, tiny_dataset.ids("train"), Sensitivity(weights), gradients({}), store)
    assert len(store) == 0
