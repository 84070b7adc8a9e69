"""Files of tensors: one writer, whose bytes depend on what is written alone, and one reader that checks what it reads.

A file is safetensors with a single metadata entry, `wsdet`: a JSON object with sorted keys, the file's header. Its
`format` says what the file holds. Several metadata entries would come in another order in every process.

No code in a file is run. Before any tensor is made, the file must be regular, and its description small and flat; then
every tensor must be of a known type, and finite.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from wsdet.storage.files import write_bytes
from wsdet.storage.untrusted import opened, parsed_json, shown
from wsdet.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]

MAX_FILE_BYTES = 16 * 2**30
MAX_HEADER_BYTES = 8 * 2**20

_METADATA = "__metadata__"
_KEY = "wsdet"
_DTYPES = ("BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64", "F16", "BF16", "F32", "F64")


def save(
    path: Path,
    tensors: Mapping[str, Array | Tensor],
    header: Mapping[str, Any],
    infinite: Container[str] = (),
    durable: bool = True,
) -> None:
    """Writes tensors and what they are, whole or not at all.

    Args:
        path: of the file, by custom NAME.safetensors.
        tensors: by name, of numpy or of torch on any device; bfloat16 becomes float32.
        header: JSON values; `format` names the kind of file and its version.
        infinite: names of the tensors that may hold infinities.
        durable: see `wsdet.storage.files.replacing`.

    Raises:
        InputError: a tensor has values that are not finite: a training diverged. Nothing is written.
    """
    arrays = {name: _as_array(value) for name, value in tensors.items()}
    for name, value in arrays.items():
        _check_values(path, name, value, name in infinite)
    write_bytes(path, to_bytes(arrays, {_KEY: json.dumps(dict(header), sort_keys=True)}), durable)


def load(
    path: Path, format: str | None = None, infinite: Container[str] = ()
) -> tuple[dict[str, Array], dict[str, Any]]:
    """The tensors of a file by name, and its header.

    Args:
        path: of the file. It may come from anywhere.
        format: what the header's `format` must be; None takes any file of tensors, also one without a header.
        infinite: names of the tensors that may hold infinities.

    Raises:
        InputError: the file is missing or damaged, of another format, too large, or holds values that are not finite.
    """
    return _load(path, "numpy", format, infinite)


def load_torch(
    path: Path, format: str | None = None, infinite: Container[str] = ()
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `load`, with torch tensors on the CPU, which may be bfloat16.

    Raises:
        InputError: see `load`.
    """
    return _load(path, "pt", format, infinite)


def describe(path: Path, format: str | None = None) -> tuple[dict[str, Any], dict[str, tuple[str, tuple[int, ...]]]]:
    """A file's header, and (type, shape) of each of its tensors, such as ("F32", (2, 3)), without reading them.

    Raises:
        InputError: see `load`, as far as the description tells.
    """
    with _readable(path), opened(path, MAX_FILE_BYTES) as file:
        n_bytes = int.from_bytes(file.read(8), "little")
        if n_bytes > MAX_HEADER_BYTES:
            raise InputError(_damaged(path, f"its header has {n_bytes} bytes, more than {MAX_HEADER_BYTES}"))
        text = file.read(n_bytes)
    with _readable(path):
        described = parsed_json(text.decode("utf-8"), "its description")
        metadata = described.pop(_METADATA, None) or {}
        header = parsed_json(metadata[_KEY], "its header") if _KEY in metadata else {}
        if not isinstance(header, dict):
            raise TypeError("its header is no JSON object")
        found = {name: (str(one["dtype"]), tuple(int(n) for n in one["shape"])) for name, one in described.items()}
    for name, (dtype, shape) in found.items():
        if dtype not in _DTYPES or math.prod(max(n, 1) for n in shape) > MAX_FILE_BYTES:
            raise InputError(_damaged(path, f"the tensor {name!r} is {dtype} of shape {shape}"))
    if format is not None and header.get("format") != format:
        said = f"its format is {header['format']!r}" if "format" in header else "it does not say its format"
        raise InputError(f"{shown(path)} is no {format!r}: {said}; give another file, or make it anew")
    return header, found


def _load(
    path: Path, framework: Literal["numpy", "pt"], format: str | None, infinite: Container[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    header, _ = describe(path, format)
    tensors = {}
    with _readable(path), safe_open(path, framework) as file:
        for name in file.keys():  # noqa: SIM118  (not a dict)
            tensors[name] = file.get_tensor(name)
            _check_values(path, name, _as_array(tensors[name]), name in infinite)
    return tensors, header


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever goes wrong in reading becomes one error that names the file."""
    try:
        yield
    except InputError as error:
        raise InputError(_damaged(path, error)) if str(path) not in str(error) else error from None
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise InputError(_damaged(path, error)) from error


def _damaged(path: Path, reason: object) -> str:
    first = (str(reason).splitlines() or [type(reason).__name__])[0]
    return f"{shown(path)} is no readable file of tensors (safetensors): {shown(first)}; restore it, or make it anew"


def _as_array(value: Array | Tensor) -> Array:
    if isinstance(value, np.ndarray):
        return np.asarray(value, order="C")
    plain = value.detach().cpu().contiguous()
    return (plain.float() if str(plain.dtype) == "torch.bfloat16" else plain).numpy()


def _check_values(path: Path, name: str, value: Array, or_infinite: bool) -> None:
    if value.dtype.kind != "f":
        return
    if or_infinite:
        fine = not np.isnan(value).any()
    elif value.dtype == np.float16:  # np.isfinite takes six times as long
        fine = bool(((value.view(np.uint16) & 0x7C00) != 0x7C00).all())
    else:
        fine = bool(np.isfinite(value).all())
    if not fine:
        raise InputError(
            f"{shown(path)}: values in {name!r} are not finite; make it anew, by other settings if need be"
        )
