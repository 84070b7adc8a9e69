"""What the machine has, and what a run costs, without waiting for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wsdet import doctor
from wsdet.cli.entry_point import compose
from wsdet.doctor import plan_of as plan
from wsdet.stages import plan as stage
from wsdet.stages.plan import Stage, plan_table
from wsdet.types import InputError
from wsdet.vision import opencv


def test_the_machine_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor._report_machine() == 0
    printed = capsys.readouterr().out
    for text in ("torchvision", "nms and roi_align run on cpu", "createEdgeBoxes", "free disk here", "is there"):
        assert text in printed


def test_what_is_missing_is_marked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(opencv, "NEEDED", ("ximgproc.createNothing",))
    assert doctor._report_machine() == 1
    printed = capsys.readouterr().out
    assert "lacks cv2.ximgproc.createNothing" in printed
    assert "MISSING" in printed


def test_a_plan_names_every_stage_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "MEASURED", 2)
    small = ["data.n_train=20", "data.n_test=4", "data.size=64", "network.input_size=64", "device=cpu", "limit=5"]
    stages = plan(compose("train", [*small, "localizer=stl_fast"]))
    assert [stage.name for stage in stages] == [
        "train the classifier",
        "localize, stl_fast",
        "propose, fast",
        "feature maps",
        "train the detectors",
        "detect",
    ]
    assert [stage.images for stage in stages] == [5, 5, 9, 5, 5, 4]
    assert [stage.passes for stage in stages] == [20, 1, 1, 1, 3, 1]
    assert all(stage.seconds > 0 for stage in stages)
    assert all(stages[place].n_bytes > 0 for place in (1, 2, 3))
    assert not list(tmp_path.iterdir())


def test_a_plan_counts_proposals_once_and_localizers_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "MEASURED", 1)
    small = ["data.n_train=20", "data.n_test=4", "data.size=32", "network.input_size=32", "device=cpu", "limit=5"]

    def stages(*overrides: str) -> list[tuple[str, int]]:
        planned = plan(compose("train", [*small, "network.head=pretrained", "localizer=vote", *overrides]))
        return [(stage.name, stage.images) for stage in planned][:-3]

    assert stages() == [("localize, vote", 5), ("propose, fast", 9)]
    assert stages("proposals=stl_wl") == [
        ("propose, for_vote", 5),
        ("localize, vote", 5),
        ("localize, stl_wl", 9),
        ("propose, stl_wl", 9),
    ]
    assert stages("localizer=wsddn")[:2] == [("localize, wsddn", 5), ("propose, fast", 9)]
    learning = plan(compose("train", [*small, "localizer=wsddn"]))[-3]
    assert (learning.name, learning.images, learning.passes) == ("train the region classifier", 5, 5)
    with pytest.raises(InputError, match="plan knows task=experiment and task=classifier, got task=box_regressor"):
        stages("task=box_regressor")


@pytest.mark.parametrize(("free", "word"), [(4e9, "enough"), (2.5e9, "TOO LITTLE")])
def test_hours_and_disk_add_up(free: float, word: str) -> None:
    printed = plan_table([Stage("a", 3600, 2.0, 5e5), Stage("b", 100, 36.0, passes=2)], free)
    assert "0.50" in printed.split("\n")[2]
    assert "2.000" in printed.split("\n")[2]
    assert [cell.strip() for cell in printed.split("\n")[4].split("|")][5:7] == ["4.000", "1.800"]
    assert printed.endswith(f"GB of disk are free: {word}")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [(["nonsense=1"], "nonsense"), (["data=folder"], "data.root has no default"), (["data=nothing"], "nothing")],
)
def test_what_is_not_possible_is_an_input_error(overrides: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        compose("train", overrides)


def test_help_is_fast_and_says_plan() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wsdet.doctor", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "plan" in done.stdout
