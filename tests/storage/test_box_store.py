from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.storage.stores import BAD, IDS, SETTINGS, assert_same, boxes_of, content, fill, produce
from wsdet.storage.box_store import BoxStore, Outcome
from wsdet.types import Boxes, InputError


def test_filled_with_nothing_is_an_empty_mapping(tmp_path: Path) -> None:
    report = fill(tmp_path, ())
    assert (report.done, report.kept, report.failed) == (0, 0, {})
    assert dict(BoxStore(tmp_path)) == {}


def test_what_was_filled_is_read_back_exactly(tmp_path: Path) -> None:
    report = fill(tmp_path)
    store = BoxStore(tmp_path)
    good = [image_id for image_id in IDS if image_id not in BAD]
    assert list(store) == good
    assert (report.done, report.kept, len(store)) == (12, 0, 12)
    assert any(len(store[image_id]) == 0 for image_id in good)
    for image_id in good:
        assert_same(store[image_id], boxes_of(image_id))
    assert IDS[3] not in store
    with pytest.raises(KeyError):
        store[IDS[3]]


def test_the_same_object_reads_what_it_filled(tmp_path: Path) -> None:
    store = BoxStore(tmp_path, SETTINGS, part_size=4)
    store.fill(IDS, produce, "test")
    assert_same(store[IDS[0]], boxes_of(IDS[0]))
    assert len(store) == 12


def test_a_store_larger_than_its_cache_reads_in_any_order(tmp_path: Path) -> None:
    ids = [f"image {i}" for i in range(20, 60)]
    BoxStore(tmp_path, SETTINGS, part_size=2).fill(ids, produce, "test")
    store = BoxStore(tmp_path)
    for image_id in random.Random(0).sample(ids, len(ids)):
        assert_same(store[image_id], boxes_of(image_id))


def test_part_files_are_plain_parquet_of_part_size_images(tmp_path: Path) -> None:
    fill(tmp_path)
    parts = sorted((tmp_path / "parts").iterdir())
    assert [pq.ParquetFile(path).metadata.num_rows for path in parts] == [3, 4, 3, 2]  # less those that failed
    assert pq.ParquetFile(parts[0]).schema_arrow.names == [
        "image_id", "x1", "y1", "x2", "y2", "score", "label", "difficult", "fingerprint",
    ]  # fmt: skip
    assert list((tmp_path / "pending").iterdir()) == []


def test_a_second_run_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    asked: list[str] = []

    def produce_and_note(ids: Sequence[str]) -> Iterator[Outcome]:
        asked.extend(ids)
        yield from produce(ids)

    fill(tmp_path, IDS[:5])
    report = BoxStore(tmp_path, SETTINGS, part_size=4).fill(IDS, produce_and_note, "test")
    assert asked == [IDS[3], *IDS[5:]]
    assert (report.done, report.kept) == (8, 4)


