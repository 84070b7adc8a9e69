"""The run folder: that it can be written, and that one process at a time works in it."""

from __future__ import annotations

import errno
import logging
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

log = logging.getLogger(__name__)

_LOCK = ".lock"
_LEFTOVER = re.compile(r"\..+\.\d+\.part", re.DOTALL)  # of a file's name and a process id


def check_writable(folder: Path, name: str = "out") -> None:
    """Makes the folder; `name` is the setting that names it.

    Raises:
        InputError: it cannot be made, or no file can be written in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _open(folder).close()
    except OSError as error:
        raise InputError(
            f"nothing can be written in {name}={folder}: {error.strerror}; give another {name}="
        ) from error


def is_run_folder(folder: Path) -> bool:
    """Whether a run works or worked in a folder: what lies in it is no data."""
    return (folder / _LOCK).is_file()


@contextmanager
def locked(folder: Path, wait: bool = False, shard: bool = False) -> Iterator[None]:
    """Keeps other processes out of the folder, and clears it of what a killed one had half written.

    The lock ends with the process, however that ends.

    Args:
        folder: of a run, or what runs share.
        wait: until no other process works in it, and says so.
        shard: other processes that say the same may work in it, too; nothing is cleared then.

    Raises:
        InputError: without `wait`, another process works in it; the message names both.
    """
    with _open(folder) as file:
        if fcntl is not None:
            # record locks: unlike flock's, they are not handed to forked workers, who may outlive a killed parent
            kind = fcntl.LOCK_SH if shard else fcntl.LOCK_EX
            try:
                fcntl.lockf(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = f"{folder} is in use by process {file.read().strip() or 'unknown'}"
                if not wait:
                    raise InputError(
                        f"{owner}; wait until it ends, then run the same command again, or give another out="
                    ) from None
                log.info("%s: waiting until it ends", owner)
                fcntl.lockf(file, kind)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        if not shard:
            _remove_leftovers(folder)
        yield


def _remove_leftovers(folder: Path) -> None:
    """Removes what a killed process had half written; see `wsdet.storage.files.replacing`.

    Runs further down have locks, and perhaps a process, of their own.
    """
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not Path(here, name, _LOCK).exists()]
        for name in names:
            if _LEFTOVER.fullmatch(name):
                Path(here, name).unlink(missing_ok=True)


def _open(folder: Path) -> TextIO:
    """The lock file, made if need be; a link in its place is not followed, and would be written to."""
    path = folder / _LOCK
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OSError(errno.EINVAL, f"{path} is no regular file; remove it")
    return path.open("a+", encoding="ascii", errors="replace")
