"""Saved detectors of every kind: what lies in a folder says itself what it is.

The kinds are the modules of this package with a line `FORMAT = "..."`, which is what their `model.json` says, and a
function `load_saved`. So a new kind is its own file; and a file that may come from anywhere chooses among these alone.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from wsdet.storage.untrusted import read_json
from wsdet.types import Detector, InputError

_FORMAT = re.compile(r'^FORMAT = "(.+)"$', re.MULTILINE)


class LoadSaved(Protocol):
    """What a kind of detector offers as `load_saved`."""

    def __call__(self, folder: Path, device: str, precision: str, others: Mapping[str, Detector]) -> Detector:
        """The detector in a folder.

        Args:
            folder: what its `save` wrote. It may come from anyone: no code in it is run.
            device: see `wsdet.networks.classifier.Network`.
            precision: see there.
            others: loaded before, with which it may share what it computes of an image.

        Raises:
            InputError: a file in the folder is damaged.
        """


def kinds() -> dict[str, str]:
    """The module of each kind of detector, by the format of its files."""
    folder, found = Path(__file__).parent, {}
    for path in sorted(folder.rglob("*.py")):  # read, as importing all of them would take seconds
        if match := _FORMAT.search(path.read_text(encoding="utf-8")):
            found[match[1]] = ".".join(["wsdet.detectors", *path.relative_to(folder).with_suffix("").parts])
    return found


def load_detectors(
    folders: Mapping[str, Path], device: str = "auto", precision: str = "auto", worker: int = 0
) -> dict[str, Detector]:
    """Saved detectors by name; those of one run share the features of their proposals.

    Args:
        folders: what their `save` wrote. They may come from anyone: no code in them is run.
        device: see `wsdet.networks.classifier.Network`, as for `precision`.
        precision: of the forward passes.
        worker: number of this process among those of its machine: of several GPUs each takes one.

    Raises:
        InputError: a folder holds no detector that this version knows, or a file in it is damaged.
    """
    import torch

    if device in ("auto", "cuda") and torch.cuda.device_count() > 1:
        device = f"cuda:{worker % torch.cuda.device_count()}"
    known, detectors = kinds(), dict[str, Detector]()
    for name, folder in folders.items():
        kind = _format_of(folder)
        if kind not in known:
            raise InputError(f"{folder / 'model.json'} describes no detector of this version, got {kind!r}")
        load_saved: LoadSaved = importlib.import_module(known[kind]).load_saved
        detectors[name] = load_saved(folder, device, precision, detectors)
    return detectors


def _format_of(folder: Path) -> str:
    described = read_json(folder / "model.json")
    return str(described.get("format", "")) if isinstance(described, dict) else ""
