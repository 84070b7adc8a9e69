from __future__ import annotations

from pathlib import Path

import pytest

from wsdet.formats.contents import distinct_stems, file_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("", "%00"),
        ("a.jpg", "a.jpg"),
        ("a b/é 50%.jpg", "a b/é 50%.jpg"),
        ("../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd"),
        ("/etc/passwd", "%00/etc/passwd"),
        ("a/./b", "a/%2E/b"),
        ("..\\a", "..%5Ca"),
        ("a\nb\r.jpg", "a%0Ab%0D.jpg"),
        ("a\0", "a%00"),
        ("%0A", "%250A"),
        (" a .jpg", "%20a%20.jpg"),
        ("\ud800.jpg", "%D800.jpg"),
    ],
    ids=repr,
)
def test_names_that_stay_inside(name: str, safe: str, tmp_path: Path) -> None:
    assert file_name(name) == safe
    assert (tmp_path / safe).resolve().is_relative_to(tmp_path.resolve())


@pytest.mark.parametrize(
    ("names", "distinct"),
    [
        ([], []),
        (["a.jpg", "b/a.jpg"], ["a.jpg", "b/a.jpg"]),
        (["a.jpg", "a.png"], ["a.jpg", "a.png.png"]),
        (["a.jpg", "a.png", "a.png.gif"], ["a.jpg", "a.png.png", "a.png.gif.gif"]),
        (["a", "a.jpg"], ["a", "a.jpg.jpg"]),
    ],
    ids=["none", "folders", "suffixes", "what was made", "no suffix"],
)
def test_stems_are_distinct(names: list[str], distinct: list[str]) -> None:
    assert distinct_stems(names) == distinct
