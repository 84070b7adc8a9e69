"""Parts of configs that lie in run folders and saved detectors, which may come from anyone.

They name classes. Only those of our own configs are built, with plain values.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.entry_point import CONF
from wsdet.storage.renamed import renamed, renamed_config
from wsdet.storage.untrusted import read_yaml
from wsdet.types import InputError

if TYPE_CHECKING:
    from wsdet.stages.positives import Positives

_LARGEST, _LONGEST = 1e9, 1000  # numbers and lists in what is read
_OTHER_PROPOSALS = "give proposals=NAME instead (python -m wsdet.detect --help lists them)"


def saved_proposals(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of the proposals that a detector was trained with, checked.

    Args:
        settings: as the detector's file has them.
        name: of its file, for messages.

    Raises:
        InputError: it names none, or something else than a source of proposals of ours with plain values.
    """
    settings = renamed(settings)
    if not settings:
        raise InputError(f"{name} names no proposals; give proposals=NAME, such as selective_search")
    check_harmless(settings, known_targets("proposals", "localizer"), name, "proposals", _OTHER_PROPOSALS)
    if not str(settings["_target_"]).startswith("wsdet.proposals."):
        raise InputError(f"{name}: its proposals are no source of proposals; give proposals=NAME")
    return dict(settings)


def run_of(folder: Path) -> Path | None:
    """The run folder that a store or detector lies in, or is; None where there is no config above it."""
    return next((one for one in [folder, *folder.absolute().parents[:4]] if (one / "config.yaml").is_file()), None)


def config_above(folder: Path) -> dict[str, Any]:
    """The config of the run that a store or detector lies in; empty where there is none."""
    run = run_of(folder)
    config = read_yaml(run / "config.yaml") if run else {}
    return renamed_config(config) if isinstance(config, dict) else {}


def saved_network(folder: Path) -> dict[str, Any]:
    """The network of the run that a store lies in, with the weights that were trained there.

    Raises:
        InputError: see `saved_part`.
    """
    network, config = saved_part(folder, "network"), config_above(folder)
    trained = Path(config.get("shared") or run_of(folder) or "", "classifier", "model.safetensors")
    return network | ({"weights": str(trained)} if network.get("head") == "finetune" and trained.is_file() else {})


def saved_positives(folder: Path) -> Positives:
    """Which pseudo-boxes the run that a store lies in trained detectors on; the defaults where it trained none."""
    from wsdet.stages.positives import Positives

    detector = config_above(folder).get("detector")
    chosen = detector if isinstance(detector, dict) else {}
    return Positives(**{field.name: chosen[field.name] for field in fields(Positives) if field.name in chosen})


def saved_part(folder: Path, group: str) -> dict[str, Any]:
    """What the run that a store or detector lies in chose of a group of configs, such as its `data`.

    Raises:
        InputError: no run is there, or its config names something that is none of our configs.
    """
    part = config_above(folder).get(group)
    if not isinstance(part, dict):
        raise InputError(f"{folder} lies in no run whose config.yaml says its {group}; give {group}=")
    check_harmless(part, known_targets(group), f"config.yaml of {folder}", group, f"give {group}= as when it was made")
    return part


@cache
def known_targets(*groups: str) -> frozenset[str]:
    """The classes that our configs of these groups name."""
    from omegaconf import OmegaConf

    paths = [path for group in groups for path in (CONF / group).rglob("*.yaml")]
    return frozenset(str(found) for path in paths for found in _targets(OmegaConf.to_container(OmegaConf.load(path))))


def _targets(node: Any) -> list[Any]:
    if isinstance(node, dict):
        own = [node["_target_"]] if "_target_" in node else []
        return own + [target for part in node.values() for target in _targets(part)]
    return []


def check_harmless(settings: Any, known: Set[str], name: str, what: str, remedy: str, top: bool = True) -> None:
    """Whether what an untrusted file says is of a known class, with plain values.

    Args:
        settings: `_target_` and its arguments.
        known: the classes allowed.
        name: of the file.
        what: these settings are.
        remedy: ends the messages.
        top: `settings` themselves must name a class, not their parts alone.

    Raises:
        InputError: they are not.
    """
    if isinstance(settings, int | float) and not abs(settings) <= _LARGEST:
        raise InputError(f"{name}: {what} hold the number {settings}; {remedy}")
    if isinstance(settings, list) and len(settings) > _LONGEST:
        raise InputError(f"{name}: {what} hold a list of {len(settings)} values; {remedy}")
    if isinstance(settings, Mapping):
        if isinstance(settings.get("localizer"), Mapping) and not isinstance(settings.get("name"), str):
            raise InputError(f"{name}: the localizer of {what} has no name; {remedy}")
        if (top or "_target_" in settings) and settings.get("_target_") not in known:
            raise InputError(f"{name}: {what} are of no known kind, {settings.get('_target_')!r}; {remedy}")
        if any(str(key).startswith("_") and key != "_target_" for key in settings):
            raise InputError(f"{name}: {what} have a key that is not allowed; {remedy}")
    if isinstance(settings, Mapping | list):
        for value in settings.values() if isinstance(settings, Mapping) else settings:
            check_harmless(value, known, name, what, remedy, top=False)
    elif isinstance(settings, str) and "${" in settings:
        raise InputError(f"{name}: {what} hold an interpolation; {remedy}")
