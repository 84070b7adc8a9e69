from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.test_layout import PROGRAMS
from wsdet.cli.console import main, programs
from wsdet.version import __version__


def test_every_program_is_listed_with_what_it_does() -> None:
    assert programs().keys() == PROGRAMS | {"predict"}
    assert all(10 < len(does) <= 120 for does in programs().values())


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_the_programs(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["wsdet", *arguments])
    main()
    assert PROGRAMS | {"predict"} <= set(capsys.readouterr().out.split())


def test_ctrl_c_while_a_program_is_imported_is_one_line() -> None:
    code = "import sys; sys.argv = ['wsdet', 'localize']; import wsdet.cli; raise KeyboardInterrupt"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "interrupted; the same command goes on where this one stopped\n"
    assert done.returncode == -signal.SIGINT  # which a shell calls 130
    code = "import wsdet.cli; 1 / 0"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="the system has no SIGPIPE")
def test_help_ends_quietly_with_its_reader() -> None:
    read, write = os.pipe()
    os.close(read)
    code = "import sys; sys.argv = ['wsdet', '--help']; from wsdet.cli.console import main; main()"
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""


def test_an_unknown_program_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["wsdet", "lokalize"])
    with pytest.raises(SystemExit, match="wsdet lokalize: there is no such program"):
        main()


@pytest.mark.parametrize(("name", "module"), [("localize", "localize"), ("predict", "detect")])
def test_a_program_is_given_the_rest_of_the_line(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(sys, "argv", ["wsdet", name, "seed=1"])
    __import__(f"wsdet.{module}")
    monkeypatch.setattr(sys.modules[f"wsdet.{module}"], "main", lambda: seen.extend(sys.argv))
    main()
    assert seen == [f"wsdet {name}", "seed=1"]


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["wsdet", "--version"])
    main()
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.slow
def test_the_programs_start_as_modules() -> None:
    """Each in a process of its own; elsewhere tests run them in forked processes, see `tests.programs`."""
    for program in sorted(PROGRAMS):
        command = [sys.executable, "-m", f"wsdet.{program}", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert f"python -m wsdet.{program}" in done.stdout
