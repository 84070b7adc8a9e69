from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsdet.storage.box_store import BoxStore, FillReport, Outcome
from wsdet.storage.shard import Shard
from wsdet.types import Boxes, InputError

SETTINGS = {"localizer": {"name": "stl", "n": (1, 2)}, "seed": 0}
IDS = tuple(f"image {i}" for i in range(14))
BAD = {IDS[3], IDS[11]}


def boxes_of(image_id: str) -> Boxes:
    """Boxes that depend on the id alone; none for some."""
    number = int(image_id.split()[1])
    rng, n = np.random.default_rng(number), number % 3
    corners = rng.uniform(0, 50, size=(n, 2))
    xyxy = np.concatenate([corners, corners + rng.uniform(0, 50, size=(n, 2))], axis=1)
    return Boxes(xyxy.astype(np.float32), rng.random(n, np.float32), rng.integers(-1, 20, size=n), rng.random(n) < 0.5)


def produce(ids: Iterable[str]) -> Iterator[Outcome]:
    for image_id in ids:
        yield image_id, InputError(f"{image_id} is truncated") if image_id in BAD else boxes_of(image_id)


def fill(folder: Path, ids: Sequence[str] = IDS, **options: Any) -> FillReport:
    return BoxStore(folder, SETTINGS, part_size=4).fill(ids, produce, "test", **options)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same(actual: Boxes, expected: Boxes) -> None:
    for name in ("xyxy", "scores", "labels", "difficult"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a store that one run filled."""
    folder = tmp_path_factory.mktemp("store")
    fill(folder)
    return content(folder)


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
    monkeypatch.setattr(f"{__name__}.BAD", {IDS[11]})  # the other was mended
    assert fill(tmp_path).done == 1
    assert set(BoxStore(tmp_path).failed) == {IDS[11]}
    monkeypatch.setattr(f"{__name__}.BAD", set())
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


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    limit = len(uninterrupted["parts/000000.parquet"]) - 1  # bytes to a file: pending ones fit, the first part does not
    end = run_child(tmp_path, f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))")
    _, errors = end.communicate(timeout=60)
    assert "File too large; mend that and run the same command again" in errors
    assert "000000.parquet" in errors
    assert fill(tmp_path).kept == 3
    assert content(tmp_path) == uninterrupted


# --- killed runs


class Killed(BaseException):
    """The process is gone: nothing after it reaches the disk."""


@pytest.mark.slow
def test_killed_before_any_file_operation_resumes_to_the_same_bytes(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    n_operations = 0
    while True:
        folder = tmp_path / str(n_operations)
        if not run_until_killed(folder, n_operations):
            break
        fill(folder)
        assert content(folder) == uninterrupted, f"killed at file operation {n_operations}"
        n_operations += 1
    assert n_operations > 40


def run_until_killed(folder: Path, n_operations: int) -> bool:
    """Whether a run that may move or remove so many files was ended before it was through."""
    left = n_operations

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return operation(*args, **options)

        return run

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink", "mkdir"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        try:
            fill(folder)
        except Killed:
            return True
    return False


CHILD = f"""
import sys, time
{{setup}}
import importlib.util
spec = importlib.util.spec_from_file_location("test_store", {__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
def produce(ids):
    for image_id, outcome in module.produce(ids):
        time.sleep(0.003)
        print(image_id, flush=True)
        yield image_id, outcome
try:
    module.BoxStore(sys.argv[1], module.SETTINGS, part_size=4).fill(module.IDS, produce, "test")
except OSError as error:
    print(error, file=sys.stderr)
"""


def run_child(folder: Path, setup: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD.format(setup=setup), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_kill_9_at_random_moments_resumes_to_the_same_bytes(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    chance = random.Random(0)
    for n_lines in (2, 1, 4, 3):
        with run_child(tmp_path) as child:
            assert child.stdout is not None
            for _ in range(n_lines):
                child.stdout.readline()
            time.sleep(chance.uniform(0, 0.006))
            child.send_signal(signal.SIGKILL)
    fill(tmp_path)
    assert content(tmp_path) == uninterrupted


# --- shards


def fill_shard(folder: Path, number: int, of: int = 3, made: Callable[..., Iterable[Outcome]] = produce) -> FillReport:
    shard = Shard(number, of, folder.parent / "shards")
    return BoxStore(folder, SETTINGS, part_size=4).fill(IDS, made, "test", shard=shard)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (3, 1, 0, 2)])
def test_shards_in_any_order_leave_the_bytes_of_one_run(
    tmp_path: Path, order: Sequence[int], uninterrupted: dict[str, bytes]
) -> None:
    reports = [fill_shard(tmp_path / "store", number, len(order)) for number in order]
    assert sum(report.done for report in reports) == 12
    found = content(tmp_path / "store")
    assert {image_id for report in reports for image_id in report.failed} == BAD
    assert json.loads(found.pop("failed.json")) == json.loads(uninterrupted["failed.json"])
    assert found == {name: there for name, there in uninterrupted.items() if name != "failed.json"}


def test_a_shard_leaves_alone_what_others_have_under_way(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    store = tmp_path / "store"

    def killed(ids: Sequence[str]) -> Iterator[Outcome]:
        yield from list(produce(ids))[:2]
        half_written.parent.mkdir(exist_ok=True)
        half_written.touch()
        raise KeyboardInterrupt

    half_written = store / "pending" / ".000006.parquet.1.part"
    with pytest.raises(KeyboardInterrupt):
        fill_shard(store, 1, made=killed)
    before = content(store)
    assert {"pending/000004.parquet", "pending/000005.parquet"} < before.keys()
    fill_shard(store, 0)
    fill_shard(store, 2)
    assert before.items() <= content(store).items()
    assert fill_shard(store, 1).kept == 2
    assert content(store) == uninterrupted


def test_what_a_killed_shard_left_is_finished_without_shards(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    def killed(ids: Sequence[str]) -> Iterator[Outcome]:
        yield from list(produce(ids))[:2]
        raise KeyboardInterrupt

    for number in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            fill_shard(tmp_path / "store", number, made=killed)
    assert fill(tmp_path / "store").kept == 4
    assert content(tmp_path / "store") == uninterrupted


def test_pending_images_that_are_not_wanted_any_more_are_kept(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        fill(tmp_path, strict=True)  # the first three are pending
    fill(tmp_path, IDS[2:])
    assert set(BoxStore(tmp_path)) == set(IDS) - BAD
    assert list((tmp_path / "pending").iterdir()) == []


def test_images_pending_at_a_kill_wait_for_the_call_that_wants_them(tmp_path: Path) -> None:
    """As a run does: the training images first, then all, killed among the others; it asks for the first ones again."""
    good = [image_id for image_id in IDS if image_id not in BAD]
    first = good[:6]
    for folder in ("whole", "killed"):
        fill(tmp_path / folder, first)
    fill(tmp_path / "whole", good)
    with pytest.raises(KeyboardInterrupt):
        BoxStore(tmp_path / "killed", SETTINGS, part_size=4).fill(good, _interrupted_after(3), "test")
    fill(tmp_path / "killed", first)
    assert len(BoxStore(tmp_path / "killed")) == 9
    fill(tmp_path / "killed", good)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def _interrupted_after(n: int) -> Callable[[Iterable[str]], Iterator[Outcome]]:
    def some(ids: Iterable[str]) -> Iterator[Outcome]:
        for number, outcome in enumerate(produce(ids)):
            if number == n:
                raise KeyboardInterrupt
            yield outcome

    return some


def test_a_row_made_again_counts_wherever_the_image_moves_to(tmp_path: Path) -> None:
    fill_named(tmp_path, dict.fromkeys("abcdef", "1"), 1)
    for score in (2, 3):  # the last images come first: to a part with a lower number
        _, done = fill_named(tmp_path, dict.fromkeys("fedcba", str(score)), score)
        assert done == list("fedcba")
        assert scores(BoxStore(tmp_path)) == dict.fromkeys("abcdef", score)


# --- images that have changed


def fill_named(folder: Path, fingerprints: dict[str, str], score: float) -> tuple[BoxStore, list[str]]:
    """Fills a store of parts of two images; what was done, and the store."""
    done: list[str] = []

    def produce(missing: Sequence[str]) -> Iterator[Outcome]:
        for image_id in missing:
            done.append(image_id)
            yield image_id, Boxes(np.array([[0, 0, 1, 1]], np.float32), scores=np.array([score], np.float32))

    store = BoxStore(folder, {}, part_size=2)
    store.fill(list(fingerprints), produce, "test", fingerprint=fingerprints.__getitem__)
    return store, done


def scores(store: BoxStore) -> dict[str, float]:
    return {image_id: float(boxes.scores[0]) for image_id, boxes in store.items()}


def test_only_what_has_changed_is_done_again_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = {name: f"{name} 1" for name in "abcde"}
    assert fill_named(tmp_path, first, 1)[1] == list("abcde")
    assert fill_named(tmp_path, first, 2)[1] == []
    changed = first | {"b": "b 2", "e": "e 2", "f": "f 1"}
    store, done = fill_named(tmp_path, changed, 3)
    assert done == ["b", "e", "f"]
    assert "2 images have changed since, or their labels, and are done again, b for one" in caplog.text
    for there in (store, BoxStore(tmp_path)):
        assert scores(there) == {"a": 1, "b": 3, "c": 1, "d": 1, "e": 3, "f": 3}
        assert len(there) == 6
    assert fill_named(tmp_path, changed, 4)[1] == []
    assert fill_named(tmp_path, first | {"e": "e 2"}, 5)[1] == ["b"]


def test_a_changed_image_that_fails_has_no_boxes(tmp_path: Path) -> None:
    fill_named(tmp_path, {"a": "1", "b": "1"}, 1)
    store = BoxStore(tmp_path, {}, part_size=2)
    with pytest.raises(InputError, match="none of 2 images could be done; a: broken"):
        store.fill(["a", "b"], lambda ids: [(i, InputError("broken")) for i in ids], "test", fingerprint=lambda i: "2")
    assert (dict(store), store.failed) == ({}, {"a": "broken", "b": "broken"})


@pytest.mark.parametrize("unknown", ["then", "now"])
def test_an_image_of_which_nothing_is_known_is_kept(tmp_path: Path, unknown: str) -> None:
    fill_named(tmp_path, {"a": "" if unknown == "then" else "1"}, 1)
    assert fill_named(tmp_path, {"a": "" if unknown == "now" else "1"}, 2)[1] == []


def test_a_changed_image_that_was_pending_at_a_kill_counts(tmp_path: Path) -> None:
    fill_named(tmp_path, {"a": "1", "b": "1"}, 1)
    store = BoxStore(tmp_path, {}, part_size=2)

    def killed(ids: Sequence[str]) -> Iterator[Outcome]:
        yield ids[0], Boxes(np.array([[0, 0, 1, 1]], np.float32), scores=np.array([2], np.float32))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.fill(["a", "b"], killed, "test", fingerprint=lambda i: "2")
    assert scores(BoxStore(tmp_path)) == {"a": 2, "b": 1}
    assert fill_named(tmp_path, {"a": "2", "b": "2"}, 3)[1] == ["b"]
    assert scores(BoxStore(tmp_path)) == {"a": 2, "b": 3}


# --- stores that come from anywhere


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
