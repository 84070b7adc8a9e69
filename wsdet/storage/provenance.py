"""What a folder of results depends on, kept beside them: results of other settings are never mixed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_object
from wsdet.types import InputError

_FILE = "settings.json"


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Records `settings` in a new folder of results; checks them in one that is there.

    Args:
        folder: made when it is not there.
        settings: what the results depend on, as plain JSON values.

    Raises:
        InputError: the folder was made with other settings; the message names the first that differs.
    """
    if not (folder / _FILE).exists():
        write_json(folder / _FILE, dict(settings))
        return
    # through JSON, as what is there went: a tuple becomes a list
    there, wanted = flatten(read_settings(folder)), flatten(json.loads(json.dumps(settings)))
    for key in [*wanted, *there]:
        if there.get(key, "(absent)") != wanted.get(key, "(absent)"):
            raise InputError(
                f"{folder} was made with {key}={there.get(key, '(absent)')}, now it is "
                f"{key}={wanted.get(key, '(absent)')}; give another out=, or delete that folder to make it anew"
            )


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings recorded in a folder.

    Raises:
        InputError: there are none, or they are damaged.
    """
    return read_object(folder / _FILE)


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    if not isinstance(settings, Mapping):
        return {prefix: settings}
    return {
        key: value
        for name in settings
        for key, value in flatten(settings[name], f"{prefix}.{name}" if prefix else str(name)).items()
    }
