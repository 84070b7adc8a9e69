"""The structure of a MATLAB file, walked before it is read: scipy relies on its types and can crash the process.

MATLAB 5 to 7.2: a header of 128 bytes, then elements, each a tag (type and length) and its content; matrices hold
elements, compressed ones are zlib streams ("MAT-File Format", The MathWorks).
"""

from __future__ import annotations

import zlib
from pathlib import Path

_HEADER = 128
_TAG = 8
_MATRIX, _COMPRESSED = 14, 15
_PLAIN = {*range(1, 8), 9, 12, 13, 16, 17, 18}  # numbers and text
_DEEPEST = 16
_MAX_BYTES = 2**31  # of a compressed element, unpacked


def check_mat(path: Path) -> None:
    """Whether every element of a file is of a known type and lies inside the one that holds it.

    A file of MATLAB 7.3, which is HDF5, passes: scipy refuses it by name.

    Raises:
        ValueError: it is not so, or this is no MATLAB file of version 5 or later.
        OSError: the file cannot be opened.
    """
    content = path.read_bytes()
    order = {b"IM": "little", b"MI": "big"}.get(content[126:128])
    if len(content) < _HEADER or order is None:
        raise ValueError("it has no header of MATLAB 5 or later")
    if int.from_bytes(content[124:126], order) == 0x0200:  # type: ignore[arg-type]
        return
    _check_elements(memoryview(content)[_HEADER:], order, 0)


def _check_elements(content: memoryview, order: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"its elements are nested more than {_DEEPEST} deep")
    at = 0
    while at < len(content):
        kind, start, length = _tag(content[at:], order)
        body = content[at + start : at + start + length]
        if len(body) < length:
            raise ValueError("an element is longer than what holds it")
        if kind == _COMPRESSED and depth == 0:
            _check_elements(_unpacked(body), order, depth + 1)
        elif kind == _MATRIX:
            _check_elements(body, order, depth + 1)
        elif kind not in _PLAIN:
            raise ValueError(f"an element is of type {kind}, which there is not")
        at += start + length
        if kind != _COMPRESSED:
            at += -at % 8  # all others begin at multiples of eight bytes


def _tag(content: memoryview, order: str) -> tuple[int, int, int]:
    """Type, where the content begins, its length."""
    if len(content) < _TAG:
        raise ValueError("it ends inside an element")
    first, second = (int.from_bytes(content[at : at + 4], order) for at in (0, 4))  # type: ignore[arg-type]
    if first >> 16:  # at most four bytes of content share the tag's eight
        if first >> 16 > 4:
            raise ValueError("an element is longer than what holds it")
        return first & 0xFFFF, 4, first >> 16
    return first, _TAG, second


def _unpacked(packed: memoryview) -> memoryview:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(packed, _MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"a compressed element cannot be unpacked: {error}") from error
    if stream.unconsumed_tail:
        raise ValueError(f"a compressed element is larger than {_MAX_BYTES} bytes")
    return memoryview(content)
