"""The mark of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsdet.storage.finished import is_finished, mark_finished

DEPENDS_ON: dict[str, Any] = {"seed": 0, "images": ("a", "b"), "data": {"root": None}}


@pytest.mark.parametrize(
    ("depends_on", "expected"),
    [
        (DEPENDS_ON, True),
        (dict(reversed(DEPENDS_ON.items())), True),
        (DEPENDS_ON | {"seed": 1}, False),
        (DEPENDS_ON | {"images": ("a", "b", "c")}, False),
    ],
    ids=["same", "in another order", "another setting", "another image"],
)
def test_a_seal_holds_for_what_it_was_depends_on(depends_on: dict[str, Any], expected: bool, tmp_path: Path) -> None:
    assert not is_finished(tmp_path / "finished.json", depends_on)
    mark_finished(tmp_path / "finished.json", DEPENDS_ON, [tmp_path])
    assert is_finished(tmp_path / "finished.json", depends_on) == expected


def test_a_seal_is_broken_by_the_loss_of_a_part(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.mkdir()
    mark_finished(tmp_path / "finished.json", DEPENDS_ON, [tmp_path, part])
    part.rmdir()
    assert not is_finished(tmp_path / "finished.json", DEPENDS_ON)
