"""`scripts/bench_gpu.py` on a CPU: every figure is measured, and what cannot be is named."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def bench() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "scripts"))
        return importlib.import_module("bench_gpu")


@pytest.fixture(scope="module")
def figures(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("bench_gpu")
    networks = ["--networks", "tiny", "timm:no_such_network"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bench_gpu", "--quick", "--device", "cpu", "--out", str(folder), *networks])
        patch.setattr(bench, "detector_step", lambda card, sizes: {"images_per_second": 1.0})
        with pytest.raises(SystemExit, match=r"^0$"):
            bench.main()
    return json.loads((folder / "bench_gpu.json").read_text(encoding="utf-8"))


def test_a_network_is_measured_in_every_precision(figures: Any) -> None:
    assert [(row["network"], row["precision"]) for row in figures["networks"]] == [
        ("tiny", "float32"),
        ("tiny", "bfloat16"),
    ]
    for row in figures["networks"]:
        assert all(row[key] > 0 for key in ("bare", "masks", "crops", "files", "peak_gb"))


def test_what_cannot_be_measured_is_named(figures: Any) -> None:
    assert "no_such_network" in figures["missing"]["timm:no_such_network in float32"]


def test_the_region_classifier_is_timed(figures: Any) -> None:
    assert figures["region_classifier"]["images"] == 8


@pytest.mark.slow
def test_the_detectors_step_runs(bench: Any) -> None:
    assert bench.detector_step(bench.Card("cpu", 0.0), bench.QUICK)["images_per_second"] > 0
