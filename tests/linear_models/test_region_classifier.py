from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from wsdet.linear_models.region_classifier import RegionClassifier
from wsdet.types import InputError

CLASSES = ("cat", "dog")


def classifier(grid: int = 1) -> RegionClassifier:
    """Feature 0 speaks for cat, feature 1 for dog, and features 2 and 3 say that a region counts for one of them."""
    a = np.array([[5, 0], [0, 5], [0, 0], [0, 0]], np.float32)
    b = np.array([[0, 0], [0, 0], [9, 0], [0, 9]], np.float32)
    return RegionClassifier(a[None], np.zeros((1, 2), np.float32), b[None], CLASSES, grid, "0123")


def test_a_region_scores_for_what_it_shows_as_far_as_it_counts() -> None:
    features = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1]], np.float32)
    scores = classifier().scores(features)
    assert scores.argmax(axis=0).tolist() == [0, 2]
    assert scores[0, 0] > 100 * scores[1, 0]  # both show a cat, one counts
    assert ((scores.sum(axis=0) > 0.98) & (scores.sum(axis=0) <= 1)).all()  # the image has both, for sure
    assert classifier().scores(features[:0]).shape == (0, 2)


def test_heads_answer_by_their_geometric_mean() -> None:
    one, rng = classifier(), np.random.default_rng(0)
    a, b, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((1, 4, 2), (1, 4, 2), (1, 2)))
    other = RegionClassifier(a, bias, b, CLASSES, 1, "0123")
    both = RegionClassifier(
        np.concatenate([one.class_weights, other.class_weights]),
        np.concatenate([one.class_biases, other.class_biases]),
        np.concatenate([one.region_weights, other.region_weights]),
        CLASSES,
        1,
        "0123",
    )
    features = rng.normal(size=(3, 4)).astype(np.float32)
    expected = np.sqrt(one.scores(features) * other.scores(features))
    np.testing.assert_allclose(both.scores(features), expected, rtol=1e-5)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    saved = classifier(grid=2)
    saved.save(tmp_path / "model.safetensors")
    back = RegionClassifier.load(tmp_path / "model.safetensors")
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(back.scores(features), saved.scores(features))
    assert (back.classes, back.grid, back.network) == (CLASSES, 2, "0123")


def test_another_network_and_other_classes_are_refused() -> None:
    classifier().check(CLASSES, "0123")
    with pytest.raises(InputError, match="trained with network 0123, this network is 4567"):
        classifier().check(CLASSES, "4567")
    with pytest.raises(InputError, match="knows the classes cat, dog"):
        classifier().check(("dog", "cat"), "0123")
    with pytest.raises(InputError, match="takes 4 features, this network gives 5"):
        classifier().scores(np.zeros((1, 5), np.float32))


def test_shapes_that_do_not_fit_are_refused() -> None:
    a, zeros = np.zeros((2, 4, 2), np.float32), np.zeros((2, 2), np.float32)
    for b in (a[:, :3], a[:1], a[0]):
        with pytest.raises(ValueError, match="must have shapes"):
            RegionClassifier(a, zeros, b, CLASSES, 1, "")
    with pytest.raises(ValueError, match="must have shapes"):
        RegionClassifier(a[:0], zeros[:0], a[:0], CLASSES, 1, "")
    with pytest.raises(ValueError, match="finite"):
        RegionClassifier(a * np.nan, zeros, a, CLASSES, 1, "")
    with pytest.raises(ValueError, match="grid must be"):
        RegionClassifier(a, zeros, a, CLASSES, 3, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no readable file"), (b"\x80\x04K\x01.", "no readable file"), (None, "does not say its format")],
    ids=["empty", "pickle", "other weights"],
)
def test_a_file_that_is_none_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    if content is None:
        save_file({"weights": np.zeros(1, np.float32)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        RegionClassifier.load(path)
    with pytest.raises(InputError, match="does not exist"):
        RegionClassifier.load(tmp_path / "missing.safetensors")
