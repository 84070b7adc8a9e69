from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from wsdet import __version__
from wsdet.formats.contents import Contents
from wsdet.formats.parquet import write_parquet
from wsdet.types import Boxes

Export = Callable[..., Contents]


def test_tables_hold_every_box_and_image(export_as: Export, boxes: dict[str, Boxes], tmp_path: Path) -> None:
    contents = export_as("parquet")
    table, images = (pq.read_table(tmp_path / "out" / f"{name}.parquet").to_pydict() for name in ("boxes", "images"))
    every = Boxes.concatenate(boxes.values())
    np.testing.assert_array_equal(np.transpose([table[key] for key in ("x1", "y1", "x2", "y2")]), every.xyxy)
    np.testing.assert_array_equal(table["score"], every.scores)
    assert table["class"] == [contents.classes[label] for label in table["label"]]
    assert table["image_id"] == [image_id for image_id in boxes for _ in range(len(boxes[image_id]))]
    assert images["image_id"] == list(boxes)
    assert list(zip(images["height"], images["width"], strict=True)) == [one.size_hw for one in contents.images]
    assert all((tmp_path / "out" / "images" / name).is_file() for name in images["file_name"])


def test_metadata_says_who_made_the_boxes(export_as: Export, tmp_path: Path) -> None:
    contents = export_as("parquet")
    metadata = pq.read_schema(tmp_path / "out" / "boxes.parquet").metadata
    assert (metadata[b"method"].decode(), metadata[b"wsdet"].decode()) == ("stl <cl>", __version__)
    assert tuple(json.loads(metadata[b"classes"])) == contents.classes
    assert json.loads(metadata[b"settings"]) == {"seed": 0}


def test_nothing_is_two_empty_tables(tmp_path: Path) -> None:
    write_parquet(tmp_path, Contents((), (), "m"))
    assert (
        pq.read_table(tmp_path / "boxes.parquet").num_rows == pq.read_table(tmp_path / "images.parquet").num_rows == 0
    )
