"""Files of network weights: safetensors that we write, and untrusted ones, read without running their code.

A file may name the weights as torchvision does (`features.0.weight`), as `Backbone` does (`trunk.features.0.weight`)
or as a Lightning checkpoint of our own training does (`backbone.trunk.features.0.weight`).
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from wsdet.networks.efficientnet_names import timm_names
from wsdet.storage import tensors
from wsdet.storage.untrusted import opened, shown
from wsdet.types import InputError

Activation = Literal["softmax", "sigmoid"]

_FORMAT = "wsdet network weights 1"
_WRAPPERS = ("module.", "backbone.", "model.")  # DataParallel, our ClassifierModule, other Lightning modules
_OWN_PREFIX = re.compile(r"^(trunk|head)\.(timm\.)?")


@dataclass(frozen=True)
class WeightsMetadata:
    """What a weights file that wsdet wrote says about itself.

    Attributes:
        architecture: the name that `build_backbone` takes, such as "tiny" or "timm:resnet18".
        n_outputs: outputs of the last layer.
        input_size: side of the network's input in pixels.
        activation: what turns the outputs into scores.
        classes: names of the outputs, in order; empty when they are the 1000 of ImageNet.
        settings: what the weights depend on, as plain JSON values.
    """

    architecture: str
    n_outputs: int
    input_size: int
    activation: Activation = "softmax"
    classes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def digest_of_weights(module: nn.Module, also: str = "") -> str:
    """Short hash of a module's parameters and buffers, and of what they go with."""
    digest = hashlib.sha256(also.encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        widened = value.float() if value.dtype == torch.bfloat16 else value  # NumPy has no bfloat16
        digest.update(widened.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def save_weights(path: Path | str, state_dict: Mapping[str, torch.Tensor], metadata: WeightsMetadata) -> None:
    """Writes weights as safetensors with what they say about themselves, whole or not at all.

    Raises:
        InputError: a weight is not finite.
    """
    tensors.save(Path(path), state_dict, {"format": _FORMAT, **asdict(metadata)})


def read_metadata(path: Path | str) -> WeightsMetadata | None:
    """What a weights file says about itself; None for one that wsdet did not write.

    Raises:
        InputError: the file cannot be read, or its description is damaged.
    """
    path = Path(path)
    if not _is_safetensors(path):
        return None
    header, _ = tensors.describe(path)
    if not header:
        return None
    if header.pop("format", _FORMAT) != _FORMAT:  # those of earlier versions do not say it
        raise InputError(f"{path} holds no weights of a network; give another network.weights")
    try:
        return WeightsMetadata(**(header | {"classes": tuple(header["classes"])}))
    except (TypeError, KeyError) as error:
        raise InputError(f"{path} has a damaged description of itself ({error}); train or download it again") from error


def load_weights(
    path: Path | str, architecture: str, state_dict: Mapping[str, torch.Tensor], takes_part: bool = False
) -> dict[str, torch.Tensor]:
    """The weights of a file under the names of a network's state dict: all of them, each of the right shape.

    Args:
        path: a safetensors file, or a checkpoint of plain tensors (a state dict, alone or under "state_dict"). Code in
            a checkpoint is never run.
        architecture: the network's name, for messages.
        state_dict: of the network that is to load them; read only.
        takes_part: whether weights that the network has no place for are left aside instead of refused.

    Raises:
        InputError: the file cannot be read, belongs to another network (the message names the first weight that does
            not fit), or holds values that are not finite.
    """
    path = Path(path)
    found = _read_tensors(path)
    own_name = {_OWN_PREFIX.sub("", name): name for name in state_dict}
    unwrapped = _unwrap(found, {*state_dict, *own_name})
    renamed = timm_names(unwrapped, own_name)
    given = {own_name.get(renamed.get(name, name), name): tensor for name, tensor in unwrapped.items()}
    if takes_part:
        given = {name: tensor for name, tensor in given.items() if name in state_dict}
    _check_fit(path, architecture, state_dict, given)
    return {name: given.get(name, value) for name, value in state_dict.items()}


def _is_safetensors(path: Path) -> bool:
    with opened(path, tensors.MAX_FILE_BYTES) as file:
        return file.read(9)[8:] == b"{"  # 8 bytes of length, then a JSON header


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    if _is_safetensors(path):
        return tensors.load_torch(path)[0]
    try:
        _check_zip(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can fail anywhere inside the reader
        raise InputError(_damaged(path, error)) from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path} holds no state dict; save the network's state_dict() as safetensors")
    found = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    for name, value in found.items():
        if not _is_plain(value):
            raise InputError(f"{path}: {shown(name)} is no plain tensor that the file holds in full; save it again")
    return found


def _check_zip(path: Path) -> None:
    """A checkpoint that torch wrote is a zip file of parts that are not compressed: none is larger than the file."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("it is compressed")
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("its parts are said to be larger than the file")


def _is_plain(value: torch.Tensor) -> bool:
    """Whether the values lie in memory one by one: a hostile file may say that few stand for very many."""
    if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _damaged(path: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"{path} cannot be read as weights ({reason}); it must be a whole safetensors file or a checkpoint of plain "
        "tensors (code inside a file is never run): download it again, or save its state_dict() as safetensors"
    )


def _unwrap(found: dict[str, torch.Tensor], known: set[str]) -> dict[str, torch.Tensor]:
    """The tensors without the prefix that a training wrapper put before every name."""
    for prefix in _WRAPPERS:
        if not known & found.keys() and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _check_fit(
    path: Path, architecture: str, wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]
) -> None:
    remedy = f"give the network= that they were made for instead of {architecture}, or other network.weights"
    for name, value in wanted.items():
        # files from before torch counted batches lack the counter, which no computation here uses
        if name not in given and not name.endswith("num_batches_tracked"):
            raise InputError(f"weights {path} lack {_OWN_PREFIX.sub('', name)!r} of {architecture}; {remedy}")
        if name in given and given[name].shape != value.shape:
            raise InputError(
                f"weights {path} have {_OWN_PREFIX.sub('', name)!r} of shape {tuple(given[name].shape)}, "
                f"{architecture} with this number of outputs needs {tuple(value.shape)}; {remedy}"
            )
    for name, value in given.items():
        if name not in wanted:
            raise InputError(f"weights {path} have {name!r}, which {architecture} does not; {remedy}")
        if not torch.isfinite(value).all():
            raise InputError(f"weights {path} have values in {name!r} that are not finite; download or train it again")