def test_a_second_run_of_a_finished_store_changes_no_file(tmp_path: Path) -> None:
    fill(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    report = fill(tmp_path)
    assert (report.done, report.kept, set(report.failed)) == (0, 12, BAD)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


# --- images that cannot be done


def test_bad_images_are_recorded_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = fill(tmp_path)
    reasons = {image_id: f"{image_id} is truncated" for image_id in IDS if image_id in BAD}
    assert report.failed == BoxStore(tmp_path).failed == reasons
    assert json.loads((tmp_path / "failed.json").read_text()) == reasons
    monkeypatch.setattr("tests.storage.stores.BAD", {IDS[11]})  # the other was mended
    assert fill(tmp_path).done == 1
    assert set(BoxStore(tmp_path).failed) == {IDS[11]}
    monkeypatch.setattr("tests.storage.stores.BAD", set())
    assert fill(tmp_path).failed == {}
    assert not (tmp_path / "failed.json").exists()


def test_what_a_store_would_refuse_to_read_is_not_written(tmp_path: Path) -> None:
    infinite = Boxes(np.array([[0, 0, 9, 9]]), np.array([np.inf]))
    store = BoxStore(tmp_path, SETTINGS)
    store.fill(IDS[:2], lambda ids: [(ids[0], infinite), (ids[1], boxes_of(ids[1]))], "test")
    assert set(BoxStore(tmp_path)) == {IDS[1]}
    assert "not finite" in BoxStore(tmp_path).failed[IDS[0]]


def test_failures_of_images_that_were_not_tried_stay(tmp_path: Path) -> None:
    fill(tmp_path, IDS[:5])
    fill(tmp_path, IDS[5:])
    assert set(BoxStore(tmp_path).failed) == BAD


def test_strict_raises_the_first_failure_and_keeps_what_was_finished(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="image 3 is truncated"):
        fill(tmp_path, strict=True)
    assert list(BoxStore(tmp_path)) == list(IDS[:3])


def test_an_error_that_is_no_fault_of_the_input_is_not_recorded(tmp_path: Path) -> None:
    def broken(ids: Sequence[str]) -> Iterator[Outcome]:
        yield ids[0], boxes_of(ids[0])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        BoxStore(tmp_path, SETTINGS).fill(IDS, broken, "test")
    assert list(BoxStore(tmp_path)) == [IDS[0]]
    assert BoxStore(tmp_path).failed == {}


# --- settings


def test_settings_come_back_as_json_values(tmp_path: Path) -> None:
    fill(tmp_path, ())
    assert BoxStore(tmp_path).settings == {"localizer": {"name": "stl", "n": [1, 2]}, "seed": 0}


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        (SETTINGS | {"seed": 1, "zeal": 2}, r"was made with other settings: seed was 0, is 1; zeal"),
        (
            SETTINGS | {"localizer": {"name": "stl", "n": [1, 3]}},
            r"localizer.n was \[1, 2\], is \[1, 3\]",
        ),
        (SETTINGS | {"zeal": 2}, r"zeal was \(absent\), is 2"),
        ({"seed": 0}, r"localizer.name was stl, is \(absent\)"),
    ],
    ids=["a value", "a nested value", "a new key", "a key less"],
)
def test_other_settings_are_refused_by_the_first_key(tmp_path: Path, settings: dict[str, Any], first: str) -> None:
    fill(tmp_path)
    before = content(tmp_path)
    with pytest.raises(InputError, match=f"{first}.*give another out="):
        BoxStore(tmp_path, settings)
    assert content(tmp_path) == before


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a box store: it has no settings\.json"):
        BoxStore(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


# --- damage


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_not_parquet(path: Path) -> None:
    path.write_text("<html>" * 99)


def damage_other_columns(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    pq.write_table(table.drop_columns(["score"]), path)


def damage_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.index(b"image 0") + 3  # in the page of the ids
    data[place] ^= 1
    path.write_bytes(data)


def damage_a_column_name(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"image_id", b"imag\xe5_id"))


@pytest.mark.parametrize(
    "damage",
    [damage_truncate, damage_empty, damage_not_parquet, damage_other_columns, damage_a_byte, damage_a_column_name],
)
def test_a_damaged_part_is_named_with_the_remedy(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    fill(tmp_path)
    part = tmp_path / "parts" / "000000.parquet"
    damage(part)
    with pytest.raises(InputError, match=r"000000\.parquet is not a readable part .* delete it and run again"):
        dict(BoxStore(tmp_path))
    part.unlink()
    assert fill(tmp_path).done == 3  # and no other part is written over
    assert_same(BoxStore(tmp_path)[IDS[0]], boxes_of(IDS[0]))
    assert_same(BoxStore(tmp_path)[IDS[13]], boxes_of(IDS[13]))


def test_a_damaged_pending_image_is_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InputError):
        fill(tmp_path, strict=True)
    pending = tmp_path / "pending" / "000001.parquet"
    damage_truncate(pending)
    assert len(BoxStore(tmp_path, SETTINGS)) == 2
    assert re.search(r"pending/000001\.parquet is not a readable part.*its image is done again", caplog.text)
    assert fill(tmp_path).kept == 2
    assert len(BoxStore(tmp_path)) == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not a JSON file"), ("[1]", "must hold a JSON object, got list"), ("\xff", "is not UTF-8 text")],
)
def test_damaged_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    fill(tmp_path)
    (tmp_path / "settings.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=rf"settings\.json {message}"):
        BoxStore(tmp_path, SETTINGS)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "parts").write_text("a file where a folder should be")
    with pytest.raises(OSError, match=r"what is finished is kept.*000000\.parquet"):
        fill(tmp_path)
    (tmp_path / "parts").unlink()
    assert fill(tmp_path).kept == 3
