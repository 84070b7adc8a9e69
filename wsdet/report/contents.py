"""What a report says, as data: sections of cards with figures, tables and charts. How it looks is `page.html.j2`.

A section is a function from what was measured to a `Section`, or None where there is nothing to say. To add one, write
it and name it in `sections_of`.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from wsdet.boxes import area
from wsdet.metrics.diagnosis import BOX_KINDS, ERROR_KINDS, DiagnosedDetections, diagnose_boxes, diagnose_detections
from wsdet.metrics.localization import TopBoxes, center_correct, top_boxes
from wsdet.report.charts import histogram, legend, line_chart, scatter_chart
from wsdet.report.precision_recall import precision_recall_charts
from wsdet.report.sections import Card, Section, Table, Tile, between, number, spaced
from wsdet.report.trained_again import corrections_section, judged_section, rounds_section
from wsdet.types import Boxes, Dataset

_MARGINS = np.linspace(0, 0.5, 11)
_PACKAGES = (
    *("wsdet", "torch", "torchvision", "pytorch-lightning", "numpy", "scikit-learn"),
    "opencv-contrib-python-headless",
)

BoxesById = Mapping[str, Boxes]


@dataclass(frozen=True, eq=False)
class Findings:
    """What a run found, set against the ground truth that it has.

    Attributes:
        classes: names of the classes.
        metrics: what is in `metrics.json`.
        labels: of the training images, by id.
        truth: ground-truth boxes by image id, where they can be read.
        localized: pseudo-boxes by method and image id; the method in question stands first.
        detections: by detector and image id.
        test_ids: the test images.
        firsts: the first box of each label, by method and image id.
        diagnosed: for each method, what kind its first boxes are of.
        errors: for each detector that can be measured, what kinds of errors it makes.
    """

    classes: Sequence[str]
    metrics: Mapping[str, Any]
    labels: Mapping[str, Sequence[int]]
    truth: BoxesById
    localized: Mapping[str, BoxesById]
    detections: Mapping[str, BoxesById]
    test_ids: Sequence[str]
    firsts: Mapping[str, dict[str, Boxes]]
    diagnosed: Mapping[str, Sequence[Any]]
    errors: Mapping[str, DiagnosedDetections]

    @property
    def method(self) -> str:
        """The method in question."""
        return next(iter(self.localized), "")

    @property
    def measured(self) -> dict[str, Sequence[int]]:
        """Labels of the training images that have ground truth."""
        return {image_id: of_image for image_id, of_image in self.labels.items() if image_id in self.truth}

    def counted(self, detector: str) -> list[str]:
        """Test images on which a detector can be measured."""
        boxes = self.detections[detector]
        return [image_id for image_id in self.test_ids if image_id in self.truth and image_id in boxes]

    def top(self, method: str) -> TopBoxes:
        """First boxes against ground truth of the classes that an image is labeled with, as in the metrics."""
        boxes = self.localized.get(method, {})
        labeled = {
            image_id: self.truth[image_id][np.isin(self.truth[image_id].labels, of_image)]
            for image_id, of_image in self.measured.items()
            if image_id in boxes
        }
        return top_boxes(boxes, labeled, list(labeled))


def findings(
    dataset: Dataset,
    metrics: Mapping[str, Any],
    truth: BoxesById,
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    localized: Mapping[str, BoxesById],
    detections: Mapping[str, BoxesById],
) -> Findings:
    """Diagnoses pseudo-boxes and detections against the ground truth `truth`."""
    labels = {image_id: dataset.labels(image_id) for image_id in train_ids}
    measured = {image_id: of_image for image_id, of_image in labels.items() if image_id in truth}
    counted = {name: [i for i in test_ids if i in truth and i in boxes] for name, boxes in detections.items()}
    return Findings(
        dataset.classes,
        metrics,
        labels,
        truth,
        localized,
        detections,
        test_ids,
        {name: _first_boxes(boxes, labels) for name, boxes in localized.items()},
        {name: diagnose_boxes(boxes, truth, measured) for name, boxes in localized.items()},
        {
            name: diagnose_detections(boxes, truth, counted[name], len(dataset.classes))
            for name, boxes in detections.items()
            if counted[name]
        },
    )


def sections_of(found: Findings, sizes_wh: Mapping[str, Sequence[int]]) -> list[Section]:
    """The sections above the gallery.

    Args:
        found: what the run found.
        sizes_wh: width and height of the images shown, by id.
    """
    sections = [
        _verdict(found.metrics),
        judged_section(found.metrics),
        _pseudo_boxes(found) if len(found.top(found.method).iou) else _without_truth(found, sizes_wh),
        _box_kinds(found),
        _detectors(found.metrics),
        _calibration(found.metrics),
        rounds_section(found.metrics, found.method),
        corrections_section(found.metrics),
        _precision_recall(found),
        _error_kinds(found),
        _proposals(found.metrics),
    ]
    return [section for section in sections if section]


def headline(metrics: Mapping[str, Any]) -> list[Tile]:
    """The figures that are seen first."""
    tiles = []
    ratio = metrics.get("ratio_pseudo_to_ground_truth")
    if ratio is not None:
        text = "of the mAP that ground-truth boxes give, from pseudo-boxes"
        tiles.append(Tile(text, ratio, metrics.get("ratio_interval"), ".0%"))
    for name, figures in metrics.get("detectors", {}).items():
        tiles.append(Tile(f"mAP, trained on {spaced(name)}", figures["map"], figures.get("map_interval")))
    for name, figures in list(metrics.get("localization", {}).items())[:1]:
        tiles.append(Tile(f"CorLoc of {spaced(name)}", figures["corloc"], figures["corloc_interval"]))
    return tiles


def low_confidence_first(firsts: BoxesById) -> list[str]:
    """Image ids, lowest confidence first: those without a box, then by the worst rank of a box within its class.

    Scores of different classes are not compared: a class may score low throughout.
    """
    rows = [(image_id, box) for image_id, boxes in firsts.items() for box in boxes]
    scores = np.array([box.scores[0] for _, box in rows])
    labels = np.array([box.labels[0] for _, box in rows])
    confidence = dict.fromkeys(firsts, -1.0)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        for rank, row in enumerate(of_class[np.argsort(scores[of_class], kind="stable")]):
            image_id, share = rows[row][0], rank / len(of_class)
            confidence[image_id] = share if confidence[image_id] < 0 else min(confidence[image_id], share)
    return sorted(confidence, key=confidence.__getitem__)


def time_section(metrics: Mapping[str, Any]) -> Section | None:
    """Where the time went."""
    seconds = metrics.get("seconds", {})
    if not seconds:
        return None
    total, passes = sum(seconds.values()) or 1.0, metrics.get("forward_passes", {})
    rows = []
    for stage, spent in seconds.items():
        n_passes = passes.get(stage.removeprefix("localize/"))
        rows.append([spaced(stage), f"{spent:.1f}", "" if n_passes is None else f"{n_passes:,}"])
    table = Table(["stage", "seconds", "forward passes"], rows)
    shares = {spaced(stage): spent / total for stage, spent in seconds.items()}
    cards = [Card("Share of the time", shares=shares), Card(table=table, width="double")]
    return Section("time", "Time", "Where the time went", f"{total / 60:.1f} minutes in all.", cards)


def settings_section(config: str) -> Section:
    """The settings and versions that the run was made with."""
    versions = [["Python", platform.python_version()], ["system", platform.platform()]]
    for package in _PACKAGES:
        try:
            versions.append([package, version(package)])
        except PackageNotFoundError:  # run from a checkout that is not installed, or another build of OpenCV
            continue
    cards = [Card(folded=config), Card("Versions", Table([], versions))]
    return Section("settings", "Settings", "How it was made", cards=cards)


def _first_boxes(boxes: BoxesById, labels: Mapping[str, Sequence[int]]) -> dict[str, Boxes]:
    """The first box of each label of each image that the method has, labeled so; as `diagnose_boxes` picks them.

    Of an image without a label it is the first box, labeled -1.
    """
    firsts = {}
    for image_id, of_image in labels.items():
        if image_id in boxes:
            mine, parts = boxes[image_id], []
            for label in of_image or (-1,):
                first = mine[np.flatnonzero((mine.labels == label) | (mine.labels == -1))[:1]]
                parts.append(Boxes(first.xyxy, first.scores, np.full(len(first), label)))
            firsts[image_id] = Boxes.concatenate(parts)
    return firsts


def _pseudo_boxes(found: Findings) -> Section | None:
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


def _verdict(metrics: Mapping[str, Any]) -> Section | None:
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
        f"Seen without ground truth on {verdict['images']} training images: whether boxes stay on their objects when "
        "the image is mirrored or cut, more than boxes of other images would, agree with a heat map's, and whether "
        "occluding them costs more of the class score than occluding as much elsewhere. No measurement of CorLoc."
    )
    return Section("verdict", "Verdict", "How far to trust the boxes", note, cards, [tile])


def _instances(metrics: Mapping[str, Any]) -> list[Card]:
    """How the boxes that training takes stand for all objects, as `instances` in the metrics."""
    names = ("recall", "precision", "boxes_per_image", "objects_per_image")
    rows = [
        [spaced(name), *(number(of.get(key)) for key in names)] for name, of in metrics.get("instances", {}).items()
    ]
    headers = ["method", "recall", "precision", "boxes per image", "objects per image"]
    return [Card("All objects, all boxes that training takes", Table(headers, rows), width="wide")] if rows else []


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


def _box_kinds(found: Findings) -> Section | None:
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


def _detectors(metrics: Mapping[str, Any]) -> Section | None:
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
    note = "VOC's average precision with 11 points, IoU above 0.5."
    return Section("detectors", "Detectors", "Detectors on the test images", note, cards)


def _calibration(metrics: Mapping[str, Any]) -> Section | None:
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


def _precision_recall(found: Findings) -> Section | None:
    counted = {name: found.counted(name) for name in found.detections}
    charts = precision_recall_charts(found.detections, found.truth, counted, found.classes)
    if not charts:
        return None
    cards = [Card(of_class, svg=chart) for of_class, chart in charts.items()]
    key = legend([f"trained on {spaced(name)}" for name in found.detections])
    heading = "Precision and recall of each class"
    return Section("curves", "Precision and recall", heading, cards=cards, svg=key, small=True)


def _error_kinds(found: Findings) -> Section | None:
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


def _proposals(metrics: Mapping[str, Any]) -> Section | None:
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
