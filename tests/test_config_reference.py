"""docs/config.md says what conf/ says, and the script that makes it reads comments as people do."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

CONFIG = """\
# What the file is for,
# in two lines.
defaults: [other, _self_]
_target_: wsdet.localizers.cam.Cam
rate: 0.5       # in its line,
                # going on below
# before its line
layer: null
inner:
  depth: [1, 2]  # inside
hydra:
  run:
    dir: x       # not an option of ours
"""


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "config_reference.py"))


@pytest.fixture(scope="module")
def page(script: dict[str, Any]) -> str:
    return script["page"]()


def test_comments_belong_to_the_keys_that_a_reader_gives_them_to(script: dict[str, Any]) -> None:
    top, options = script["options"](CONFIG)
    assert top == "What the file is for, in two lines."
    assert [(option.name, option.default, option.comment) for option in options] == [
        ("rate", "0.5", "in its line, going on below"),
        ("layer", "null", "before its line"),
        ("inner", "", ""),
        ("inner.depth", "[1, 2]", "inside"),
    ]


def test_arguments_are_explained_by_the_docstring_of_their_class(script: dict[str, Any]) -> None:
    assert "share of the maximum" in script["documented"]("wsdet.localizers.cam.Cam")["threshold"]


def test_the_page_is_up_to_date(page: str) -> None:
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == page, "run python scripts/config_reference.py"


def test_every_option_is_explained(page: str) -> None:
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert not [row for row in rows if row.endswith("` |  |")]
