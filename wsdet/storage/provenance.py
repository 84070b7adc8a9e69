"""What a folder of results depends on, kept beside them: results of other settings are never mixed in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsdet.storage.files import write_json
from wsdet.storage.renamed import renamed
from wsdet.storage.untrusted import read_object, shown
from wsdet.types import InputError

_FILE = "settings.json"
_ABSENT = "(absent)"
_MAX_SHOWN = 3  # differences in a message
_MAX_LENGTH = 80  # characters of a value in it
# what the digests stand for that settings hold where a value would be too long
_DIGESTS = {
    "images": "the images or their labels",
    "initial_weights": "the weights that training starts from",
    "fingerprint": "the network's weights, input size or head",
    "model_files": "the detector's files",
}


class SettingsChanged(InputError):
    """A folder holds results of other settings than those that are wanted now."""


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Records `settings` in a new folder of results; checks them in one that is there.

    Args:
        folder: made when it is not there.
        settings: what the results depend on, as plain JSON values.

    Raises:
        SettingsChanged: the folder was made with other settings; the message names the first that differ.
        InputError: what is recorded there cannot be read.
    """
    if not (folder / _FILE).exists():
        write_json(folder / _FILE, dict(settings))
        return
    # through JSON, as what is there went: a tuple becomes a list
    changes = list(differences(read_settings(folder), json.loads(json.dumps(settings))))
    if changes:
        named = [f"{key} was {_short(there)}, is {_short(wanted)}{_meaning(key)}" for key, there, wanted in changes]
        more = f"; and {len(named) - _MAX_SHOWN} more" if len(named) > _MAX_SHOWN else ""
        raise SettingsChanged(
            f"{shown(folder)} was made with other settings: {'; '.join(named[:_MAX_SHOWN])}{more}. "
            "Set them as they were, give another out=, or delete that folder to make it anew"
        )


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings recorded in a folder, with today's names of those that have been renamed.

    Raises:
        InputError: there are none, or they are damaged.
    """
    settings: dict[str, Any] = renamed(read_object(folder / _FILE))
    return settings


def recorded_digest(folder: Path) -> str:
    """16 characters that stand for the settings recorded in a folder, as they are written there."""
    return digest(read_object(folder / _FILE))


def differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, value there, value wanted) where settings differ; "(absent)" where one has no such key."""
    before, after = flatten(there), flatten(wanted)
    for key in dict.fromkeys([*after, *before]):
        old, new = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if old != new:
            yield key, old, new


def digest(settings: Mapping[str, Any]) -> str:
    """16 characters that stand for plain JSON values."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


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


def _short(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."


def _meaning(key: str) -> str:
    meaning = _DIGESTS.get(key.rpartition(".")[2])
    return f" ({meaning})" if meaning else ""
