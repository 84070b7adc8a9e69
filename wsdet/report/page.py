"""The report of a run: one self-contained HTML page that says whether the pseudo-boxes are good enough, or why not.

Everything is inside the page: style, script, pictures. A content security policy forbids it to ask for anything else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import platform
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from wsdet.boxes import area
from wsdet.metrics.diagnosis import BOX_KINDS, ERROR_KINDS, DiagnosedDetections, diagnose_boxes, diagnose_detections
from wsdet.metrics.localization import TopBoxes, center_correct, top_boxes
from wsdet.report.charts import histogram, legend, line_chart, scatter_chart
from wsdet.report.gallery import gallery
from wsdet.report.precision_recall import precision_recall_charts
from wsdet.storage.files import replacing
from wsdet.types import Boxes, Dataset, InputError

log = logging.getLogger(__name__)

_MARGINS = np.linspace(0, 0.4, 9)
_PACKAGES = (
    "wsdet",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "numpy",
    "scikit-learn",
    "opencv-contrib-python-headless",
)

_SECTIONS = {
    "boxes": "Pseudo-boxes",
    "why-boxes": "Why boxes fail",
    "detectors": "Detectors",
    "curves": "Precision and recall",
    "why-detections": "Why detections fail",
    "proposals": "Proposals",
    "gallery": "Gallery",
    "time": "Time",
    "settings": "Settings",
}
_DOUBTFUL = 50  # images to look at first where there are no true boxes

BoxesById = Mapping[str, Boxes]


def write_report(
    out: Path,
    dataset: Dataset,
    metrics: Mapping[str, Any],
    title: str,
    config: str,
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    localized: Mapping[str, BoxesById],
    detections: Mapping[str, BoxesById],
    max_images: int = 1000,
) -> Path:
    """Writes `<out>/report/index.html` and returns its path. The page stays below 30 MB.

    Args:
        out: the run folder.
        dataset: where the images come from; without true boxes the page shows what can be said without them.
        metrics: what is in `metrics.json`.
        title: what the run is about.
        config: the settings of the run as text.
        train_ids: the training images.
        test_ids: the test images.
        localized: pseudo-boxes by method and image id, best first; the method in question stands first.
        detections: detections by detector and image id.
        max_images: how many images the gallery shows at most, half of each split.
    """
    truth = _readable_truth(dataset, [*train_ids, *test_ids])
    labels = {i: dataset.labels(i) for i in train_ids}
    firsts = {name: _first_boxes(boxes, labels) for name, boxes in localized.items()}
    measured = {i: of_image for i, of_image in labels.items() if i in truth}
    diagnosed = {name: diagnose_boxes(boxes, truth, measured) for name, boxes in localized.items()}
    counted = {name: [i for i in test_ids if i in truth and i in boxes] for name, boxes in detections.items()}
    errors = {
        name: diagnose_detections(boxes, truth, counted[name], len(dataset.classes))
        for name, boxes in detections.items()
        if counted[name]
    }
    kinds: dict[str, Mapping[str, Sequence[str]]] = {name: one.kinds for name, one in errors.items()}
    for name, found in diagnosed.items():
        by_image: dict[str, list[str]] = {}
        for one in found:
            if one.row >= 0:
                by_image.setdefault(one.image_id, []).append(one.kind)
        kinds[f"train/{name}"] = by_image
    main_method = next(iter(localized), "")
    doubtful = [] if measured else _doubtful(firsts.get(main_method, {}))[:_DOUBTFUL]
    views = {f"train/{name}": boxes for name, boxes in firsts.items()} | dict(detections)
    if doubtful:
        views["doubtful"] = {image_id: firsts[main_method][image_id] for image_id in doubtful}
    images = gallery(
        dataset,
        list(dict.fromkeys([*doubtful, *train_ids[: max_images // 2], *test_ids[: max_images // 2]])),
        truth,
        views,
        kinds,
        {name: one.missed for name, one in errors.items()},
    )
    top = _top(localized.get(main_method, {}), truth, measured)
    sections = [
        _headline(metrics),
        _localization(metrics, localized, truth, measured, top),
        _without_truth(firsts.get(main_method, {}), labels, images, dataset.classes) if not len(top.iou) else "",
        _box_kinds(diagnosed.get(main_method, []), dataset.classes, main_method),
        _detectors(metrics),
        _precision_recall(list(detections), precision_recall_charts(detections, truth, counted, dataset.classes)),
        _error_kinds(errors.get("pseudo"), dataset.classes),
        _proposals(metrics),
        _gallery(dataset, firsts, detections, images, len(doubtful)),
        _time(metrics),
        _settings(config),
    ]
    path = out / "report" / "index.html"
    with replacing(path) as beside:
        beside.write_text(_page(title, "".join(sections)), encoding="utf-8")
    log.info("report with %d images, %.1f MB -> %s", len(images), path.stat().st_size / 1e6, path)
    return path


def _readable_truth(dataset: Dataset, ids: Iterable[str]) -> dict[str, Boxes]:
    truth = {}
    for image_id in ids:
        try:
            if image_id in dataset.truth:
                truth[image_id] = dataset.truth[image_id]
        except InputError as error:
            log.warning("%s is shown without true boxes: %s", image_id, error)
    return truth


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


def _top(boxes: BoxesById, truth: BoxesById, labels: Mapping[str, Sequence[int]]) -> TopBoxes:
    """Of the truth, the classes count that an image is labeled with, as in the metrics."""
    labeled = {i: truth[i][np.isin(truth[i].labels, of_image)] for i, of_image in labels.items() if i in boxes}
    return top_boxes(boxes, labeled, list(labeled))


def _headline(metrics: Mapping[str, Any]) -> str:
    tiles = []
    ratio = metrics.get("ratio_pseudo_to_ground_truth")
    if ratio is not None:
        tiles.append(
            ("of the mAP that true boxes give, from pseudo-boxes", ratio, metrics.get("ratio_interval"), ".0%")
        )
    for name, figures in metrics.get("detectors", {}).items():
        tiles.append((f"mAP, trained on {_spaced(name)}", figures["map"], figures.get("map_interval"), ".3f"))
    first = next(iter(metrics.get("localization", {}).items()), None)
    if first:
        tiles.append((f"CorLoc of {_spaced(first[0])}", first[1]["corloc"], first[1]["corloc_interval"], ".3f"))
    images = ", ".join(f"{n:,} images to {split} on" for split, n in metrics.get("images", {}).items())
    return (
        f'<p class="muted">{escape(images)}</p><div class="tiles">' + "".join(_tile(*tile) for tile in tiles) + "</div>"
    )


def _tile(text: str, value: float | None, interval: Sequence[float] | None, form: str) -> str:
    """A figure as text and as a bar from 0 to 1, with the interval that it lies in."""
    if value is None or np.isnan(value):
        return f'<div class="card tile"><b>-</b><span>{escape(text)}</span></div>'
    between, band = "", ""
    if interval:
        low, high = interval
        between = f"<span>95 %: {low:{form}} to {high:{form}}</span>"
        left = min(max(low, 0), 1)
        band = f'<u style="left:{left:.1%};width:{min(high, 1) - left:.1%}"></u>'
    meter = f'<div class="meter"><i style="width:{min(max(value, 0), 1):.1%}"></i>{band}</div>'
    return f'<div class="card tile"><b>{value:{form}}</b>{meter}<span>{escape(text)}</span>{between}</div>'


def _localization(
    metrics: Mapping[str, Any],
    localized: Mapping[str, BoxesById],
    truth: BoxesById,
    labels: Mapping[str, Sequence[int]],
    top: TopBoxes,
) -> str:
    measured = metrics.get("localization", {})
    if not measured:
        return ""
    rows = [
        [
            _spaced(name),
            _number(figures["corloc"]),
            _between(figures.get("corloc_interval")),
            _number(figures["mean_iou"]),
            _number(figures["precision_at"]["1"]),
            _number(figures["recall_at"]["1"]),
            _number(figures["recall_at"]["10"]),
        ]
        for name, figures in measured.items()
    ]
    headers = ["method", "CorLoc", "95 %", "mean IoU", "precision@1", "recall@1", "recall@10"]
    centers = {}
    for name, boxes in localized.items():
        of_method = _top(boxes, truth, labels)
        if len(of_method.iou):
            centers[_spaced(name)] = (_MARGINS.tolist(), [center_correct(of_method, margin) for margin in _MARGINS])
    first, by_class = next((_spaced(name), figures["corloc_by_class"]) for name, figures in measured.items())
    return _section(
        "boxes",
        "Do the pseudo-boxes find the objects?",
        "The first box of each class in each training image. CorLoc: IoU above 0.5 with an object of the class.",
        _card("", _table(headers, rows), "wide"),
        _card(f"CorLoc by class, {first}", _shares(by_class)),
        _card(f"IoU of the first box, {first}", histogram(top.iou.tolist(), "IoU", 0, 1, 0.5)),
        _card("Center of the box inside the object", line_chart(centers, "margin, share of the object", "share")),
    )


def _doubtful(firsts: BoxesById) -> list[str]:
    """Image ids, most doubtful first: those without a box, then by the worst rank of a box among those of its class.

    Scores of different classes are not compared: a class that scores low throughout is not all in doubt.
    """
    rows = [(image_id, box) for image_id, boxes in firsts.items() for box in boxes]
    scores = np.array([box.scores[0] for _, box in rows])
    labels = np.array([box.labels[0] for _, box in rows])
    doubt = dict.fromkeys(firsts, -1.0)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        for rank, row in enumerate(of_class[np.argsort(scores[of_class], kind="stable")]):
            image_id, share = rows[row][0], rank / len(of_class)
            doubt[image_id] = share if doubt[image_id] < 0 else min(doubt[image_id], share)
    return sorted(doubt, key=doubt.__getitem__)


def _without_truth(
    firsts: BoxesById,
    labels: Mapping[str, Sequence[int]],
    images: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
) -> str:
    """There are no true boxes: how many images have boxes, how large these are, and their scores."""
    if not labels:
        return ""
    sizes = {image["id"]: image["wh"] for image in images}
    boxed = {image_id: boxes for image_id, boxes in firsts.items() if len(boxes)}
    tiles = _tile("of the images have a box", len(boxed) / len(labels), None, ".0%")
    cards = []
    seen = {image_id: boxes[:1].xyxy for image_id, boxes in boxed.items() if image_id in sizes}
    if seen:
        covered = [float(area(xyxy)[0]) / np.prod(sizes[i]) for i, xyxy in seen.items()]
        longer = [float((xyxy[0, 2:] - xyxy[0, :2]).max()) for xyxy in seen.values()]
        cards += [
            _card("Share of the image inside the first box", histogram(covered, "share of the image", 0, 1)),
            _card("Longer side of the first box", histogram(longer, "pixels", 0, max(longer))),
        ]
    scores = [float(score) for boxes in boxed.values() for score in boxes.scores]
    if scores:
        cards.append(_card("Score of the first box", histogram(scores, "score", min(scores), max(scores))))
    headers = ["class", "images", "with a box", "median score"]
    cards.append(_card("Each class", _table(headers, _by_class(labels, firsts, classes)), "wide"))
    note = "The data has no true boxes, so nothing here says whether a box is right: look at the most doubtful first."
    return f'<div class="tiles">{tiles}</div>' + _section("boxes", "The pseudo-boxes", note, *cards)


def _by_class(labels: Mapping[str, Sequence[int]], firsts: BoxesById, classes: Sequence[str]) -> list[list[str]]:
    """Rows of class, its images, those of them with a box of it, and the median score of these boxes."""
    rows = []
    for label, name in [*enumerate(classes), (-1, "no label")]:
        ids = [image_id for image_id, of_image in labels.items() if label in (of_image or (-1,))]
        found = [firsts[i].scores[firsts[i].labels == label] for i in ids if i in firsts]
        scores = np.concatenate([np.zeros(0), *found])
        if ids:
            rows.append(
                [name, str(len(ids)), str(len(scores)), _number(float(np.median(scores)) if len(scores) else None)]
            )
    return rows


def _box_kinds(diagnosed: Sequence[Any], classes: Sequence[str], name: str) -> str:
    if not diagnosed:
        return ""
    counts = {label: dict.fromkeys(BOX_KINDS, 0) for label in sorted({one.label for one in diagnosed})}
    for one in diagnosed:
        counts[one.label][one.kind] += 1
    whole = {kind: sum(row[kind] for row in counts.values()) / len(diagnosed) for kind in BOX_KINDS}
    rows = [[classes[label], *(str(row[kind]) for kind in BOX_KINDS)] for label, row in counts.items()]
    return _section(
        "why-boxes",
        f"Why boxes of {_spaced(name)} fail",
        "Part only: inside the object. Too large: holds the object. Group: holds several. Other object: overlaps one "
        "of another class more. Wrong place: none of these.",
        _card("All classes", _shares(whole)),
        _card("Boxes by class", _table(["class", *BOX_KINDS], rows), "double"),
    )


def _detectors(metrics: Mapping[str, Any]) -> str:
    detectors = metrics.get("detectors", {})
    if not detectors:
        return ""
    names = list(dict.fromkeys(name for figures in detectors.values() for name in figures["ap"]))
    first = detectors.get("pseudo", next(iter(detectors.values())))["ap"]
    rows = [
        [of_class, *(_number(figures["ap"].get(of_class)) for figures in detectors.values())]
        for of_class in sorted(names, key=lambda of_class: -first.get(of_class, 0.0))
    ]
    rows.append(["all classes", *(_number(figures["map"]) for figures in detectors.values())])
    cards = [_card("Average precision, best class first", _table(["class", *map(_spaced, detectors)], rows))]
    if {"pseudo", "ground_truth"} <= set(detectors):
        ours, best = detectors["pseudo"]["ap"], detectors["ground_truth"]["ap"]
        points = [(name, best[name], ours[name]) for name in best if name in ours]
        cards.append(_card("Each class", scatter_chart(points, "AP, trained on true boxes", "AP, on pseudo-boxes")))
    note = "VOC's average precision with 11 points, IoU above 0.5."
    return _section("detectors", "Detectors on the test images", note, *cards)


def _precision_recall(names: Sequence[str], charts: Mapping[str, str]) -> str:
    if not charts:
        return ""
    cards = "".join(_card(of_class, chart) for of_class, chart in charts.items())
    return (
        '<h2 id="curves">Precision and recall of each class</h2>'
        f'{legend([f"trained on {_spaced(name)}" for name in names])}<div class="grid small">{cards}</div>'
    )


def _error_kinds(errors: DiagnosedDetections | None, classes: Sequence[str]) -> str:
    if errors is None:
        return ""
    gains = [[kind, str(int(errors.counts[kind].sum())), _number(errors.mean_ap_without[kind])] for kind in ERROR_KINDS]
    rows = [
        [name, *(str(int(errors.counts[kind][label])) for kind in ERROR_KINDS)] for label, name in enumerate(classes)
    ]
    return _section(
        "why-detections",
        "Why detections fail",
        "The detector trained on pseudo-boxes. Every detection counts, however low its score; the last column of the "
        "first table weighs them: mAP if errors of that kind alone were put right.",
        _card(f"Errors, mAP now {_number(errors.mean_ap)}", _table(["kind", "errors", "mAP if put right"], gains)),
        _card("Errors by class", _table(["class", *ERROR_KINDS], rows), "double"),
    )


def _proposals(metrics: Mapping[str, Any]) -> str:
    proposals = metrics.get("proposals", {})
    if not proposals:
        return ""
    cards = []
    for panel in ("recall", "precision"):
        lines = {}
        for name, figures in proposals.items():
            there = {float(n): value for n, value in figures[f"{panel}_at"].items() if value is not None}
            lines[_spaced(name)] = (list(there), list(there.values()))
        cards.append(_card(panel.capitalize(), line_chart(lines, "boxes an image", panel, log_x=True)))
    note = "IoU of 0.5, mean over the classes, test images."
    return _section("proposals", "Do the proposals cover the objects?", note, *cards)


def _gallery(
    dataset: Dataset,
    firsts: Mapping[str, BoxesById],
    detections: Mapping[str, BoxesById],
    images: Sequence[Mapping[str, Any]],
    n_doubtful: int,
) -> str:
    views = [("doubtful", f"the {n_doubtful} most doubtful, most doubtful first")] if n_doubtful else []
    of_training = "training images" if detections else "images"
    views += [(f"train/{name}", f"{of_training}: {_spaced(name)}") for name in firsts]
    views += [(name, f"test images: detector on {_spaced(name)}") for name in detections]
    data = {"classes": list(dataset.classes), "views": views, "images": images}
    # without true boxes no box is of a kind, and none has an IoU
    unless_measured = "" if any(image["truth"] for image in images) else " hidden"
    selects = "".join(
        f'<label{hidden}>{text}<select id="filter-{name}"></select></label>'
        for name, text, hidden in (("view", "boxes", ""), ("class", "class", ""), ("kind", "kind", unless_measured))
    )
    limits = "".join(
        f'<label{unless_measured}>{text}<input id="filter-{name}" type="number" min="0" max="1" step="0.05"></label>'
        for name, text in (("low", "IoU from"), ("high", "to"))
    )
    colors = "".join(
        f'<span><i class="sw" style="color:{color}"></i>{text}</span>'
        for color, text in (
            ("#3ddc6a", "true box"),
            ("#58a6ff", "right"),
            ("#ff9a3c", "other box"),
            ("#ff4d63;border-style:dashed", "missed object"),
        )
    )
    return (
        f'<h2 id="gallery">Look at them</h2><p class="hint"{unless_measured}>{colors}</p>'
        f'<div class="filters">{selects}{limits}'
        '<span class="muted" id="count"></span></div>'
        '<div id="images"></div><div id="more"></div>'
        f'<script type="application/json" id="gallery-data">{_json(data)}</script>'
    )


def _time(metrics: Mapping[str, Any]) -> str:
    seconds = metrics.get("seconds", {})
    if not seconds:
        return ""
    total, passes = sum(seconds.values()) or 1.0, metrics.get("forward_passes", {})
    rows = [
        [
            _spaced(stage),
            f"{spent:.1f}",
            f"{passes[name]:,}" if (name := stage.removeprefix("localize/")) in passes else "",
        ]
        for stage, spent in seconds.items()
    ]
    shares = {_spaced(stage): spent / total for stage, spent in seconds.items()}
    return _section(
        "time",
        "Where the time went",
        f"{total / 60:.1f} minutes in all.",
        _card("Share of the time", _shares(shares)),
        _card("", _table(["stage", "seconds", "pictures through the network"], rows), "double"),
    )


def _settings(config: str) -> str:
    versions = [["Python", platform.python_version()], ["system", platform.platform()]]
    for package in _PACKAGES:
        try:
            versions.append([package, version(package)])
        except PackageNotFoundError:  # run from a checkout that is not installed, or another build of OpenCV
            continue
    settings = f"<details><summary>All settings</summary><pre>{escape(config)}</pre></details>"
    return _section(
        "settings", "How it was made", "", _card("", settings), _card("Versions", _table(["", ""], versions))
    )


def _page(title: str, body: str) -> str:
    here = Path(__file__)
    style = here.with_name("page.css").read_text(encoding="utf-8")
    script = here.with_name("page.js").read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f'<body><main><p class="muted">wsdet</p><h1>{escape(title)}</h1>{_contents(body)}{body}</main>'
        f"<script>{script}</script></body></html>\n"
    )


def _contents(body: str) -> str:
    """Links to those sections that the page has."""
    there = {anchor: text for anchor, text in _SECTIONS.items() if f'<h2 id="{anchor}">' in body}
    return "<nav>" + "".join(f'<a href="#{anchor}">{text}</a>' for anchor, text in there.items()) + "</nav>"


def _section(anchor: str, heading: str, note: str, *cards: str) -> str:
    text = f'<p class="muted">{escape(note)}</p>' if note else ""
    return f'<h2 id="{anchor}">{escape(heading)}</h2>{text}<div class="grid">{"".join(cards)}</div>'


def _card(heading: str, inner: str, width: str = "") -> str:
    """A framed part; `width` is "", "double" or "wide"."""
    return f'<div class="card {width}">{f"<h3>{escape(heading)}</h3>" if heading else ""}{inner}</div>'


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shares(values: Mapping[str, float]) -> str:
    """A table of fractions with a bar each."""
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td>{value:.3f}</td><td class="share"><i style="width:{value:.1%}"></i></td></tr>'
        for name, value in values.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"


def _between(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-"
