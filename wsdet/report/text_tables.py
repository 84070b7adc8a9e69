"""The tables at the end of a run: Markdown that is aligned, so that it reads as plain text too."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from wsdet.types import Boxes, Split

Cell = str | int | float | None


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A Markdown table. Numbers stand right, fractions with three digits; None and NaN become a dash.

    >>> print(table(["detector", "mAP"], [["pseudo", 0.25], ["center box", None]]))
    | detector   |   mAP |
    | :--------- | ----: |
    | pseudo     | 0.250 |
    | center box |     - |
    """
    cells = [[_text(cell) for cell in row] for row in rows]
    columns = list(zip(headers, *cells, strict=True))
    widths = [max(3, *(_width(cell) for cell in column)) for column in columns]
    right = [any(isinstance(row[i], (int, float)) for row in rows) for i in range(len(headers))]
    rule = ["-" * (width - 1) + ":" if to_right else ":" + "-" * (width - 1) for width, to_right in _zip(widths, right)]
    lines = [_line(list(headers), widths, right), _line(rule, widths, right)]
    return "\n".join(lines + [_line(row, widths, right) for row in cells])


def localization_table(localization: Mapping[str, Mapping[str, Any]]) -> str:
    """One row per localizer, from the `localization` part of `metrics.json`."""
    headers = [
        "localizer",
        "CorLoc",
        "95 %",
        "over images",
        "mean IoU",
        "precision@1",
        "center",
        "center 0.2",
        "images",
    ]
    return table(
        headers,
        [
            [
                name,
                figures["corloc"],
                _interval(figures.get("corloc_interval")),
                figures.get("corloc_over_images"),
                figures["mean_iou"],
                figures["precision_at"]["1"],
                figures["center_correct"]["0.0"],
                figures["center_correct"]["0.2"],
                figures["images"],
            ]
            for name, figures in localization.items()
        ],
    )


def instances_table(instances: Mapping[str, Mapping[str, Any]]) -> str:
    """One row a localizer, from the `instances` part of `metrics.json`."""
    names = ("recall", "precision", "boxes_per_image", "objects_per_image", "images")
    headers = ["pseudo-boxes of", "recall", "precision", "boxes/image", "objects/image", "images"]
    sizes = ("small", "medium", "large")
    rows = []
    for name, figures in instances.items():
        by_size = figures.get("recall_by_size", {})
        rows.append([name, *(figures[of] for of in names), *(by_size.get(size, {}).get("recall") for size in sizes)])
    return table([*headers, *(f"recall, {size}" for size in sizes)], rows)


def detectors_table(detectors: Mapping[str, Mapping[str, Any]]) -> str:
    """One row per detector, from the `detectors` part of `metrics.json`, with its mAP relative to ground truth's."""
    truth = detectors.get("ground_truth", {}).get("map")
    return table(
        ["detector trained on", "mAP", "95 %", "of ground truth", "calibration error"],
        [
            [
                name.replace("_", " "),
                figures["map"],
                _interval(figures.get("map_interval")),
                figures["map"] / truth if truth and figures["map"] is not None else None,
                (figures.get("calibration") or {}).get("expected_calibration_error"),
            ]
            for name, figures in detectors.items()
        ],
    )


def proposals_table(proposals: Mapping[str, Mapping[str, Any]], at: Sequence[int] = (1, 10, 100, 1000)) -> str:
    """One row per source of boxes, from the `proposals` part of `metrics.json`."""
    strict = [f"recall, IoU {iou}" for iou in ("0.75", "0.9")]
    headers = ["proposals", *(f"recall@{n}" for n in at), *strict, "precision@1", "MABO", "boxes", "images"]
    return table(
        headers,
        [
            [
                name,
                *(figures["recall_at"][str(n)] for n in at),
                *([None, *figures.get("recall_at_iou", {}).get(iou, {}).values()][-1] for iou in ("0.75", "0.9")),
                figures["precision_at"]["1"],
                figures["mabo"],
                round(figures["boxes_per_image"]),
                figures["images"],
            ]
            for name, figures in proposals.items()
        ],
    )


def boxes_table(boxes: Mapping[str, Boxes], splits: Mapping[Split, Sequence[str]]) -> str:
    """One row a split: its images, those that have boxes, how many, and the median of their best scores."""
    rows: list[list[Cell]] = []
    for split, ids in splits.items():
        found = [boxes[image_id] for image_id in ids if image_id in boxes]
        best = [float(one.scores.max()) for one in found if len(one)]
        n_boxes = sum(len(one) for one in found) / max(1, len(found))
        rows.append([split, len(ids), len(ids) - len(found), len(best), n_boxes, median(best) if best else None])
    return table(["split", "images", "failed", "with boxes", "boxes per image", "median best score"], rows)


def _text(cell: Cell) -> str:
    if cell is None or cell != cell:  # NaN alone differs from itself
        return "-"
    text = f"{cell:.3f}" if isinstance(cell, float) else str(cell)
    # what would end a cell or a row
    return " ".join(text.replace("|", "\\|").split())


def _interval(low_high: Sequence[float] | None) -> str | None:
    return f"{low_high[0]:.3f}-{low_high[1]:.3f}" if low_high else None


def _width(text: str) -> int:
    """Columns on a terminal: wide East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _zip(widths: Sequence[int], right: Sequence[bool]) -> list[tuple[int, bool]]:
    return list(zip(widths, right, strict=True))


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for cell, (width, to_right) in zip(cells, _zip(widths, right), strict=True):
        space = " " * (width - _width(cell))
        padded.append(space + cell if to_right else cell + space)
    return "| " + " | ".join(padded) + " |"
