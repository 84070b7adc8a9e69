"""Sensitivity maps, linear maps to boxes, and the files that hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from wsdet.linear_models.box_regressor import BoxRegressor, proper, sensitivity_map, share_inside
from wsdet.storage import tensors
from wsdet.types import InputError


def regressor(
    k: int = 1, side: int = 4, classes: tuple[str, ...] = ("cat", "dog"), n_biases: int = 0, **options: Any
) -> BoxRegressor:
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.01, (k, 4, side, side)).astype(np.float32)
    biases = (
        np.array([0.2, 0.3, 0.8, 0.9], np.float32)
        - np.float32(0.02) * np.arange(n_biases or k, dtype=np.float32)[:, None]
    )
    defaults: dict[str, Any] = {"input_size": 8, "network": "abcd"}
    return BoxRegressor(weights, biases, classes, **(defaults | options))


def test_the_map_is_the_size_of_the_gradient_over_its_root_mean_square() -> None:
    gradient = np.zeros((3, 2, 2), np.float32)
    gradient[0, 0, 0], gradient[2, 0, 0], gradient[1, 1, 1] = -3, 4, 5
    np.testing.assert_allclose(sensitivity_map(gradient), np.array([[4, 0], [0, 5]]) / np.sqrt(41 / 4), rtol=1e-6)
    np.testing.assert_allclose(
        sensitivity_map(gradient, "sum"), np.array([[7, 0], [0, 5]]) / np.sqrt(74 / 4), rtol=1e-6
    )


@pytest.mark.parametrize("factor", [1e-30, 1.0, 1e30])
def test_the_map_does_not_depend_on_the_gradient_s_scale(factor: float) -> None:
    gradient = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(
        sensitivity_map(gradient * np.float32(factor)), sensitivity_map(gradient), rtol=1e-4, atol=1e-6
    )


def test_larger_maps_are_averaged_down_and_smaller_ones_stay() -> None:
    gradient = np.zeros((3, 8, 8), np.float32)
    gradient[0, :4, :4] = 1
    np.testing.assert_allclose(sensitivity_map(gradient, side=2), [[2, 0], [0, 0]])
    assert sensitivity_map(gradient, side=64).shape == (8, 8)
    assert sensitivity_map(gradient, side=5).shape == (5, 5)


def test_what_is_not_finite_counts_nothing_and_a_map_of_nothing_stays_0() -> None:
    gradient = np.zeros((3, 2, 2), np.float32)
    gradient[0, 0, 0], gradient[0, 0, 1] = np.nan, np.inf
    assert not sensitivity_map(gradient).any()
    gradient[0, 1, 1] = 2
    np.testing.assert_allclose(sensitivity_map(gradient), [[0, 0], [0, 2]])


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([0.1, 0.2, 0.5, 0.7], [0.1, 0.2, 0.5, 0.7]),
        ([0.5, 0.7, 0.1, 0.2], [0.1, 0.2, 0.5, 0.7]),
        ([-1, 0.2, 2, 0.7], [0, 0.2, 1, 0.7]),
        ([0.5, 0.2, 0.5, 0.7], [0.45, 0.2, 0.55, 0.7]),
        ([1.5, -3, 2, -2], [0.9, 0, 1, 0.1]),
    ],
    ids=["as it is", "turned round", "too large", "without width", "outside"],
)
def test_predictions_become_boxes_in_the_image_with_an_area(corners: list[float], expected: Any) -> None:
    np.testing.assert_allclose(proper(np.array([corners], np.float32), 0.1), [expected], atol=1e-6)


def test_the_share_inside_counts_parts_of_pixels() -> None:
    seen = np.array([[1, 0], [0, 3]], np.float32)
    assert share_inside(seen, np.array([0, 0, 1, 1], np.float32)) == 1
    assert share_inside(seen, np.array([0, 0, 0.5, 0.5], np.float32)) == 0.25
    assert share_inside(seen, np.array([0, 0, 0.25, 0.5], np.float32)) == 0.125
    assert share_inside(np.zeros((2, 2), np.float32), np.array([0, 0, 1, 1], np.float32)) == 0


def test_prediction_is_linear() -> None:
    one = regressor()
    maps = np.random.default_rng(1).uniform(0, 2, (3, 4, 4)).astype(np.float32)
    expected = np.einsum("nij,cij->nc", maps, one.weights[0]) + one.biases[0]
    np.testing.assert_allclose(one.predict(maps, np.array([0, 1, -1])), expected, atol=1e-6)


def test_each_class_has_its_own_map_and_no_class_their_mean() -> None:
    own = regressor(k=2)
    maps = np.ones((3, 4, 4), np.float32)
    found = own.predict(maps, np.array([1, 0, -1]))
    sums = own.weights.sum(axis=(2, 3)) + own.biases
    np.testing.assert_allclose(found, [sums[1], sums[0], sums.mean(axis=0)], atol=1e-6)


def test_each_class_has_its_own_bias_and_no_class_their_mean() -> None:
    own = regressor(n_biases=2)
    found = own.predict(np.ones((3, 4, 4), np.float32), np.array([1, 0, -1]))
    of_map = own.weights[0].sum(axis=(1, 2))
    np.testing.assert_allclose(found, of_map + own.biases[[1, 0, 0]] - [[0], [0], [0.01]], atol=1e-6)


def test_a_network_input_of_another_size_is_refused() -> None:
    assert regressor().sensitivity(np.ones((3, 8, 8), np.float32)).shape == (4, 4)
    with pytest.raises(InputError, match=r"8 pixels, this network has 16; set network.input_size=8"):
        regressor().sensitivity(np.ones((3, 16, 16), np.float32))


def test_other_networks_are_refused_and_other_classes_by_maps_of_their_own() -> None:
    regressor().check(("bird",), "abcd")
    regressor(k=2).check(("cat", "dog"), "abcd")
    with pytest.raises(InputError, match="network abcd, this network is ffff"):
        regressor().check(("cat", "dog"), "ffff")
    for own in (regressor(k=2), regressor(n_biases=2)):
        with pytest.raises(InputError, match="each of the classes cat, dog"):
            own.check(("dog", "cat"), "abcd")


@pytest.mark.parametrize(("k", "n_biases", "per_class"), [(1, 1, "nothing"), (1, 2, "bias"), (2, 2, "map")])
def test_saved_and_loaded_it_is_the_same(k: int, n_biases: int, per_class: str, tmp_path: Path) -> None:
    saved = regressor(k, n_biases=n_biases, channels="sum", info={"boxes": 7})
    assert saved.per_class == per_class
    saved.save(tmp_path / "new" / "regressor.safetensors")
    loaded = BoxRegressor.load(tmp_path / "new" / "regressor.safetensors")
    assert np.array_equal(loaded.weights, saved.weights)
    assert np.array_equal(loaded.biases, saved.biases)
    for name in ("classes", "channels", "input_size", "network", "info"):
        assert getattr(loaded, name) == getattr(saved, name)


def _without(path: Path) -> None:
    path.unlink()


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def _tensors(weights: Any, biases: Any) -> Any:
    def damage(path: Path) -> None:
        _, header = tensors.load(path)
        save_file({"weights": weights, "biases": biases}, path, {"wsdet": json.dumps(header)})

    return damage


def _header(**changes: Any) -> Any:
    def damage(path: Path) -> None:
        arrays, header = tensors.load(path)
        tensors.save(path, arrays, header | changes)

    return damage


F = np.float32


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without, "does not exist"),
        (_cut_short, "no readable file of tensors"),
        (lambda path: path.write_text("no tensors"), "no readable file of tensors"),
        (lambda path: save_file({"weights": np.zeros((1, 4, 4, 4), F)}, path), "does not say its format"),
        (
            lambda path: tensors.save(path, {}, {"format": "wsdet box regressor 3"}),
            "no usable box regressor",
        ),
        (_tensors(np.zeros((3, 4, 4, 4), F), np.zeros((3, 4), F)), r"weights must have shape \(1 or 2 classes"),
        (_tensors(np.zeros((1, 4, 4, 5), F), np.zeros((1, 4), F)), "weights must have shape"),
        (_tensors(np.zeros((1, 4, 0, 0), F), np.zeros((1, 4), F)), "weights must have shape"),
        (_tensors(np.zeros((1, 4, 4, 4), F), np.zeros((3, 4), F)), r"biases must have shape \(1, 4\)"),
        (_tensors(np.zeros((1, 4, 4, 4)), np.zeros((1, 4), F)), "must be float32"),
        (_tensors(np.full((1, 4, 4, 4), np.nan, F), np.zeros((1, 4), F)), "not finite"),
        (_tensors(np.zeros((1, 4, 9, 9), F), np.zeros((1, 4), F)), "input_size must be at least"),
        (_header(channels="mean"), "channels must be one of max, sum"),
        (_header(channels=["max"]), "channels must be one of max, sum"),
        (_header(input_size="large"), "no usable box regressor"),
        (_header(classes=3), "no usable box regressor"),
        (_header(info=None), "no usable box regressor"),
        (_header(format="wsdet box regressor 2"), "its format is 'wsdet box regressor 2'"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(damage: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "regressor.safetensors"
    regressor(classes=("cat", "dog")).save(path)
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        BoxRegressor.load(path)
    assert str(tmp_path / "regressor") in str(caught.value)
