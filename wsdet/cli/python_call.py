"""A program's config for a call from Python: names of choices and plain values, no command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.entry_point import compose

if TYPE_CHECKING:
    from omegaconf import DictConfig


def config_of(program: str, choices: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]] | None = None) -> Any:
    """The config that `python -m wsdet.<program>` would run with.

    Args:
        program: its name.
        choices: what the command line would say: values by dotted key; None values count as not given.
        parts: whole parts in place of what the config has, such as the `data` of an earlier run.

    Raises:
        InputError: a key or a value is not possible.
    """
    given = {key: value for key, value in choices.items() if value is not None}
    cfg: DictConfig = compose(program, [f"{key}={_quoted(value)}" for key, value in given.items()])
    for name, part in (parts or {}).items():
        cfg[name] = part
    return cfg


def _quoted(value: Any) -> str:
    """A plain value as Hydra's grammar has it."""
    if isinstance(value, str | Path):
        text = str(value)
        end = len(text) - len(text.rstrip("\\"))  # a backslash before the closing quote would escape it
        return "'" + text.replace("\\'", "\\\\'").replace("'", "\\'") + "\\" * end + "'"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_quoted(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_quoted, value)) + "]"
    return json.dumps(value)
