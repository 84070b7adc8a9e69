"""Stores that come from anywhere: read in either version, or refused by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, InputError


def lists(*values: Any, dtype: Any) -> pa.Array:
    return pa.array(values, pa.list_(dtype))


def foreign(folder: Path, version: str = "new", **changed: pa.Array) -> BoxStore:
    """A store of two images with a box each, some of its columns changed."""
    numbers = lists([1.0], [2.0], dtype=pa.float32())
    columns: dict[str, pa.Array] = {
        "image_id": pa.array(["a", "b"]),
        **dict.fromkeys(("x1", "y1"), numbers),
        **{name: lists([3.0], [4.0], dtype=pa.float32()) for name in ("x2", "y2")},
        "score": numbers,
        "label": lists([0], [-1], dtype=pa.int64()),
        "difficult": lists([False], [True], dtype=pa.bool_()),
        "fingerprint": pa.array(["", "1"]),
    } | changed
    if version == "old":
        del columns["fingerprint"]
    (folder / "parts").mkdir(parents=True)
    (folder / "settings.json").write_text("{}")
    pq.write_table(pa.table(columns), folder / "parts" / "000000.parquet")
    return BoxStore(folder)


@pytest.mark.parametrize("version", ["old", "new"])
def test_a_store_of_either_version_is_read(tmp_path: Path, version: str) -> None:
    store = foreign(tmp_path, version)
    assert [store[name].xyxy.tolist() for name in "ab"] == [[[1, 1, 3, 3]], [[2, 2, 4, 4]]]
    assert store["b"].labels.tolist() == [-1]


F, BOXLESS = pa.float32(), lists([], [], dtype=pa.float32())


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"x1": lists([np.nan], [2], dtype=F)}, "must be finite"),
        ({"x2": lists([np.inf], [2], dtype=F)}, "must be finite"),
        ({"x1": lists([9.0], [2], dtype=F)}, "x1 <= x2"),
        ({"score": lists([np.nan], [2], dtype=F)}, "score is not finite"),
        ({"label": lists([0], [-2], dtype=pa.int64())}, "label below -1"),
        ({"x1": lists([None], [2], dtype=F)}, "value is missing"),
        ({"x1": lists(None, [2], dtype=F)}, "value is missing"),
        ({"x1": lists([1.0, 2], [], dtype=F)}, "more values in one column"),
        ({"x1": BOXLESS}, "more values in one column"),
        ({name: lists([1.0, 2], [], dtype=F) for name in ("x1", "y1")}, "more values in one column"),
        ({"image_id": pa.array(["a", None])}, "an entry of image_id is missing"),
        ({"image_id": pa.array(["a", "a"])}, "an image comes twice"),
        ({"image_id": pa.array([b"a", b"\xff"]).cast(pa.string(), safe=False)}, "can't decode"),
        ({"fingerprint": pa.array(["a", None])}, "an entry of fingerprint is missing"),
        ({"image_id": pa.array([1, 2])}, "its columns are"),
        ({"extra": pa.array([1, 2])}, "its columns are"),
        ({"x1": lists([1.0], [2.0], dtype=pa.float64())}, "its columns are"),
    ],
)
def test_what_is_no_box_is_refused_by_name(tmp_path: Path, changed: dict[str, pa.Array], says: str) -> None:
    with pytest.raises(InputError, match=rf"000000\.parquet is not a readable part.*{says}"):
        dict(foreign(tmp_path, **changed))


def test_a_part_without_images_is_read(tmp_path: Path) -> None:
    store = foreign(tmp_path)
    empty = pq.read_table(tmp_path / "parts" / "000000.parquet").slice(0, 0)
    pq.write_table(empty, tmp_path / "parts" / "000001.parquet")
    assert len(BoxStore(tmp_path)) == len(store) == 2


def test_few_bytes_that_stand_for_very_many_boxes_are_refused(tmp_path: Path) -> None:
    many = pa.ListArray.from_arrays(
        pa.array([0, 3_000_000, 6_000_000], pa.int32()), pa.array(np.zeros(6_000_000, "f4"))
    )
    with pytest.raises(InputError, match="it holds 6000000 boxes, more than 5000000"):
        foreign(tmp_path, x1=many)
    assert (tmp_path / "parts" / "000000.parquet").stat().st_size < 10_000


def test_a_pipe_in_place_of_a_part_is_refused(tmp_path: Path) -> None:
    foreign(tmp_path)
    os.mkfifo(tmp_path / "parts" / "000001.parquet")
    with pytest.raises(InputError, match="must be a regular file, it is a pipe"):
        BoxStore(tmp_path)


def test_a_part_of_another_store_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "other"):
        BoxStore(tmp_path / name, {"name": name}).fill(["a"], lambda ids: [(i, Boxes.empty()) for i in ids], "test")
    part = Path("parts", "000000.parquet")
    (tmp_path / "one" / "parts" / "000001.parquet").write_bytes((tmp_path / "other" / part).read_bytes())
    with pytest.raises(InputError, match=r"000001\.parquet belongs to a store of other settings"):
        BoxStore(tmp_path / "one")


@pytest.mark.parametrize("content", ["[]", "3", '{"a": {"b": 1}}'])
def test_failed_images_of_a_wrong_kind(tmp_path: Path, content: str) -> None:
    foreign(tmp_path)
    (tmp_path / "failed.json").write_text(content)
    if content.startswith("{"):
        assert BoxStore(tmp_path).failed == {"a": "{'b': 1}"}
    else:
        with pytest.raises(InputError, match="must hold a JSON object"):
            _ = BoxStore(tmp_path).failed
