"""Checkpoints that are small on disk and are large in memory."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wsdet.networks.backbones import build_backbone
from wsdet.networks.weights import WeightsMetadata, load_weights, read_metadata, save_weights
from wsdet.storage import tensors
from wsdet.types import InputError


def compressed(path: Path) -> None:
    plain = path.with_name("plain")
    torch.save({"fc.weight": torch.zeros(2**24)}, plain)
    with zipfile.ZipFile(plain) as read, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as write:
        for part in read.infolist():
            write.writestr(part.filename, read.read(part))


def expanded(path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(1).expand(2**40)}, path)


def sparse(path: Path) -> None:
    one = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (2**40,), check_invariants=True)
    torch.save({"fc.weight": one}, path)


def meta(path: Path) -> None:
    torch.save({"fc.weight": torch.empty(2**40, device="meta")}, path)


@pytest.mark.parametrize("make", [compressed, expanded, sparse, meta])
def test_a_small_file_stays_small(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "weights.pth"
    make(path)
    assert path.stat().st_size < 2**20
    start = time.monotonic()
    with pytest.raises(InputError, match=r"weights.pth.*(compressed|no plain tensor|cannot be read)"):
        load_weights(path, "tiny", build_backbone("tiny", 3, 64).state_dict())
    assert time.monotonic() - start < 5


def test_tensors_of_another_kind_are_no_weights(tmp_path: Path) -> None:
    tensors.save(tmp_path / "a", {"x": torch.zeros(1)}, {"format": "wsdet region classifier 2", "classes": []})
    with pytest.raises(InputError, match="holds no weights of a network"):
        read_metadata(tmp_path / "a")


def test_a_network_that_diverged_is_not_saved(tmp_path: Path) -> None:
    weights = build_backbone("tiny", 3, 64).state_dict()
    weights["head.fc.bias"][1] = torch.nan
    with pytest.raises(InputError, match=r"'head\.fc\.bias' are not finite"):
        save_weights(tmp_path / "a", weights, WeightsMetadata("tiny", 3, 64))
    assert list(tmp_path.iterdir()) == []
