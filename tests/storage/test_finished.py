"""The mark of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsdet.storage.finished import is_sealed, seal

MADE_OF: dict[str, Any] = {"seed": 0, "images": ("a", "b"), "data": {"root": None}}


@pytest.mark.parametrize(
    ("made_of", "expected"),
    [
        (MADE_OF, True),
        (dict(reversed(MADE_OF.items())), True),
        (MADE_OF | {"seed": 1}, False),
        (MADE_OF | {"images": ("a", "b", "c")}, False),
    ],
    ids=["same", "in another order", "another setting", "another image"],
)
def test_a_seal_holds_for_what_it_was_made_of(made_of: dict[str, Any], expected: bool, tmp_path: Path) -> None:
    assert not is_sealed(tmp_path / "finished.json", made_of)
    seal(tmp_path / "finished.json", MADE_OF, [tmp_path])
    assert is_sealed(tmp_path / "finished.json", made_of) == expected


def test_a_seal_is_broken_by_the_loss_of_a_part(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.mkdir()
    seal(tmp_path / "finished.json", MADE_OF, [tmp_path, part])
    part.rmdir()
    assert not is_sealed(tmp_path / "finished.json", MADE_OF)
