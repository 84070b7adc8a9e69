"""Files that are either whole or absent, and the same for everybody who writes them."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from wsdet.storage.files import replacing, write_bytes, write_csv, write_json

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_written_is_whole_and_for_whom_the_umask_says(tmp_path: Path) -> None:
    write_bytes(tmp_path / "new" / "a.safetensors", b"123")
    write_json(tmp_path / "new" / "a.json", {})
    assert (tmp_path / "new" / "a.safetensors").read_bytes() == b"123"
    assert {path.stat().st_mode for path in (tmp_path / "new").iterdir()} == {
        (tmp_path / "new" / "a.json").stat().st_mode
    }


def test_what_goes_wrong_leaves_the_old_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")

    def break_off() -> None:
        with replacing(tmp_path / "a") as beside:
            beside.write_bytes(b"ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_names_are_no_formulas_in_csv(tmp_path: Path) -> None:
    names = ["=1+1", "+a", "-a", "@a", " =a", "a\x1b[2J\n", "a,b", "ä"]
    write_csv(tmp_path / "a.csv", [[name, -0.5, None] for name in names])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["'=1+1", "'+a", "'-a", "'@a", "' =a", "a\\x1b[2J\\n", "a,b", "ä"]
    assert {tuple(row[1:]) for row in rows} == {("-0.5", "")}


@pytest.mark.parametrize("name", ["x" * 255, "ö" * 127])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    write_bytes(tmp_path / name, b"1")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_safetensors_do_not_write_files_themselves() -> None:
    writers = [path for path in (ROOT / "wsdet").rglob("*.py") if "save_file(" in path.read_text(encoding="utf-8")]
    assert writers == []  # killed, save_file leaves a file beside, of a random name


@pytest.mark.parametrize(("durable", "synced"), [(True, 1), (False, 0)])
def test_what_is_durable_is_on_the_disk_before_it_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, synced: int
) -> None:
    before: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: before.append((tmp_path / "a").read_bytes()))
    (tmp_path / "a").write_bytes(b"old")
    write_bytes(tmp_path / "a", b"new", durable)
    assert before == [b"old"] * synced
    assert (tmp_path / "a").read_bytes() == b"new"
