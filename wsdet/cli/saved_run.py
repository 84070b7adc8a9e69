"""The config of a finished run, read back from its folder: what `review` and `improve` go on from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.saved_parts import known_targets
from wsdet.storage.renamed import renamed_config
from wsdet.storage.untrusted import read_yaml, shown
from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_NEEDED = ("data", "network", "localizer", "names", "limit", "seed")


def saved_config(folder: Path, trust: bool = False) -> DictConfig:
    """The config in `<folder>/config.yaml`, with `shared` where the folder is now, if the run shared nothing.

    Args:
        folder: of a run of `wsdet.train` or `wsdet.localize`.
        trust: also build classes that no file of conf/ names; a run may come from a stranger.

    Raises:
        InputError: there is no such run, or its config cannot be used.
    """
    from omegaconf import OmegaConf

    path = folder / "config.yaml"
    if not path.is_file():
        raise InputError(f"run={shown(folder)} must be the folder of a run, and it has no config.yaml")
    content = read_yaml(path)
    if not isinstance(content, dict) or any(key not in content for key in _NEEDED):
        raise InputError(
            f"{shown(path)} is not of a run of wsdet.train or wsdet.localize: it needs {', '.join(_NEEDED)}"
        )
    content, known = renamed_config(content), known_targets(".")
    for key, text in _texts(content):
        if "${" in text:
            raise InputError(f"{shown(path)}: {shown(key)} holds an interpolation, {shown(text)}; write its value")
        if key == "_target_" and text not in known and not trust:
            raise InputError(
                f"{shown(path)} names the class {shown(text)}, which is none of wsdet's own; "
                "give trust=true if you know where this run comes from"
            )
    before = Path(str(content.get("out", folder)))
    if Path(str(content.get("shared", before))) == before:
        content["shared"] = str(folder)
    return OmegaConf.create(content)


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(key, text) of every text in nested values."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str):
        yield key, value
