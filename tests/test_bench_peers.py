"""`scripts/bench_peers.py`: ours and the peers give the same maps, and packages that are missing are left out."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.types import Sample


@pytest.fixture(scope="module")
def bench() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "scripts"))
        return importlib.import_module("bench_peers")


def maps_of(bench: Any, rng: np.random.Generator) -> dict[str, Any]:
    networks = [Network(build_backbone("tiny", 6, input_size=128), [(c,) for c in range(6)], device="cpu")] * 2
    photo = Sample("a", rng.integers(0, 256, (96, 140, 3)).astype(np.uint8))
    return {f"{match.peer}: {match.what}": match for match in bench.maps(*networks, [photo])}


@pytest.mark.parametrize(
    "name", ["torchcam: Grad-CAM maps", "captum: gradients at the pixels", "captum: occlusion maps"]
)
def test_the_answers_are_the_same(name: str, bench: Any, rng: np.random.Generator) -> None:
    pytest.importorskip(name.partition(":")[0])
    match = maps_of(bench, rng)[name]
    ours, theirs = match.ours(), match.theirs()
    assert np.linalg.norm(theirs[0]) > 0
    assert match.apart(ours, theirs) < 1e-3


def test_missing_packages_are_left_out(bench: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_is_installed", lambda name: False)
    assert maps_of(bench, rng) == {}
