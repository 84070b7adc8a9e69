"""Splits by seed: shares, labels, and copies on one side."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdet.data.splits import equal_content, split_by_fraction, warn_of_copies


def singles(n: int) -> list[tuple[str]]:
    return [(f"{i:03d}",) for i in range(n)]


def test_nothing_splits_into_nothing() -> None:
    assert split_by_fraction([], {}, 0.2, seed=0) == ([], [])


@pytest.mark.parametrize(("fraction", "n_test"), [(0, 0), (0.2, 20), (0.5, 50), (0.333, 33), (1, 100)])
def test_the_share_is_exact(fraction: float, n_test: int) -> None:
    train, test = split_by_fraction(singles(100), {}, fraction, seed=0)
    assert len(test) == n_test
    assert sorted(train + test) == [image_id for (image_id,) in singles(100)]


def test_each_combination_of_labels_is_shared_out() -> None:
    labels = {f"{i:03d}": ([], [0], [1], [0, 1])[i % 4] for i in range(100)}
    _, test = split_by_fraction(singles(100), labels, 0.2, seed=0)
    assert [sum(labels[i] == wanted for i in test) for wanted in ([], [0], [1], [0, 1])] == [5, 5, 5, 5]


def test_rare_labels_reach_the_test_split_too() -> None:
    labels = {f"{i:03d}": [i] for i in range(100)}  # every image has a label of its own
    assert len(split_by_fraction(singles(100), labels, 0.2, seed=0)[1]) == 20


def test_the_seed_draws_the_split() -> None:
    drawn = [split_by_fraction(singles(100), {}, 0.2, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_group_stays_together() -> None:
    groups = [("a", "b", "c"), *singles(10), ("d", "e")]
    for seed in range(20):
        _, test = split_by_fraction(groups, {}, 0.4, seed)
        assert len({"a", "b", "c"} & set(test)) in (0, 3)
        assert len({"d", "e"} & set(test)) in (0, 2)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"test_fraction must be a number in \[0, 1\], got"):
        split_by_fraction(singles(3), {}, fraction, seed=0)


def test_files_of_equal_content_are_grouped(tmp_path: Path) -> None:
    for name, content in {"a": b"12", "b": b"21", "c": b"12", "d": b"123", "e": b"12"}.items():
        (tmp_path / name).write_bytes(content)
    paths = {name: tmp_path / name for name in "abcdefg"}  # f and g are missing: each is alone
    assert equal_content(paths) == [("a", "c", "e"), ("b",), ("d",), ("f",), ("g",)]


def test_copies_across_given_splits_are_told(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_copies([("a", "b"), ("c",)], ["a"], ["c"], "photos")
    assert not caplog.text
    warn_of_copies([("a", "b"), ("c",)], ["a"], ["b", "c"], "photos")
    assert "photos: 1 test images are copies of training images, 'b' for one" in caplog.text
