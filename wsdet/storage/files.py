"""Files that are either whole or absent: written beside, then moved into place."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_LONG = 230  # bytes of a name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; on success it replaces `path`, on an exception it is removed.

    Raises:
        OSError: it cannot be written, because the disk is full, say; the message names `path` and the remedy.
    """
    # a name of its own length may be as long as names can be
    name = path.name if len(path.name.encode()) < _LONG else hashlib.sha256(path.name.encode()).hexdigest()
    beside = path.with_name(f".{name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        why = f"{error.strerror or error}; mend that and run the same command again, what is finished is kept"
        raise OSError(error.errno or errno.EIO, why, str(path)) from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content`, whole or not at all.

    Also what writes safetensors: their own `save_file` makes a file for its owner alone, beside another of a random
    name, which a killed process leaves.
    """
    with replacing(path) as beside:
        beside.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
