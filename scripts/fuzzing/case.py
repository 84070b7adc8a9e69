"""A case of the fuzzer: whole files in a folder, and what reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Case(NamedTuple):
    """Files and their reader.

    Attributes:
        name: of its folder.
        write: puts whole files into the folder.
        reader: from the folder, what reads it; what that gives for whole files is not None.
        is_changed: which of the files, by relative path, the fuzzer exchanges.
    """

    name: str
    write: Callable[[Path], object]
    reader: Callable[[Path], Callable[[], object]]
    is_changed: Callable[[Path], bool] = lambda path: True


def writer(files: dict[str, str | bytes]) -> Callable[[Path], None]:
    """Writes files by relative path."""

    def write(folder: Path) -> None:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write
