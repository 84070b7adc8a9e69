"""The run folder: that it can be written, and that one process at a time works in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from wsdet.types import InputError

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two processes apart there
    fcntl = None  # type: ignore[assignment]

_LOCK = ".lock"
_LEFTOVER = re.compile(r"\..+\.\d+\.part", re.DOTALL)  # of a file's name and a process id


def check_writable(folder: Path) -> None:
    """Makes the folder.

    Raises:
        InputError: it cannot be made, or no file can be written in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _open(folder).close()
    except OSError as error:
        raise InputError(f"nothing can be written in out={folder}: {error.strerror}; give another out=") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of the folder, and clears it of what a killed one had half written.

    The lock ends with the process, however that ends.

    Raises:
        InputError: another process works in it; the message names both.
    """
    with _open(folder) as file:
        if fcntl is not None:
            try:
                # a record lock: unlike flock's, it is not handed to forked workers, who may outlive a killed parent
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise InputError(
                    f"{folder} is in use by process {file.read().strip() or 'unknown'}; wait until it ends, then run "
                    "the same command again, or give another out="
                ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        _remove_leftovers(folder)
        yield


def _remove_leftovers(folder: Path) -> None:
    """Removes what a killed process had half written; see `wsdet.files.replacing`."""
    for path in folder.rglob(".*.part"):
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _open(folder: Path) -> TextIO:
    return (folder / _LOCK).open("a+", encoding="ascii")
