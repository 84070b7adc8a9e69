"""Sections of a report on the detectors: how good they are, how sure, why they err, and their proposals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsdet.metrics.diagnosis import ERROR_KINDS
from wsdet.report.charts import legend, line_chart, scatter_chart
from wsdet.report.findings import Findings
from wsdet.report.precision_recall import precision_recall_charts
from wsdet.report.sections import Card, Section, Table, number, spaced
from wsdet.report.size_cards import size_cards


def detectors_section(metrics: Mapping[str, Any]) -> Section | None:
    """Average precision of each class and detector."""
    detectors = metrics.get("detectors", {})
    if not detectors:
        return None
    names = list(dict.fromkeys(name for figures in detectors.values() for name in figures["ap"]))
    first = detectors.get("pseudo", next(iter(detectors.values())))["ap"]
    rows = [
        [of_class, *(number(figures["ap"].get(of_class)) for figures in detectors.values())]
        for of_class in sorted(names, key=lambda of_class: -first.get(of_class, 0.0))
    ]
    rows.append(["all classes", *(number(figures["map"]) for figures in detectors.values())])
    cards = [Card("Average precision, best class first", Table(["class", *map(spaced, detectors)], rows))]
    if {"pseudo", "ground_truth"} <= set(detectors):
        ours, best = detectors["pseudo"]["ap"], detectors["ground_truth"]["ap"]
        points = [(name, best[name], ours[name]) for name in best if name in ours]
        chart = scatter_chart(points, "AP, trained on ground truth", "AP, on pseudo-boxes")
        cards.append(Card("Each class", svg=chart))
    cards += size_cards(detectors)
    note = "VOC's average precision with 11 points, IoU above 0.5."
    return Section("detectors", "Detectors", "Detectors on the test images", note, cards)


def calibration_section(metrics: Mapping[str, Any]) -> Section | None:
    """Reliability diagrams of the detectors whose scores are probabilities."""
    figures = {name: of.get("calibration") for name, of in metrics.get("detectors", {}).items()}
    found = {spaced(name): of for name, of in figures.items() if of and of["bins"]}
    if not found:
        return None
    lines: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        f"trained on {name}": ([one["score"] for one in of["bins"]], [one["correct"] for one in of["bins"]])
        for name, of in found.items()
    }
    lines["as it should be"] = ([0.0, 1.0], [0.0, 1.0])
    rows = [
        [name, number(of["expected_calibration_error"]), str(sum(one["detections"] for one in of["bins"]))]
        for name, of in found.items()
    ]
    least = next(iter(found.values()))["from"]
    headers = ["trained on", "expected calibration error", "detections"]
    chart = line_chart(lines, "score", "share correct", x_range=(0, 1))
    note = (
        "Detections on the test images in ten bins of their score. On the diagonal it is the share that is correct; "
        f"below it detectors are too sure. Scores below {least} are left out."
    )
    cards = [Card("Reliability", svg=chart), Card("Error", Table(headers, rows), width="double")]
    return Section("calibration", "Calibration", "Are scores what they say?", note, cards)


def precision_recall_section(found: Findings) -> Section | None:
    """Precision over recall, a chart for each class."""
    counted = {name: found.counted(name) for name in found.detections}
    charts = precision_recall_charts(found.detections, found.truth, counted, found.classes)
    if not charts:
        return None
    cards = [Card(of_class, svg=chart) for of_class, chart in charts.items()]
    key = legend([f"trained on {spaced(name)}" for name in found.detections])
    heading = "Precision and recall of each class"
    return Section("curves", "Precision and recall", heading, cards=cards, svg=key, small=True)


def error_kinds_section(found: Findings) -> Section | None:
    """What kinds of errors the detector makes that is trained on pseudo-boxes."""
    errors = found.errors.get("pseudo")
    if errors is None:
        return None
    gains = [[kind, str(int(errors.counts[kind].sum())), number(errors.mean_ap_without[kind])] for kind in ERROR_KINDS]
    rows = [
        [name, *(str(int(errors.counts[kind][label])) for kind in ERROR_KINDS)]
        for label, name in enumerate(found.classes)
    ]
    return Section(
        "why-detections",
        "Why detections fail",
        "Why detections fail",
        "The detector trained on pseudo-boxes. Every detection counts, however low its score; the last column of the "
        "first table weighs them: mAP if errors of that kind alone were corrected.",
        [
            Card(f"Errors, mAP now {number(errors.mean_ap)}", Table(["kind", "errors", "mAP if corrected"], gains)),
            Card("Errors by class", Table(["class", *ERROR_KINDS], rows), width="double"),
        ],
    )


def proposals_section(metrics: Mapping[str, Any]) -> Section | None:
    """Recall and precision of the proposals."""
    proposals = metrics.get("proposals", {})
    if not proposals:
        return None
    cards = []
    for panel in ("recall", "precision"):
        lines = {}
        for name, figures in proposals.items():
            there = {float(n): value for n, value in figures[f"{panel}_at"].items() if value is not None}
            lines[spaced(name)] = (list(there), list(there.values()))
        cards.append(Card(panel.capitalize(), svg=line_chart(lines, "boxes per image", panel, log_x=True)))
    note = "IoU of 0.5, mean over the classes, test images."
    return Section("proposals", "Proposals", "Do the proposals cover the objects?", note, cards)
