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

_OF_HYDRA = ("_target_", "_partial_")  # keys that our own configs have
_NEEDED = ("data", "network", "localizer", "names", "limit", "seed")


def saved_config(folder: Path, trust: bool = False) -> DictConfig:
    """The config in `<folder>/config.yaml`, with `shared` where the folder is now, if the run shared nothing.

    Args:
        folder: of a run of `wsdet.train` or `wsdet.localize`.
        trust: also build classes that no file of conf/ names; a run may be untrusted.

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
    for key, value in _entries(content):
        text = value if isinstance(value, str) else ""
        if key.startswith("_") and key not in _OF_HYDRA and not trust:
            raise InputError(f"{shown(path)} has the key {shown(key)}, which no run of wsdet writes; remove it")
        if "${" in text:
            raise InputError(f"{shown(path)}: {shown(key)} holds an interpolation, {shown(text)}; write its value")
        if key == "_target_" and text not in known and not trust:
            raise InputError(
                f"{shown(path)} names the class {shown(value)}, which is none of wsdet's own; "
                "give trust=true if you know where this run comes from"
            )
    before = Path(str(content.get("out", folder)))
    if Path(str(content.get("shared", before))) == before:
        content["shared"] = str(folder)
    return OmegaConf.create(content)


def _entries(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its value, and every value of a list with the list's key, however nested."""
    for name, inner in value.items() if isinstance(value, dict) else [(key, one) for one in value]:
        yield str(name), inner
        if isinstance(inner, dict | list):
            yield from _entries(inner, str(name))
