"""Where the output goes to a file, a bar is a line in the log now and then."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, time
from wsdet import progress
logging.basicConfig(level=logging.INFO, format="%(message)s")
progress._SECONDS = 0.2
for _ in progress.Bar(range(5), desc="work", unit="image"):
    time.sleep(0.15)
"""


def test_a_file_gets_lines_and_no_bar() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stderr.splitlines()
    assert done.stdout == ""
    assert "\r" not in done.stderr
    assert 1 <= len(lines) <= 4
    assert all(line.startswith("work: ") and " of 5, " in line and line.endswith(" left") for line in lines)
