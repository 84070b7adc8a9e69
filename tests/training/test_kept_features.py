"""Features that are described once: the same numbers from the file as without it, and no more of them than fit."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from wsdet.training import kept_features
from wsdet.training.kept_features import KeptFeatures


class Described:
    """Random features, another number of regions for each image; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, image_id: str) -> torch.Tensor:
        self.asked.append(image_id)
        generator = torch.Generator().manual_seed(len(image_id))
        return torch.rand(len(image_id), 5, generator=generator)


IDS = ("a", "bb", "ccc", "")


def test_each_image_is_described_once(tmp_path: Path) -> None:
    describe = Described()
    kept = KeptFeatures(describe, tmp_path / "training")
    first = {one: kept(one) for one in IDS}
    again = {one: kept(one) for one in reversed(IDS)}
    assert describe.asked == [*IDS, ""]  # of no region there is nothing to keep
    for one in IDS:
        assert torch.equal(first[one], again[one])
        torch.testing.assert_close(first[one].float(), Described()(one), atol=0, rtol=2**-11)  # float16 has eleven bits
    again["a"] += 1
    assert torch.equal(kept("a"), first["a"])
    assert not list((tmp_path / "training").iterdir())  # the file has no name


def test_what_does_not_fit_is_described_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_features, "_MOST", 2 * 5 * (1 + 2))  # float16 of the first two
    describe = Described()
    kept = KeptFeatures(describe, tmp_path)
    first = [kept(one) for one in IDS]
    again = [kept(one) for one in IDS]
    assert describe.asked == [*IDS, "ccc", ""]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_copy_has_a_file_of_its_own(tmp_path: Path) -> None:
    kept = KeptFeatures(Described(), tmp_path)
    kept("a")
    other = copy.copy(kept)  # as what is sent to another process is made
    assert torch.equal(other("bb"), kept("bb"))
    assert torch.equal(other("a"), kept("a"))
