from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wsdet.report.text_tables import Cell, boxes_table, detectors_table, localization_table, proposals_table, table
from wsdet.types import Boxes


def test_columns_line_up() -> None:
    assert table(["name", "n", "share"], [["a", 5, 0.25], ["longer", 1000, None]]).splitlines() == [
        "| name   |    n | share |",
        "| :----- | ---: | ----: |",
        "| a      |    5 | 0.250 |",
        "| longer | 1000 |     - |",
    ]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        pytest.param(None, "-", id="nothing"),
        pytest.param(float("nan"), "-", id="not a number"),
        pytest.param(0, "0", id="whole"),
        pytest.param(2 / 3, "0.667", id="fraction"),
        pytest.param("a|b", "a\\|b", id="a bar would end the cell"),
        pytest.param("a\nb", "a b", id="a line break would end the row"),
    ],
)
def test_cells(cell: Cell, shown: str) -> None:
    assert table(["x"], [[cell]]).splitlines()[2].strip("| ") == shown


def test_wide_characters_take_two_columns() -> None:
    lines = table(["x"], [["猫猫"], ["abcd"]]).splitlines()
    assert lines[2] == "| 猫猫 |"
    assert lines[3] == "| abcd |"


def test_end_of_run_tables() -> None:
    detectors: dict[str, dict[str, Any]] = {
        "pseudo": {"map": 0.2, "map_interval": [0.18, 0.22]},
        "ground_truth": {"map": 0.4},
        "center_box": {"map": 0.1},
    }
    lines = detectors_table(detectors).splitlines()
    assert [line.split("|")[4].strip() for line in lines[2:]] == ["0.500", "1.000", "0.250"]
    assert "0.180-0.220" in lines[2]
    assert "center box" in lines[4]
    # without a detector trained on ground-truth boxes there is no ratio
    alone = detectors_table({"pseudo": {"map": None}}).splitlines()[2]
    assert [cell.strip() for cell in alone.split("|")[2:5]] == ["-", "-", "-"]

    figures = {
        "corloc": 0.5,
        "mean_iou": None,
        "precision_at": {"1": 0.4},
        "center_correct": {"0.0": 1.0, "0.2": 0.5},
        "images": 7,
    }
    assert localization_table({"stl_fast": figures}).splitlines()[2].count("|") == 10
    sources = {"mabo": 0.5, "recall_at": dict.fromkeys(("1", "10", "100", "1000"), 0.1), "precision_at": {"1": 0.2}}
    assert "1235" in proposals_table({"ss": sources | {"boxes_per_image": 1234.6, "images": 7}})
    strict = {"0.75": {"1": 0.25, "10000": 0.375}, "0.9": {"1": 0.0, "10000": 0.125}}
    row = proposals_table(
        {"ss": sources | {"boxes_per_image": 1.0, "images": 7, "recall_at_iou": strict}}
    ).splitlines()[2]
    assert [cell.strip() for cell in row.split("|")[6:8]] == ["0.375", "0.125"]


def test_boxes_by_split() -> None:
    one = Boxes(np.array([[0, 0, 2, 2]] * 2, np.float32), np.array([0.5, 0.25], np.float32))
    boxes = {"a": one, "b": Boxes.empty()}
    lines = boxes_table(boxes, {"train": ["a", "b", "unreadable"], "test": []}).split("\n")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[2] == ["train", "3", "1", "1", "1.000", "0.500"]
    assert cells[3] == ["test", "0", "0", "0", "0.000", "-"]
