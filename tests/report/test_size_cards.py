"""Recall by size as a card."""

from __future__ import annotations

from wsdet.report.size_cards import size_cards


def figures(small: float | None, large: float | None, n_small: int) -> dict[str, object]:
    sizes = {"small": (small, n_small), "medium": (None, 0), "large": (large, 3)}
    return {"recall_by_size": {name: {"recall": recall, "objects": n} for name, (recall, n) in sizes.items()}}


def test_sizes_that_the_data_has_are_columns() -> None:
    (card,) = size_cards({"pseudo": figures(0.25, 1.0, 4), "ground_truth": figures(0.5, None, 4)})
    assert card.table is not None
    assert card.table.headers == ["", "small, below 32 x 32 pixels: 4", "large, larger: 3"]
    assert card.table.rows == [["pseudo", "0.250", "1.000"], ["ground truth", "0.500", "-"]]


def test_metrics_of_earlier_versions_have_no_card() -> None:
    assert size_cards({"pseudo": {"map": 0.5}}) == []
    assert size_cards({}) == []
