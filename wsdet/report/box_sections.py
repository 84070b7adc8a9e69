"""Sections of a report on the pseudo-boxes: whether they are on the objects, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wsdet.boxes import area
from wsdet.metrics.diagnosis import BOX_KINDS
from wsdet.metrics.localization import center_correct
from wsdet.report.charts import histogram, line_chart
from wsdet.report.findings import BoxesById, Findings
from wsdet.report.sections import Card, Section, Table, Tile, between, number, spaced
from wsdet.report.size_cards import size_cards

_MARGINS = np.linspace(0, 0.5, 11)


def pseudo_boxes_section(found: Findings, sizes_wh: Mapping[str, Sequence[int]]) -> Section | None:
    """CorLoc and what goes with it; without ground truth, how many boxes there are, and their sizes and scores.

    Args:
        found: what the run found.
        sizes_wh: width and height of the images shown, by id.
    """
    if not len(found.top(found.method).iou):
        return _without_truth(found, sizes_wh)
    measured = found.metrics.get("localization", {})
    if not measured:
        return None
    rows = [
        [
            spaced(name),
            number(figures["corloc"]),
            between(figures.get("corloc_interval")),
            *(number(figures[key]) for key in ("mean_iou",)),
            *(number(figures[of][n]) for of, n in (("precision_at", "1"), ("recall_at", "1"), ("recall_at", "10"))),
        ]
        for name, figures in measured.items()
    ]
    headers = ["method", "CorLoc", "95 %", "mean IoU", "precision@1", "recall@1", "recall@10"]
    tops = {spaced(name): found.top(name) for name in found.localized}
    centers = {
        name: (_MARGINS.tolist(), [center_correct(top, margin) for margin in _MARGINS])
        for name, top in tops.items()
        if len(top.iou)
    }
    first, by_class = next((spaced(name), figures["corloc_by_class"]) for name, figures in measured.items())
    overlaps = histogram(found.top(found.method).iou.tolist(), "IoU", 0, 1, 0.5)
    return Section(
        "boxes",
        "Pseudo-boxes",
        "Do the pseudo-boxes find the objects?",
        "The first box of each class in each training image. CorLoc: IoU above 0.5 with an object of the class.",
        [
            Card(table=Table(headers, rows), width="wide"),
            *_instances(found.metrics),
            Card(f"CorLoc by class, {first}", shares=by_class),
            Card(f"IoU of the first box, {first}", svg=overlaps),
            Card(
                "Center of the box inside the object",
                svg=line_chart(centers, "margin relative to the object", "share of images"),
            ),
        ],
    )


def verdict_section(metrics: Mapping[str, Any]) -> Section | None:
    """How far to trust the boxes without ground truth; see `wsdet.stages.verdict`."""
    verdict = metrics.get("verdict")
    if not verdict:
        return None
    tile = Tile(f"trust in the boxes: {verdict['says']}", verdict["trust"], verdict["interval"], ".2f")
    cards = []
    if verdict["causes"]:
        rows = [[one["name"], one["text"], one["remedy"]] for one in verdict["causes"]]
        cards.append(Card("Likely causes", Table(["cause", "what points to it", "try"], rows), width="wide"))
    measured = {spaced(name): value for name, value in verdict["signals"].items() if value is not None}
    cards.append(Card("What was seen", Table([], [[name, number(value)] for name, value in measured.items()])))
    if verdict["by_class"]:
        cards.append(Card("Trust by class", shares=verdict["by_class"]))
    note = (
        f"Without ground truth: average precision with which a detector trained on the boxes of one half of "
        f"{verdict['images']} training images finds those of the other half. What was seen, on some of them: whether "
        "boxes stay on their objects when the image is mirrored or cut, more than boxes of other images would, agree "
        "with a heat map's, and whether occluding them costs more of the class score than as much elsewhere."
    )
    return Section("verdict", "Verdict", "How far to trust the boxes", note, cards, [tile])


def _instances(metrics: Mapping[str, Any]) -> list[Card]:
    """How the boxes that training takes stand for all objects, as `instances` in the metrics."""
    names = ("recall", "precision", "boxes_per_image", "objects_per_image")
    rows = [
        [spaced(name), *(number(of.get(key)) for key in names)] for name, of in metrics.get("instances", {}).items()
    ]
    headers = ["method", "recall", "precision", "boxes per image", "objects per image"]
    card = Card("All objects, all boxes that training takes", Table(headers, rows), width="wide")
    return [card, *size_cards(metrics["instances"])] if rows else []


def _without_truth(found: Findings, sizes_wh: Mapping[str, Sequence[int]]) -> Section | None:
    """There is no ground truth: how many images have boxes, how large these are, and their scores."""
    labels, firsts = found.labels, found.firsts.get(found.method, {})
    if not labels:
        return None
    boxed = {image_id: boxes for image_id, boxes in firsts.items() if len(boxes)}
    tile = Tile("of the images have a box", len(boxed) / len(labels), None, ".0%")
    cards = []
    seen = {image_id: boxes[:1].xyxy for image_id, boxes in boxed.items() if image_id in sizes_wh}
    if seen:
        covered = [float(area(xyxy)[0]) / np.prod(sizes_wh[i]) for i, xyxy in seen.items()]
        longer = [float((xyxy[0, 2:] - xyxy[0, :2]).max()) for xyxy in seen.values()]
        inside = histogram(covered, "share of the image", 0, 1)
        cards += [
            Card("Share of the image inside the first box", svg=inside),
            Card("Longer side of the first box", svg=histogram(longer, "pixels", 0, max(longer))),
        ]
    scores = [float(score) for boxes in boxed.values() for score in boxes.scores]
    if scores:
        cards.append(Card("Score of the first box", svg=histogram(scores, "score", min(scores), max(scores))))
    headers = ["class", "images", "with a box", "median score"]
    cards.append(Card("Each class", Table(headers, _by_class(labels, firsts, found.classes)), width="wide"))
    note = "The data has no ground-truth boxes, so nothing says which are correct: look at the lowest confidence first."
    return Section("boxes", "Pseudo-boxes", "The pseudo-boxes", note, cards, [tile])


def _by_class(labels: Mapping[str, Sequence[int]], firsts: BoxesById, classes: Sequence[str]) -> list[list[str]]:
    """Rows of class, its images, those of them with a box of it, and the median score of these boxes."""
    rows = []
    for label, name in [*enumerate(classes), (-1, "no label")]:
        ids = [image_id for image_id, of_image in labels.items() if label in (of_image or (-1,))]
        scores = np.concatenate(
            [np.zeros(0), *(firsts[i].scores[firsts[i].labels == label] for i in ids if i in firsts)]
        )
        if ids:
            median = float(np.median(scores)) if len(scores) else None
            rows.append([name, str(len(ids)), str(len(scores)), number(median)])
    return rows


def box_kinds_section(found: Findings) -> Section | None:
    """What kind of box each first box is."""
    diagnosed = found.diagnosed.get(found.method, [])
    if not diagnosed:
        return None
    counts = {label: dict.fromkeys(BOX_KINDS, 0) for label in sorted({one.label for one in diagnosed})}
    for one in diagnosed:
        counts[one.label][one.kind] += 1
    whole = {kind: sum(row[kind] for row in counts.values()) / len(diagnosed) for kind in BOX_KINDS}
    rows = [[found.classes[label], *(str(row[kind]) for kind in BOX_KINDS)] for label, row in counts.items()]
    return Section(
        "why-boxes",
        "Why boxes fail",
        f"Why boxes of {spaced(found.method)} fail",
        "Part only: inside the object. Too large: holds the object. Group: holds several. Other object: overlaps one "
        "of another class more. Wrong place: none of these.",
        [
            Card("All classes", shares=whole),
            Card("Boxes by class", Table(["class", *BOX_KINDS], rows), width="double"),
        ],
    )
