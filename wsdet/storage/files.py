"""Files that are either whole or absent: written beside, then moved into place."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsdet.storage.untrusted import shown

_LONG = 230  # bytes of a name


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """Gives a temporary path beside `path`; on success it replaces `path`, on an exception it is removed.

    Args:
        path: of the file.
        durable: what was written is on the disk before it replaces `path`, so that after a loss of power `path` is the
            old file or the whole new one; without, it may be empty then. Costs about 8 ms: for what a run depends on,
            not for a file of each image that is made again.

    Raises:
        OSError: it cannot be written, because the disk is full, say; the message names `path` and the remedy.
    """
    # a name of its own length may be as long as names can be
    name = path.name if len(path.name.encode()) < _LONG else hashlib.sha256(path.name.encode()).hexdigest()
    beside = path.with_name(f".{name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        if durable:
            with beside.open("rb") as file:
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        why = f"{error.strerror or error}; mend that and run the same command again, what is finished is kept"
        raise OSError(error.errno or errno.EIO, why, str(path)) from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """Writes `content`, whole or not at all; see `replacing`.

    Also what writes safetensors: their own `save_file` makes a file for its owner alone, beside another of a random
    name, which a killed process leaves.
    """
    with replacing(path, durable) as beside:
        beside.write_bytes(content)


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Writes rows as UTF-8 CSV, whole or not at all.

    Text that a spreadsheet would take for a formula gets an apostrophe in front, and control characters are escaped:
    names of classes come from anywhere.
    """
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[_harmless(cell) for cell in row] for row in rows])


def _harmless(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = shown(cell)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    with replacing(path, durable=True) as beside:
        beside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
