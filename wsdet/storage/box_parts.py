"""The Parquet files of a box store: boxes of several images as rows of list columns, checked when they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wsdet.storage.files import replacing
from wsdet.storage.untrusted import opened, shown
from wsdet.types import Boxes, InputError

_COLUMNS = {
    "x1": pa.float32(),
    "y1": pa.float32(),
    "x2": pa.float32(),
    "y2": pa.float32(),
    "score": pa.float32(),
    "label": pa.int64(),
    "difficult": pa.bool_(),
}
_OLD_SCHEMA = pa.schema([("image_id", pa.string()), *((name, pa.list_(dtype)) for name, dtype in _COLUMNS.items())])
_SCHEMA = _OLD_SCHEMA.append(pa.field("fingerprint", pa.string()))
_SETTINGS_KEY = b"wsdet settings"  # of a part's metadata: a digest of its store's settings
_LATER = re.compile(r"more-(\d{3,9})-\d{6,}\.parquet")  # a part of images that came to a part later
_MAX_PART_BYTES = 2**30
_MAX_BOXES = 5_000_000  # of a part: 64 images with 10,000 boxes are 640,000


def free_path(folder: Path, number: int, least_round: int) -> Path:
    """The place of a part: behind those of earlier rounds, which hold some of its images as they were before."""
    names = (f"more-{n:03d}-{number:06d}.parquet" if n else f"{number:06d}.parquet" for n in count(least_round))
    return next(path for name in names if not (path := folder / name).exists())


def round_of(part: Path) -> int:
    """How often images had come to the part before it was written; rows of a later round count."""
    later = _LATER.fullmatch(part.name)
    return int(later[1]) if later else 0


def number_of(path: Path) -> int:
    """The number in the name of a part or a pending image, or of such a file half written; -1: it has none."""
    number = re.fullmatch(r"\.?(?:more-\d+-)?(\d+)\.parquet(?:\.\d+\.part)?", path.name)
    return int(number[1]) if number else -1


def write_table(
    path: Path, boxes_by_id: Mapping[str, Boxes], fingerprints: Sequence[str], settings: str, durable: bool = True
) -> None:
    """Writes a part, or a pending image.

    Args:
        path: of the file, moved into place whole.
        boxes_by_id: in the order of the rows.
        fingerprints: what each image was made from.
        settings: digest of those of the store.
        durable: see `replacing`.
    """
    table = _table_of(boxes_by_id, fingerprints).replace_schema_metadata({_SETTINGS_KEY: settings})
    with replacing(path, durable) as beside:
        pq.write_table(table, beside, write_page_checksum=True)


def _table_of(boxes_by_id: Mapping[str, Boxes], fingerprints: Sequence[str]) -> pa.Table:
    offsets = np.cumsum([0, *(len(boxes) for boxes in boxes_by_id.values())]).astype(np.int32)
    all_boxes = Boxes.concatenate(boxes_by_id.values())
    values = [*all_boxes.xyxy.T, all_boxes.scores, all_boxes.labels, all_boxes.difficult]
    columns = [
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(value), type=dtype))
        for value, dtype in zip(values, _COLUMNS.values(), strict=True)
    ]
    ids, made_from = pa.array(list(boxes_by_id), pa.string()), pa.array(fingerprints, pa.string())
    return pa.Table.from_arrays([ids, *columns, made_from], schema=_SCHEMA)


def read_table(path: Path, columns: list[str] | None = None) -> tuple[pa.Table, str | None]:
    """A part, and the digest of its store's settings; None and no fingerprints of an earlier version."""
    try:
        # read as one file: a folder name such as "seed=1" above it is no partition
        with opened(path, _MAX_PART_BYTES) as plain, pq.ParquetFile(plain, page_checksum_verification=True) as file:
            schema = file.schema_arrow.remove_metadata()
            if schema not in (_SCHEMA, _OLD_SCHEMA):
                raise pa.ArrowInvalid(f"its columns are {schema.names}, not {_SCHEMA.names}")
            _check_size(file.metadata)
            table = file.read(columns=columns and [name for name in columns if name in schema.names])
            settings = (file.schema_arrow.metadata or {}).get(_SETTINGS_KEY)
    except InputError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: names that are no text
        raise InputError(_unreadable(path, error)) from error
    if "fingerprint" not in table.column_names:
        table = table.append_column("fingerprint", pa.array([""] * len(table), pa.string()))
    return table, None if settings is None else settings.decode(errors="replace")


def _check_size(metadata: pq.FileMetaData) -> None:
    """Whether a part says that it holds no more than memory does: few bytes may stand for very many boxes."""
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    n_values = max(
        (sum(group.column(c).num_values for group in groups) for c in range(metadata.num_columns)), default=0
    )
    if n_values > _MAX_BOXES:
        raise pa.ArrowInvalid(f"it holds {n_values} boxes, more than {_MAX_BOXES}")


def texts_of(table: pa.Table, name: str, path: Path) -> list[str]:
    """The texts of a column; an `InputError` where one is missing, or an image comes twice."""
    try:
        texts = table[name].to_pylist()
    except ValueError as error:  # no UTF-8
        raise InputError(_unreadable(path, error)) from error
    if None in texts or (name == "image_id" and len(set(texts)) < len(texts)):
        raise InputError(_unreadable(path, f"an entry of {name} is missing, or an image comes twice"))
    return texts


def boxes_of(table: pa.Table, path: Path) -> list[Boxes]:
    """The boxes of each row; an `InputError` where they are none."""
    columns = [table[name].combine_chunks() for name in _COLUMNS]
    lengths = [column.value_lengths() for column in columns]
    if any(column.null_count or column.values.null_count for column in columns):
        raise InputError(_unreadable(path, "a value is missing"))
    if any(not length.equals(lengths[0]) for length in lengths):
        raise InputError(_unreadable(path, "an image has more values in one column than in another"))
    x1, y1, x2, y2, scores, labels, difficult = (column.flatten().to_numpy(zero_copy_only=False) for column in columns)
    if not np.isfinite(scores).all() or (labels < -1).any():
        raise InputError(_unreadable(path, "a score is not finite, or a label below -1"))
    xyxy, offsets = np.stack([x1, y1, x2, y2], axis=1), np.cumsum([0, *lengths[0].to_numpy(zero_copy_only=False)])
    try:
        return [Boxes(xyxy[a:b], scores[a:b], labels[a:b], difficult[a:b]) for a, b in pairwise(offsets)]
    except ValueError as error:
        raise InputError(_unreadable(path, error)) from error


def _unreadable(path: Path, why: object) -> str:
    return f"{shown(path)} is not a readable part of a box store: {why}; delete it and run again"
