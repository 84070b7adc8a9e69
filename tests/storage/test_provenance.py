"""Results of other settings are never mixed in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsdet.storage.provenance import check_settings, flatten, read_settings
from wsdet.types import InputError


def test_a_folder_is_claimed_once_and_reopened_with_equal_settings(tmp_path: Path) -> None:
    settings = {"localizer": {"alpha": 0.8, "scales": (1, 2)}, "seed": 0}
    check_settings(tmp_path / "new", settings)
    check_settings(tmp_path / "new", settings)
    assert read_settings(tmp_path / "new") == {"localizer": {"alpha": 0.8, "scales": [1, 2]}, "seed": 0}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"a": {"b": 2}, "c": 0}, r"a\.b was 1, is 2\."),
        ({"a": {"b": 1}}, r"c was 0, is \(absent\)"),
        ({"a": {"b": 1}, "c": 0, "d": None}, r"d was \(absent\), is None"),
    ],
    ids=["value", "gone", "new"],
)
def test_the_first_difference_is_named_with_the_remedy(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    check_settings(tmp_path, {"a": {"b": 1}, "c": 0})
    with pytest.raises(InputError, match=message) as caught:
        check_settings(tmp_path, changed)
    assert "another out=" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", "\xff"], ids=["empty", "list", "cut", "binary"])
def test_damaged_settings_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"settings\.json"):
        read_settings(tmp_path)


def test_flatten_dots_nested_keys() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}
