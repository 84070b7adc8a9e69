from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsdet.report.proposal_curves import draw_proposal_curves, our_curves, published_curves
from wsdet.types import InputError

OURS = {"_$a$": {"recall_at": {"1": 0.1, "10": None}, "precision_at": {"1": 0.5, "10": 0.2}}}


def test_our_curves() -> None:
    assert our_curves(OURS) == {
        "recall": {"_$a$": ([1, 10], [0.1, None])},
        "precision": {"_$a$": ([1, 10], [0.5, 0.2])},
    }


def test_any_name_is_drawn(tmp_path: Path) -> None:
    draw_proposal_curves(tmp_path / "curves.png", our_curves(OURS))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_published_curves(shared: Path) -> None:
    path = shared / "reference" / "stl_published_figures.json"
    curves = published_curves(path, "PASCAL2007_TEST")
    assert curves["precision"]["stl_wl"][1][0] == pytest.approx(0.312127)
    with pytest.raises(InputError, match="published_set=VOC; it has ILSVRC2012_1000_VAL"):
        published_curves(path, "VOC")


@pytest.mark.parametrize("content", ["[]", "{}", json.dumps({"curves": []})])
def test_files_without_curves(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match="has no curves"):
        published_curves(tmp_path / "x.json", "A")
