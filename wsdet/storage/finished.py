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


def seal(path: Path, made_of: Mapping[str, Any], left: Iterable[Path]) -> None:
    """Marks a run as finished.

    Args:
        path: the mark.
        made_of: all that the run depends on, as plain JSON values.
        left: files and folders that the run left; without one of them it is not finished.
    """
    write_json(path, {"made_of": _digest(made_of), "left": [str(one) for one in left]})


def is_sealed(path: Path, made_of: Mapping[str, Any]) -> bool:
    """Whether a run of this version of the program was finished with the same `made_of`, and is all there."""
    if not path.exists():
        return False
    try:
        mark = read_object(path)
        return mark["made_of"] == _digest(made_of) and all(Path(one).exists() for one in mark["left"])
    except (InputError, KeyError, TypeError, ValueError, OSError):  # damaged: the stages know what is there
        return False


def _digest(made_of: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([__version__, made_of], sort_keys=True).encode()).hexdigest()
