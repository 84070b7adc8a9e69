"""A killed process, a full disk, shards side by side: what they leave is filled up to the bytes of one quiet run."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.storage import stores
from tests.storage.stores import BAD, IDS, SETTINGS, content, fill, produce
from wsdet.storage.box_store import BoxStore, FillReport, Outcome
from wsdet.storage.shard import Shard
from wsdet.types import InputError


class Killed(BaseException):
    """The process is gone: nothing after it reaches the disk."""


GOOD = tuple(image_id for image_id in IDS if image_id not in BAD)


@pytest.mark.slow
@pytest.mark.parametrize("ids", [IDS, GOOD], ids=["some fail, and are tried again", "none fails"])
def test_killed_before_any_file_operation_resumes_to_the_same_bytes(tmp_path: Path, ids: Sequence[str]) -> None:
    fill(tmp_path / "whole", ids)
    uninterrupted = content(tmp_path / "whole")
    n_operations = 0
    while True:
        folder = tmp_path / str(n_operations)
        if not run_until_killed(folder, ids, n_operations):
            break
        fill(folder, ids)
        assert content(folder) == uninterrupted, f"killed at file operation {n_operations}"
        n_operations += 1
    assert n_operations > 30


def run_until_killed(folder: Path, ids: Sequence[str], n_operations: int) -> bool:
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
            fill(folder, ids)
        except Killed:
            return True
    return False


CHILD = f"""
import sys, time
{{setup}}
import importlib.util
spec = importlib.util.spec_from_file_location("stores", {stores.__file__!r})
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


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    limit = len(uninterrupted["parts/000000.parquet"]) - 1  # bytes to a file: pending ones fit, the first part does not
    end = run_child(tmp_path, f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))")
    _, errors = end.communicate(timeout=60)
    assert "File too large; mend that and run the same command again" in errors
    assert "000000.parquet" in errors
    assert fill(tmp_path).kept == 3
    assert content(tmp_path) == uninterrupted


# --- killed runs


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
    first = GOOD[:6]
    for folder in ("whole", "killed"):
        fill(tmp_path / folder, first)
    fill(tmp_path / "whole", GOOD)
    with pytest.raises(KeyboardInterrupt):
        BoxStore(tmp_path / "killed", SETTINGS, part_size=4).fill(GOOD, _interrupted_after(3), "test")
    fill(tmp_path / "killed", first)
    assert len(BoxStore(tmp_path / "killed")) == 9
    fill(tmp_path / "killed", GOOD)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def _interrupted_after(n: int) -> Callable[[Iterable[str]], Iterator[Outcome]]:
    def some(ids: Iterable[str]) -> Iterator[Outcome]:
        for number, outcome in enumerate(produce(ids)):
            if number == n:
                raise KeyboardInterrupt
            yield outcome

    return some
