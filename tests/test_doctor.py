"""What the machine has, and what a run costs, without waiting for it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests import programs
from wsdet import doctor
from wsdet.cli.entry_point import compose
from wsdet.cli.factories import experiment_of, open_run
from wsdet.doctor import plan_of
from wsdet.stages.experiment import run_experiment
from wsdet.stages.plan import Plan, Stage, plan_table
from wsdet.stages.rehearsal import plan, plans
from wsdet.types import InputError
from wsdet.vision import opencv


def test_the_machine_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.report_machine() == 0
    printed = capsys.readouterr().out
    for text in ("torchvision", "nms and roi_align run on cpu", "createEdgeBoxes", "free disk here", "is there"):
        assert text in printed


def test_what_is_missing_is_marked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(opencv, "NEEDED", ("ximgproc.createNothing",))
    assert doctor.report_machine() == 1
    printed = capsys.readouterr().out
    assert "lacks cv2.ximgproc.createNothing" in printed
    assert "MISSING" in printed


_SMALL = ["data.n_train=9", "data.n_test=4", "data.size=48", "network.input_size=48", "device=cpu", "workers=0"]
_SMALL += ["network.training.epochs=1", "report=false", "verdict=0"]


@pytest.mark.slow
def test_a_plan_has_the_stages_of_the_run_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = compose("train", [*_SMALL, "verdict=9", "localizer=fuse", f"out={tmp_path / 'run'}"])
    planned = plan_of(cfg)
    assert not list(tmp_path.iterdir())
    assert planned.is_complete
    assert planned.images == (9, 4)
    assert all(stage.seconds > 0 and stage.peak_bytes > 1e8 for stage in planned.stages)

    run_experiment(open_run(cfg), experiment_of(cfg))
    timings = json.loads((tmp_path / "run" / "timings.json").read_text())
    assert [stage.name for stage in planned.stages] == list(timings)
    names = {stage.name: stage for stage in planned.stages}
    for folder, name in (("localization/fuse", "localize/fuse"), ("proposals", "propose"), ("detections", "detect")):
        files = [path for path in (tmp_path / "run" / folder).rglob("*") if path.is_file()]
        assert names[name].n_bytes == pytest.approx(sum(path.stat().st_size for path in files), rel=0.7)


@pytest.fixture
def _two_rehearsals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsdet.stages.rehearsal.MOST", 0)


@pytest.mark.slow
@pytest.mark.usefixtures("_two_rehearsals")
def test_a_localizer_that_learns_from_labels_is_planned_with_its_training() -> None:
    cfg = compose("train", [*_SMALL, "localizer=wsddn"])
    few, some, many = plans(open_run(cfg), experiment_of(cfg), [(3, 4), (16, 4), (1000, 4)])
    names = [stage.name for stage in some.stages]
    assert names[:4] == ["classifier", "propose", "region_classifier", "localize/wsddn"]
    held = [
        {stage.name: stage.peak_bytes for stage in planned.stages}["localize/wsddn"] for planned in (few, some, many)
    ]
    assert 1e8 < held[0] <= held[1] == held[2]  # sixteen images are in flight at most


@pytest.mark.slow
@pytest.mark.usefixtures("_two_rehearsals")
def test_a_detector_trained_in_epochs_rehearses_one_of_them() -> None:
    detector = ["detector=ssdlite", "detector.model.short_side=64", "detector.model.channels=64"]
    seconds = {}
    for epochs in (1, 40):
        cfg = compose("train", [*_SMALL, "localizer=center_box", *detector, f"detector.training.epochs={epochs}"])
        planned = plan_of(cfg)
        assert planned.is_complete
        (seconds[epochs],) = (stage.seconds for stage in planned.stages if stage.name == "train_detectors")
    assert seconds[40] > 4 * seconds[1]


def test_a_plan_of_the_classifier_alone_has_one_stage() -> None:
    planned = plan_of(compose("train", [*_SMALL, "task=classifier"]))
    assert [stage.name for stage in planned.stages] == ["classifier"]
    with pytest.raises(InputError, match="plan knows task=experiment and task=classifier, got task=box_regressor"):
        plan_of(compose("train", [*_SMALL, "task=box_regressor"]))


@pytest.mark.slow
def test_a_plan_ends_when_its_time_is_over_and_says_so() -> None:
    cfg = compose("train", [*_SMALL, "network.training.epochs=100000"])
    start = time.process_time()
    planned = plan(open_run(cfg), experiment_of(cfg), budget=3)
    assert time.process_time() - start < 20
    assert planned.stages[-1].name == "classifier"
    assert not planned.is_complete
    assert str(planned).startswith("more than ")
    assert "time was over" in plan_table(planned, 4e9)


@pytest.mark.slow
@pytest.mark.usefixtures("_two_rehearsals")
def test_workers_divide_what_is_done_image_by_image() -> None:
    def planned(*overrides: str) -> dict[str, float]:
        cfg = compose("train", [*_SMALL, "data.n_train=300", "localizer=center_box", *overrides])
        return {stage.name: stage.seconds for stage in plan_of(cfg).stages}

    alone, many = planned(), planned("runner=ray", "runner.address=local", "runner.workers=20")
    assert many["propose"] < alone["propose"] / 4
    assert many["train_detectors"] > alone["train_detectors"] / 4


@pytest.mark.slow
@pytest.mark.usefixtures("_two_rehearsals")
def test_plans_for_several_sizes_are_of_the_same_rehearsals() -> None:
    cfg = compose("train", [*_SMALL, "localizer=center_box"])
    few, many = plans(open_run(cfg), experiment_of(cfg), [(10, 10), (1000, 1000)])
    assert few.rehearsed == many.rehearsed
    for one, other in zip(few.stages, many.stages, strict=True):
        if one.name in ("propose", "localize/center_box"):
            assert other.seconds > 5 * one.seconds


@pytest.mark.parametrize(("free", "word"), [(4e9, "enough"), (2.5e9, "TOO LITTLE")])
def test_times_and_disk_add_up(free: float, word: str) -> None:
    printed = plan_table(Plan([Stage("a", 7200, 2e9, 1.6e9), Stage("b", 1800, 1e9, 0.2e9)], (9, 3), [3], 20), free)
    assert "| a     | 2 h    | 2 GB   | 1.6 GB |" in printed
    assert "all of 9 training and 3 test images: 2.5 h, 2 GB of memory, 1.8 GB of disk" in printed
    assert printed.endswith(f"of disk are free: {word}")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [(["nonsense=1"], "nonsense"), (["data=folder"], "data.root has no default"), (["data=nothing"], "nothing")],
)
def test_what_is_not_possible_is_an_input_error(overrides: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        compose("train", overrides)


@pytest.mark.slow
def test_help_says_plan() -> None:
    assert "plan" in programs.run("doctor", "--help").stdout
