"""Files that are either whole or absent, and the same for everybody who writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdet.storage.files import replacing, write_bytes, write_json

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


def test_safetensors_do_not_write_files_themselves() -> None:
    writers = [path for path in (ROOT / "wsdet").rglob("*.py") if "save_file(" in path.read_text(encoding="utf-8")]
    assert writers == []  # killed, save_file leaves a file beside, of a random name
