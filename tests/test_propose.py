"""The propose stage: order, bad images, dying workers, interrupts and resuming."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from wsdet.cli.build import build, settings_of
from wsdet.cli.entry_point import CONF
from wsdet.proposals.selective_search import SelectiveSearch
from wsdet.runners.local import Local
from wsdet.stages.propose import propose
from wsdet.stages.recipe import Recipe, with_localized
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, InputError, Sample

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of sources that go wrong, on the path that worker processes inherit."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "proposals"))
    return importlib.import_module("deadly_sources")


@pytest.mark.slow
def test_workers_do_not_change_the_boxes(tmp_path: Path, sources: ModuleType) -> None:
    dataset = sources.Images(5)
    for workers in (0, 2):
        report = propose(
            dataset, dataset.ids("train"), SelectiveSearch(), BoxStore(tmp_path / str(workers), {}), Local(workers)
        )
        assert (report.done, report.failed) == (5, {})
    parts = [(tmp_path / workers / "parts" / "000000.parquet").read_bytes() for workers in ("0", "2")]
    assert parts[0] == parts[1]


def test_a_localizer_within_a_source_is_run_first(tmp_path: Path) -> None:
    made = {"a": Boxes(np.array([[0, 0, 4, 4], [1, 1, 9, 9]]), np.array([0.1, 0.7]), np.array([3, 5]))}
    asked: list[Recipe] = []

    def run(localizer: Recipe) -> Path:
        asked.append(localizer)
        BoxStore(tmp_path / localizer.name, {}).fill(["a"], lambda ids: made.items(), "test")
        return tmp_path / localizer.name

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("propose", ["proposals=merge", "proposals@proposals.first=stl_wl", "proposals.n_first=1"])
        recipe = Recipe("merge", settings_of(cfg, "proposals")["proposals"], "proposals", build)
        source = with_localized(recipe, run).build()
    (localizer,) = asked
    wanted = ("stl_wl", "top", cfg.network.input_size)
    assert (localizer.name, localizer.settings["drop"], localizer.settings["size"]) == wanted
    found = source.propose(Sample("a", np.zeros((20, 20, 3), np.uint8)))
    assert found.xyxy[0].tolist() == [1, 1, 9, 9]  # the best, wherever it stood
    assert set(found.labels) == {-1}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_image_is_recorded_and_the_rest_done_in_order(tmp_path: Path, sources: ModuleType, workers: int) -> None:
    dataset, store = sources.Images(6, unreadable=(1,)), BoxStore(tmp_path, {})
    report = propose(dataset, dataset.ids("train"), sources.Brightness(refuses=(4,)), store, Local(workers))
    assert report.failed == {"image1": "image1 cannot be read", "image4": "image4 is refused"}
    assert {image_id: boxes.scores.tolist() for image_id, boxes in store.items()} == {
        f"image{i}": [i] for i in (0, 2, 3, 5)
    }
    assert list(store) == ["image0", "image2", "image3", "image5"]


@pytest.mark.slow
def test_strict_ends_with_the_first_bad_image_and_the_next_run_goes_on(tmp_path: Path, sources: ModuleType) -> None:
    dataset, store = sources.Images(6), BoxStore(tmp_path, {})
    with pytest.raises(InputError, match="image2 is refused"):
        propose(dataset, dataset.ids("train"), sources.Brightness(refuses=(2,)), store, runner=Local(2), strict=True)
    assert list(BoxStore(tmp_path)) == ["image0", "image1"]
    report = propose(dataset, dataset.ids("train"), sources.Brightness(), BoxStore(tmp_path), runner=Local(2))
    assert (report.kept, report.done) == (2, 4)


@pytest.mark.slow
def test_a_dying_worker_costs_one_image(tmp_path: Path, sources: ModuleType) -> None:
    dataset, store = sources.Images(7), BoxStore(tmp_path, {})
    report = propose(dataset, dataset.ids("train"), sources.Brightness(dies_at=(2,)), store, runner=Local(2))
    assert list(report.failed) == ["image2"]
    assert "worker process died over 'image2'" in report.failed["image2"]
    assert list(store) == [f"image{i}" for i in (0, 1, 3, 4, 5, 6)]


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_run_with_the_remedy(
    tmp_path: Path, sources: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = sources.Images(3)
    with pytest.raises(InputError, match="workers=0 computes without them"):
        propose(dataset, dataset.ids("train"), sources.CannotArrive(), BoxStore(tmp_path, {}), runner=Local(2))
    assert "cannot arrive" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for child processes in /proc")
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)], ids=["Ctrl-C", "kill -9"])
def test_an_interrupted_run_leaves_its_work_and_no_process(tmp_path: Path, signum: int, status: int) -> None:
    quick = [
        "proposals=selective_search",
        "proposals.color_spaces=[hsv]",
        "proposals.ks=[200]",
        "proposals.similarities=[S]",
    ]
    command = [sys.executable, "-m", "wsdet.propose", "data.n_train=12", "data.n_test=0", f"out={tmp_path}", *quick]
    store = tmp_path / "proposals" / "selective_search"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True, text=True) as run:
        wait_for(lambda: any((store / "pending").glob("*.parquet")))
        children = children_of(run.pid)
        os.kill(run.pid, signum)
        error = run.communicate(timeout=30)[1]
    assert run.returncode == status
    assert "Traceback" not in error
    assert len(children) >= 2
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    assert 0 < len(BoxStore(store)) < 12


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Waits until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    """Process ids of the children."""
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
