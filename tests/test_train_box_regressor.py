"""`python -m wsdet.train task=box_regressor`, and `localizer=sensitivity` with what it leaves."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import programs
from wsdet.storage.box_store import BoxStore

SCENES = ("data.n_train=42", "data.n_test=9", "data.size=64", "network.input_size=64", "device=cpu", "workers=1")


def run(module: str, out: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return programs.run(module, *SCENES, *overrides, f"out={out}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("regressors") / "run"
    done = run("train", out, "task=box_regressor", "n_boxes=[1,0]", "network.training.epochs=1")
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_it_leaves_a_regressor_for_each_number_of_boxes_and_their_curve(trained: Path) -> None:
    metrics: dict[str, Any] = json.loads((trained / "metrics.json").read_text())
    methods = {"sensitivity", "ridge", "center_box", "first box of fast"}
    assert {name.partition("@")[0] for name in metrics["localization"]} == methods
    assert len(metrics["localization"]) == 3 * 2 + 1  # the first box depends on no number of boxes
    for figures in metrics["localization"].values():
        assert figures["images"] == 6
        assert 0 <= figures["corloc"] <= 1
    assert (trained / "box_regressor" / "curve.png").read_bytes().startswith(b"\x89PNG")
    for name in ("1", "all"):
        assert (trained / "box_regressor" / name / "regressor.safetensors").exists()
    log = (trained / "log.txt").read_text(encoding="utf-8")
    assert "box_regressor/all/regressor.safetensors" in log


@pytest.mark.slow
def test_the_localizer_reads_boxes_with_it(trained: Path, tmp_path: Path) -> None:
    weights = trained / "box_regressor" / "all" / "regressor.safetensors"
    network = f"network.weights={trained / 'classifier' / 'model.safetensors'}"
    done = run(
        "localize", tmp_path / "run", network, "localizer=sensitivity", f"localizer.weights={weights}", "verdict=0"
    )
    assert done.returncode == 0, done.stderr
    store = BoxStore(tmp_path / "run" / "localization" / "sensitivity")
    assert len(store) == 51
    for boxes in store.values():
        assert len(set(boxes.labels.tolist())) == len(boxes)
