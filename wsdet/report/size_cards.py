"""A card of a report: the share of objects that boxes or detections cover, by the objects' size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsdet.report.sections import Card, Table, number, spaced

_PIXELS = {"small": "below 32 x 32 pixels", "medium": "up to 96 x 96", "large": "larger"}


def size_cards(figures: Mapping[str, Mapping[str, Any]]) -> list[Card]:
    """The card, from the `recall_by_size` of methods or detectors; none where they have none.

    Args:
        figures: of `instances` or `detectors` in the metrics.
    """
    by_size = {name: of["recall_by_size"] for name, of in figures.items() if "recall_by_size" in of}
    objects = {size: of["objects"] for first in list(by_size.values())[:1] for size, of in first.items()}
    sizes = [size for size, n in objects.items() if n]
    rows = [[spaced(name), *(number(of[size]["recall"]) for size in sizes)] for name, of in by_size.items()]
    headers = ["", *(f"{size}, {_PIXELS[size]}: {objects[size]}" for size in sizes)]
    return [Card("Recall by the size of objects", Table(headers, rows), width="double")] if sizes else []
