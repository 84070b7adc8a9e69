"""Sections on what people and further rounds brought: what is said of what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from wsdet.report.trained_again import corrections_section, judged_section, rounds_section

MEASURED: dict[str, Any] = {
    "localization": {"wsddn": {"corloc": 0.4}},
    "detectors": {"pseudo": {"map": 0.2}, "ground_truth": {"map": 0.5}, "corrected": {"map": 0.35}},
}


@pytest.mark.parametrize(
    "section", [judged_section, corrections_section, lambda metrics: rounds_section(metrics, "wsddn")]
)
def test_nothing_is_said_where_nothing_was_done(section: Any) -> None:
    assert section(MEASURED) is None


def test_rounds_begin_with_the_localizer_and_say_why_they_ended() -> None:
    rounds = [
        {
            "boxes": 30,
            "agreement": 0.7,
            "class_divergence": 0.1,
            "localization": {"corloc": 0.45},
            "detector": {"map": 0.25},
        },
        {"boxes": 28, "agreement": 0.96, "class_divergence": 0.1, "localization": {"corloc": 0.46}},
    ]
    section = rounds_section(MEASURED | {"rounds": rounds}, "wsddn")
    assert section is not None
    table = section.cards[0].table
    assert table is not None
    assert [row[:5] for row in table.rows] == [
        ["0", "-", "0.400", "0.200", "-"],
        ["1", "30", "0.450", "0.250", "0.700"],
        ["2", "28", "0.460", "-", "0.960"],
    ]
    assert "no detector was trained" in section.note
    assert section.cards[1].svg.count("<polyline") == 2


def test_without_ground_truth_rounds_say_how_they_agree() -> None:
    section = rounds_section({"rounds": [{"boxes": 3, "agreement": 0.7, "class_divergence": 0.1}]}, "wsddn")
    assert section is not None
    assert len(section.cards) == 1
    assert "no detector was trained" not in section.note


def test_the_curve_of_corrections_lies_between_the_levels_of_the_run() -> None:
    changes = {"images": 20, "verified": 3, "unchanged": 5, "moved": 12, "relabeled": 1, "added": 9, "deleted": 2}
    corrections = {"images": 20, "changes": changes, "curve": [[0, 0.2], [10, 0.3], [20, 0.35]]}
    section = corrections_section(MEASURED | {"corrections": corrections})
    assert section is not None
    counts, chart, curve = section.cards
    assert counts.table is not None
    assert ["boxes moved", "12"] in counts.table.rows
    assert chart.svg.count("<polyline") == 3
    assert curve.table is not None
    assert curve.table.rows[1:] == [["10", "0.300"], ["20", "0.350"]]


def test_corrections_without_ground_truth_are_counted() -> None:
    section = corrections_section({"corrections": {"images": 4, "curve": []}})
    assert section is not None
    assert section.note.startswith("4 training images")
    assert section.cards == []
