"""The mark of a finished run: the same settings on the same images have nothing left to do there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_object
from wsdet.types import InputError
from wsdet.version import __version__


def mark_finished(path: Path, depends_on: Mapping[str, Any], left: Iterable[Path]) -> None:
    """Marks a run as finished.

    Args:
        path: the mark.
        depends_on: all that the run depends on, as plain JSON values.
        left: files and folders that the run left; without one of them it is not finished.
    """
    write_json(path, {"depends_on": _digest(depends_on), "left": [str(one) for one in left]})


def is_finished(path: Path, depends_on: Mapping[str, Any]) -> bool:
    """Whether a run of this version of the program was finished with the same `depends_on`, and is all there."""
    if not path.exists():
        return False
    try:
        mark = read_object(path)
        return mark["depends_on"] == _digest(depends_on) and all(Path(one).exists() for one in mark["left"])
    except (InputError, KeyError, TypeError, ValueError, OSError):  # damaged: the stages know what is there
        return False


def _digest(depends_on: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([__version__, depends_on], sort_keys=True).encode()).hexdigest()
