"""The whole experiment on a few made-up scenes: what it leaves, that it resumes, what it refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import programs
from wsdet.cli.entry_point import compose
from wsdet.storage.box_store import BoxStore
from wsdet.train import complete
from wsdet.train import run as run_train
from wsdet.types import InputError

SMALL = (
    "network.training.epochs=1",
    "detector.protocols.fast.rounds=1",
    "workers=1",
    "device=cpu",
    "verdict=6",
)
SCENES = (
    "data.n_train=18",
    "data.n_test=9",
    "data.size=64",
    "network.input_size=64",
)


def train(out: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return programs.run("train", *SMALL, *overrides, f"out={out}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("train") / "run"
    done = train(out, *SCENES)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_the_run_leaves_what_the_contract_says(run: Path) -> None:
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    assert set(metrics["localization"]) == {"wsddn", "center_box", "full_image"}
    assert set(metrics["detectors"]) == {"pseudo", "ground_truth", "center_box"}
    for figures in metrics["localization"].values():
        assert {"corloc", "mean_iou", "precision_at", "recall_at", "center_correct", "images"} <= set(figures)
    for figures in metrics["detectors"].values():
        assert 0 <= figures["map"] <= 1
        assert len(figures["ap"]) == 9
    assert metrics["images"] == {"train": 18, "test": 9}
    assert metrics["forward_passes"]["wsddn"] > 18
    assert metrics["forward_passes"]["center_box"] == 0
    assert {"ratio_pseudo_to_ground_truth", "proposals", "seconds"} <= set(metrics)
    assert 0 <= metrics["verdict"]["trust"] <= 1
    assert metrics["verdict"]["images"] == 6
    assert "trust in the boxes, without ground truth" in (run / "log.txt").read_text()
    assert "How far to trust the boxes" in (run / "report" / "index.html").read_text(encoding="utf-8")
    assert (run / "ap.csv").read_text().startswith("class,")
    assert (run / "config.yaml").exists()
    assert "synthetic · tiny · wsddn" in (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "detectors on the test images" in (run / "log.txt").read_text()


@pytest.mark.slow
def test_no_store_records_where_the_run_lies(run: Path) -> None:
    settings = list(run.rglob("settings.json"))
    assert [path for path in settings if "views" in path.parts and "localization" in path.parts]
    assert [path for path in settings if str(run) in path.read_text()] == []


@pytest.mark.slow
def test_every_label_has_a_pseudo_box_and_no_other_class(run: Path) -> None:
    from wsdet.data.synthetic import Synthetic

    dataset = Synthetic(n_train=18, n_test=9, size=64)
    store = BoxStore(run / "localization" / "wsddn")
    assert len(store) == 18
    for image_id, boxes in store.items():
        assert set(boxes.labels.tolist()) == set(dataset.labels(image_id))


@pytest.mark.slow
def test_the_same_command_again_does_nothing_anew(run: Path) -> None:
    parts = {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")}
    models = {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")}
    before = json.loads((run / "metrics.json").read_text())
    (run / "finished.json").unlink()  # else it would not even look
    assert train(run, *SCENES).returncode == 0
    assert all(path.stat().st_mtime_ns == when for path, when in (parts | models).items())
    after = json.loads((run / "metrics.json").read_text())
    assert {k: v for k, v in before.items() if k != "seconds"} == {k: v for k, v in after.items() if k != "seconds"}


@pytest.mark.slow
def test_a_finished_run_is_left_alone(run: Path) -> None:
    report = run / "report" / "index.html"
    before = report.stat().st_mtime_ns
    assert train(run, *SCENES).returncode == 0
    assert report.stat().st_mtime_ns == before
    assert "nothing to do" in (run / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*SCENES, "localizer.nms_iou=0.3"], "localizer.nms_iou was 0.5, is 0.3"),
        (
            ["detector.train_on=[truth]"],
            "detector.train_on[0] must be pseudo, ground_truth, center_box, corrected or corrected_alone",
        ),
        (["detector.weighting=drop"], "detector.weighting must be none, keep, ignore or weight, got 'drop'"),
        (["data=folder", "data.root=/no/such/folder"], "/no/such/folder"),
    ],
    ids=["changed", "unknown", "misspelt", "absent"],
)
def test_what_cannot_be_is_said_in_one_line(run: Path, overrides: list[str], message: str) -> None:
    done = train(run, *overrides)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def composed(*overrides: str) -> None:
    """Trains in this process."""
    cfg = compose("train", overrides)
    complete(cfg)
    run_train(cfg)


@pytest.mark.slow
def test_self_training_goes_on_from_a_finished_run(run: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")}
    composed("task=self_training", f"run={run}", "folds=2", "device=cpu", f"out={tmp_path}")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    of_run = json.loads((run / "metrics.json").read_text())
    assert [set(one) for one in metrics["rounds"]] == [
        {"boxes", "agreement", "class_divergence", "localization", "detector"}
    ]
    assert metrics["detectors"] == of_run["detectors"]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")} == before
    assert metrics["thresholds"]["self_training"]["folds"] == 2
    assert of_run["thresholds"]["positives"]["keep_above"] == 0.8
    assert of_run["thresholds"]["detector"] == {"nms_iou": 0.3}
    assert not (tmp_path / "detectors").exists()
    assert len(list((tmp_path / "rounds" / "1" / "folds").iterdir())) == 2


def test_self_training_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run=RUN"):
        composed("task=self_training", f"out={tmp_path}")
    with pytest.raises(InputError, match=r"has no config\.yaml"):
        composed("task=self_training", "run=nowhere", f"out={tmp_path}")
    with pytest.raises(InputError, match="detector that is trained in steps"):
        composed(*SCENES, "self_training=mean_teacher", f"out={tmp_path}")


@pytest.mark.slow
def test_a_neural_detector_under_a_mean_teacher(tmp_path: Path) -> None:
    composed(
        *SCENES,
        "device=cpu",
        "detector=fcos",
        "detector.training.epochs=1",
        "detector.model.short_side=64",
        "detector.train_on=[pseudo]",
        "self_training=mean_teacher",
        "self_training.epochs=1",
        "localizer=center_box",
        "verdict=0",
        f"out={tmp_path}",
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    (figures,) = metrics["rounds"]
    assert 0 <= figures["detector"]["map"] <= 1
    assert 0 <= figures["localization"]["corloc"] <= 1
    assert metrics["thresholds"]["self_training"]["threshold"] == 0.7
    assert metrics["thresholds"]["detector"] == {"score_threshold": 0.01, "nms_iou": 0.5}
    assert (tmp_path / "rounds" / "mean_teacher" / "detectors" / "pseudo" / "model.json").exists()
