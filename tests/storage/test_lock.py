"""One process at a time in a run folder; a killed one leaves it free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests import programs
from wsdet.storage.lock import check_writable, locked
from wsdet.types import InputError

CHILD = """
import os, sys, time
from pathlib import Path
from wsdet.storage.lock import locked
with locked(Path(sys.argv[1])):
    if len(sys.argv) > 2 and os.fork() == 0:
        time.sleep(30)
    print("locked", flush=True)
    time.sleep(30)
"""


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder), *more]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    return child


def test_the_second_process_is_told_who_the_first_is(tmp_path: Path) -> None:
    with start(tmp_path) as child:
        with pytest.raises(InputError) as caught, locked(tmp_path):
            pass
        child.kill()
    assert str(caught.value).startswith(f"{tmp_path} is in use by process {child.pid}; wait until it ends")
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("target", ["victim", "nothing"])
def test_a_link_in_place_of_the_lock_is_not_written_to(tmp_path: Path, target: str) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match="no regular file; remove it"):
        check_writable(tmp_path / "run")
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "nothing").exists()


def test_a_folder_that_runs_share_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with start(tmp_path) as child:
        threading.Timer(0.2, child.kill).start()
        with locked(tmp_path, wait=True):
            assert child.wait(10) == -signal.SIGKILL
    assert f"{tmp_path} is in use by process {child.pid}: waiting until it ends" in caplog.text


def test_a_killed_process_leaves_no_lock_even_with_a_child_that_lives_on(tmp_path: Path) -> None:
    child = start(tmp_path, "fork")
    child.send_signal(signal.SIGKILL)
    child.wait()
    with locked(tmp_path):
        pass
    os.killpg(child.pid, signal.SIGKILL)  # the grandchild; both are in the session that was started for them
    assert child.stdout is not None
    child.stdout.close()


@pytest.mark.parametrize("out", ["/dev/null/run", "/proc/1/run"])
def test_a_folder_that_cannot_be_written_is_named(out: str) -> None:
    with pytest.raises(InputError, match=rf"nothing can be written in out={out}: .*; give another out="):
        check_writable(Path(out))


@pytest.mark.slow
def test_a_command_says_both_before_any_work(tmp_path: Path) -> None:
    done = programs.run("localize", "out=/dev/null/run")
    assert done.returncode == 1
    assert done.stderr.strip() == "nothing can be written in out=/dev/null/run: Not a directory; give another out="
    with start(tmp_path) as child:
        done = programs.run("localize", f"out={tmp_path}")
        child.kill()
    assert done.returncode == 1
    assert f"is in use by process {child.pid}" in done.stdout + done.stderr
    assert not (tmp_path / "config.yaml").exists()


def test_half_written_files_of_a_killed_process_go(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "run").mkdir()
    # the last two: a run's own, which may be under way
    names = ("a.part", ".hidden.part", "boxes.json", "run/.lock", "run/.boxes.json.456.part")
    kept = [tmp_path / "sub" / name for name in names]
    for path in [*kept, tmp_path / "sub" / ".boxes.json.123.part"]:
        path.touch()
    with locked(tmp_path):
        assert sorted(path for path in (tmp_path / "sub").rglob("*") if path.is_file()) == sorted(kept)
