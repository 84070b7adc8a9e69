"""Programs of wsdet as tests run them: each in a process of its own, forked off one that has loaded the libraries.

A program spends seconds on importing torch, Lightning and Hydra, and most tests run it for less. That `python -m` finds
and starts every program is left to `test_the_programs_start_as_modules`.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType

LIBRARIES = ("hydra", "omegaconf", "pytorch_lightning", "torchvision", "sklearn.decomposition", "scipy.stats")
COMPILER = "torch._dynamo"  # which the first optimizer loads
STAGES = (
    "wsdet.stages.experiment",
    "wsdet.stages.run",
    "wsdet.training.region_classifier",
    "wsdet.training.classifier",
)

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.programs", "wsdet.networks.torchvision_import", *LIBRARIES, *STAGES, COMPILER])


class Started:
    """A program under way.

    Attributes:
        pid: of its process.
    """

    def __init__(
        self, program: str, arguments: tuple[str, ...], cwd: Path | str | None, environment: Mapping[str, str]
    ) -> None:
        self._folder = tempfile.mkdtemp()
        self._done: subprocess.CompletedProcess[str] | None = None
        self._process: ForkServerProcess = context.Process(
            target=_run, args=(program, arguments, str(cwd or Path.cwd()), environment, self._folder)
        )
        self._process.start()
        self.pid = int(self._process.pid or 0)

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """Ends it at once."""
        os.kill(self.pid, signal.SIGKILL)

    def done(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Waits for its end, and gives its exit status and all that it wrote."""
        if self._done is None:
            self._process.join(timeout)
            in_time = self.poll() is not None
            if not in_time:
                self.kill()
                self._process.join()
            paths = [Path(self._folder, name) for name in ("stdout", "stderr")]
            texts = [path.read_text(encoding="utf-8") if path.exists() else "" for path in paths]
            shutil.rmtree(self._folder)
            assert in_time, texts
            self._done = subprocess.CompletedProcess((), self._process.exitcode or 0, *texts)
        return self._done

    def __enter__(self) -> Started:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.poll() is None:
            self.kill()
        self.done()


def start(
    program: str, *arguments: str, cwd: Path | str | None = None, environment: Mapping[str, str] | None = None
) -> Started:
    """Starts `python -m wsdet.PROGRAM` with these arguments, or, as `program`, lines of code.

    Args:
        program: name or code.
        arguments: of the command line.
        cwd: the folder it starts in; None: the current one.
        environment: variables beside those there were when the first program started.
    """
    return Started(program, arguments, cwd, dict(environment or {}))


def run(
    program: str, *arguments: str, cwd: Path | str | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """As `start`, to its end."""
    with start(program, *arguments, cwd=cwd, environment=environment) as started:
        return started.done()


def _run(program: str, arguments: tuple[str, ...], cwd: str, environment: Mapping[str, str], folder: str) -> None:
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        file = os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(cwd)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [program if program.isidentifier() else "-c", *arguments]
    if program.isidentifier():
        importlib.import_module(f"wsdet.{program}").main()
    else:
        exec(compile(program, "test", "exec"), {"__name__": "__main__"})
