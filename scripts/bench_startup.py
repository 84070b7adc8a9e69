"""How long the commands take when there is nothing to do: `--help`, and a finished experiment run again.

python scripts/bench_startup.py                        # some minutes, most of them for the experiment
python scripts/bench_startup.py --run DIR              # a finished run of data.n_train=40 data.n_test=20 is there
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark import parser_of, report, start

_COMMANDS = ("train", "localize", "propose", "detect", "evaluate", "compare", "export")
_EXPERIMENT = ("train", "data.n_train=40", "data.n_test=20")


def main() -> None:
    """Prints the seconds, and writes them to `--json`."""
    options = _options()
    machine = start(options)
    helps = {name: min(_seconds(options, name, "--help") for _ in range(3)) for name in _COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        out = f"out={options.run or Path(folder) / 'run'}"
        first = _seconds(options, *_EXPERIMENT, out)
        again = min(_seconds(options, *_EXPERIMENT, out) for _ in range(3))
    figures = {"help_seconds": max(helps.values()), "help_seconds_by_command": helps}
    report(options, machine, figures | {"first_run_seconds": first, "finished_run_again_seconds": again})


def _seconds(options: argparse.Namespace, *command: str) -> float:
    """Of `python -m wsdet.<command>`; with `--clock cpu`, of its processor."""

    def now() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime if options.clock == "cpu" else time.perf_counter()

    # where this is set, every start compiles every module anew
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    name, *arguments = command
    begin = now()
    subprocess.run(
        [sys.executable, "-m", f"wsdet.{name}", *arguments], check=True, capture_output=True, env=environment
    )
    return now() - begin


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--run", type=Path, help="folder of the experiment; made when it is not there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
