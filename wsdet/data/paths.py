"""Untrusted names, and the files in a folder that they may mean."""

from __future__ import annotations

import logging
import os
from pathlib import Path, PurePosixPath

from wsdet.data.images import SUFFIXES
from wsdet.storage.lock import is_run_folder
from wsdet.storage.untrusted import is_unicode, shown
from wsdet.types import InputError

log = logging.getLogger(__name__)

_SYSTEM_FOLDERS = {"lost+found", "System Volume Information", "$RECYCLE.BIN", "__MACOSX"}


def inside(name: str, where: str) -> str:
    """`name` as a relative path in one form ("./a//b.jpg" is "a/b.jpg"), if it stays inside its folder.

    The check is on the name alone: a link that lies in the folder is followed, as its owner put it there.

    Args:
        name: a path relative to some folder, with forward slashes.
        where: the file that names it, for messages.

    Raises:
        InputError: the name is empty, is absolute, goes up by "..", or cannot be a file name.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or not is_unicode(name):
        raise InputError(f"{where}, names {name!r}; it must be a relative path that stays inside the folder")
    return str(path)


def existing_folder(root: Path | str, what: str) -> Path:
    """`root` with ~ expanded.

    Raises:
        InputError: it is no folder.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"data.root={str(root)!r} {state}; it must be {what}")
    return folder


def image_names(folder: Path) -> list[str]:
    """Sorted relative paths of the image files anywhere under `folder`, recognized by their suffix.

    Hidden files and folders, those of the operating system, links to folders, and what runs wrote are left out.

    Raises:
        InputError: a folder cannot be read: its images, and perhaps a class, would be missing without a word.
    """
    found: list[str] = []
    linked: list[str] = []
    passed_over = 0
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SYSTEM_FOLDERS)
        of_runs = [name for name in folders if is_run_folder(Path(parent, name))]
        for name in of_runs:
            log.info("%s: left out the folder of a run, %s", folder, shown(Path(parent, name)))
            folders.remove(name)
        linked += [str(Path(parent) / name) for name in folders if (Path(parent) / name).is_symlink()]
        for name in files:
            relative = (Path(parent) / name).relative_to(folder).as_posix()
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() not in SUFFIXES:
                passed_over += 1
            elif not is_unicode(relative):
                log.warning("%s: left out %r: its name is not UTF-8; rename it", folder, relative)
            else:
                found.append(relative)
    if passed_over:
        log.info("%s: left out %d files that are no images by their suffix", folder, passed_over)
    if linked:
        log.warning("%s: left out %d links to folders, %r for one", folder, len(linked), linked[0])
    return sorted(found)


def _refuse(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):
        return
    name = shown(error.filename or "a folder")
    raise InputError(
        f"{name} cannot be read: {error.strerror}; its images would be missing without a word: make it readable "
        "(chmod), or move it elsewhere"
    ) from error
