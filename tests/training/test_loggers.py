"""Trackers: what is logged arrives, and one whose package is missing is named before any work."""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path

import pytest

from tests import programs
from wsdet.training import loggers
from wsdet.training.loggers import check_logger, loggers_of
from wsdet.types import InputError

TRACKERS = [name for name in loggers.PACKAGES if name != "csv"]


def test_csv_needs_no_package_and_each_start_has_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    for start in range(2):
        [logger] = loggers_of(tmp_path, "classifier")
        logger.log_metrics({"loss": 0.5 + start}, step=3)
        logger.save()
        written = (tmp_path / "log" / f"start_{start}" / "metrics.csv").read_text(encoding="utf-8")
        assert list(csv.DictReader(written.splitlines())) == [{"loss": str(0.5 + start), "step": "3"}]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"logger={name} .*pip install 'wsdet\[{name}\]'"):
        check_logger(name)


def test_an_unknown_logger_is_refused() -> None:
    with pytest.raises(InputError, match="logger must be"):
        check_logger("paper")


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_gets_the_losses_without_a_network(name: str, tmp_path: Path) -> None:
    """In a process of its own: trackers have warnings, threads and settings of theirs."""
    for package in loggers.PACKAGES[name]:
        pytest.importorskip(package)
    program = (
        "import os, sys; from pathlib import Path; from wsdet.training.loggers import loggers_of\n"
        "os.environ.update(WANDB_MODE='offline', HOME=sys.argv[1])\n"
        "_, logger = loggers_of(Path(sys.argv[1]), 'classifier', sys.argv[2])\n"
        "logger.log_metrics({'loss': 0.625}, step=3); logger.finalize('success')\n"
        "getattr(logger.experiment, 'finish', int)()\n"  # of wandb, which waits for the end of a program
    )
    done = programs.run(program, str(tmp_path), name)
    assert done.returncode == 0, done.stderr
    if name == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path / "log" / "start_0"))
        events.Reload()
        assert [(one.step, one.value) for one in events.Scalars("loss")] == [(3, 0.625)]
    elif name == "mlflow":
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            assert database.execute("select key, value, step from metrics").fetchall() == [("loss", 0.625, 3)]
    else:
        [file] = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
        assert b"loss" in file.read_bytes()
