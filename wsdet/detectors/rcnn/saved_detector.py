"""The files of an `RcnnDetector`, which may come from anywhere: what they say is checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wsdet.detectors.described_network import described_network
from wsdet.networks.classifier import Network
from wsdet.storage import tensors
from wsdet.storage.untrusted import read_object
from wsdet.types import InputError

# what a detector that comes from anywhere may ask for
_MAX_INPUT, _MAX_SCALES, _MAX_SCALE = 1024, 16, 16.0


def read_description(path: Path, format: str) -> dict[str, Any]:
    """What model.json says, with every field that `RcnnDetector.load` reads of the right kind.

    Raises:
        InputError: it cannot be read, says another format, or asks for more memory or time than any detector needs.
    """
    metadata = read_object(path)
    fields: dict[str, type | tuple[type, ...]] = {
        "classes": list,
        "features": dict,
        "network": dict,
        "proposals": dict,
        "nms_iou": (int, float),
        "max_per_class": int,
        "max_per_image": int,
        "max_proposals": int,
        "box_regression": bool,
        "info": dict,
    }
    if metadata.get("format") != format:
        raise InputError(f"{path} does not describe a detector of this version ({format!r}); train it again")
    for name, kind in fields.items():
        if not isinstance(metadata.get(name), kind) or (isinstance(metadata[name], bool) and kind is not bool):
            raise InputError(f"{path}: {name!r} is missing or of the wrong kind; train the detector again")
    if not all(isinstance(name, str) for name in metadata["classes"]):
        raise InputError(f"{path}: 'classes' must be a list of names; train the detector again")
    _check_sizes(path, metadata["features"])
    return metadata


def _check_sizes(path: Path, features: Mapping[str, Any]) -> None:
    """Whether features ask for no more memory and time than any that wsdet trains with."""
    scales = features.get("scales", [])
    numbers = [
        *(scales if isinstance(scales, list) else [scales]),
        *(features.get(k, 1.0) for k in ("target", "longest")),
    ]
    if len(numbers) > _MAX_SCALES or not all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _MAX_SCALE for value in numbers
    ):
        raise InputError(
            f"{path}: 'scales' must be at most {_MAX_SCALES - 2} numbers, and they, 'target' and 'longest' above "
            f"0 and at most {_MAX_SCALE}; train the detector again"
        )


def load_network(folder: Path, metadata: Mapping[str, Any], device: str, precision: str) -> Network:
    """The network with the weights that features need, the trunk's and perhaps hidden layers'; others are random.

    Raises:
        InputError: a file is missing, damaged, or no part of the network that is described.
    """
    named = metadata["network"]
    backbone = described_network(folder / "model.json", named, folder / "network.safetensors", _MAX_INPUT)
    parts: list[tuple[str, nn.Module, dict[str, Tensor]]] = [("network.safetensors", backbone.trunk, {})]
    if metadata["features"].get("layer") == "hidden":
        head = backbone.head
        outputs = {name: value for name, value in head.state_dict().items() if name not in backbone.hidden_state}
        parts.append(("head.safetensors", head, outputs))
    for name, module, random in parts:
        given, _ = tensors.load_torch(folder / name)
        try:
            module.load_state_dict(random | given, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{folder / name} is no part of {backbone.architecture}: {reason}") from error
    return Network(backbone, (), device=device, precision=precision)
