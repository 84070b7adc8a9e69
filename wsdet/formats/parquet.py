"""Parquet: two flat tables, as data frames have them.

<out>/boxes.parquet    one row per box
<out>/images.parquet   one row per image, those without boxes too
<out>/images/*
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wsdet.formats.contents import Contents, ExportedImage
from wsdet.storage.files import replacing
from wsdet.types import Boxes
from wsdet.version import __version__


def image_path(exported: ExportedImage) -> str:
    """Where the image lies in the export."""
    return f"images/{exported.file_name}"


def write_parquet(folder: Path, contents: Contents) -> None:
    """Writes both tables; method, settings, classes and version are in their metadata, as text or JSON."""
    metadata = {
        "wsdet": __version__,
        "method": contents.method,
        "settings": json.dumps(dict(contents.settings)),
        "classes": json.dumps(contents.classes),
    }
    for name, table in (("boxes", _boxes(contents)), ("images", _images(contents))):
        with replacing(folder / f"{name}.parquet") as beside:
            pq.write_table(table.replace_schema_metadata(metadata), beside)


def _boxes(contents: Contents) -> pa.Table:
    counts = [len(exported.boxes) for exported in contents.images]
    boxes = Boxes.concatenate(exported.boxes for exported in contents.images)
    image_ids = pa.array([exported.image_id for exported in contents.images], pa.string())
    classes = pa.array(contents.classes, pa.string())
    return pa.table(
        {
            "image_id": image_ids.take(pa.array(np.repeat(np.arange(len(counts)), counts))),
            **{name: boxes.xyxy[:, column] for column, name in enumerate(("x1", "y1", "x2", "y2"))},
            "score": boxes.scores,
            "label": boxes.labels,
            "class": classes.take(pa.array(boxes.labels)),
            "difficult": boxes.difficult,
        }
    )


def _images(contents: Contents) -> pa.Table:
    rows = contents.images
    return pa.table(
        {
            "image_id": pa.array([row.image_id for row in rows], pa.string()),
            "file_name": pa.array([row.file_name for row in rows], pa.string()),
            "height": pa.array([row.size_hw[0] for row in rows], pa.int64()),
            "width": pa.array([row.size_hw[1] for row in rows], pa.int64()),
            "split": pa.array([row.split for row in rows], pa.string()),
        }
    )
