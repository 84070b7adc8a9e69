"""The report of a run: one self-contained HTML page that says whether the pseudo-boxes are good enough, or why not.

What it says is `wsdet.report.contents`, how it looks `page.html.j2`, `page.css` and `page.js`. Everything is inside the
page: style, script, images. A content security policy forbids it to ask for anything else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from wsdet.report import contents
from wsdet.report.findings import BoxesById, Findings, findings, low_confidence_first
from wsdet.report.gallery import gallery
from wsdet.report.judgments import read_judged
from wsdet.report.sections import Section, spaced
from wsdet.storage.files import replacing
from wsdet.types import Dataset, readable

log = logging.getLogger(__name__)

_LOW_CONFIDENCE = 50  # images to look at first where there is no ground truth
_COLORS = (
    ("#3ddc6a", "ground-truth box"),
    ("#58a6ff", "correct"),
    ("#ff9a3c", "other box"),
    ("#ff4d63;border-style:dashed", "missed object"),
)


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
        dataset: where the images come from; without ground truth the page shows what can be said without it.
        metrics: what is in `metrics.json`.
        title: what the run is about.
        config: the settings of the run as text.
        train_ids: the training images.
        test_ids: the test images.
        localized: pseudo-boxes by method and image id, best first; the method in question stands first.
        detections: detections by detector and image id.
        max_images: maximum number of images in the gallery, half of each split.
    """
    if (out / "judged.json").exists():
        metrics = {**metrics, "judged": read_judged(out / "judged.json")}
    truth = dict(readable(dataset.truth, [*train_ids, *test_ids], "is shown without ground-truth boxes"))
    found = findings(dataset, metrics, truth, train_ids, test_ids, localized, detections)
    firsts = found.firsts.get(found.method, {})
    first_look = [] if found.measured else low_confidence_first(firsts)[:_LOW_CONFIDENCE]
    shown = [*first_look, *train_ids[: max_images // 2], *test_ids[: max_images // 2]]
    images = _images(dataset, list(dict.fromkeys(shown)), found, first_look)
    page = _rendered(
        title=title,
        tiles=contents.headline(metrics),
        images=", ".join(f"{n:,} images to {split} on" for split, n in metrics.get("images", {}).items()),
        sections=contents.sections_of(found, {image["id"]: image["wh"] for image in images}),
        gallery=Section("gallery", "Gallery", "Look at them"),
        after=[one for one in (contents.time_section(metrics), contents.settings_section(config)) if one],
        is_measured=any(image["truth"] for image in images),
        colors=_COLORS,
        data=_json({"classes": list(dataset.classes), "views": _views(found, len(first_look)), "images": images}),
    )
    path = out / "report" / "index.html"
    with replacing(path) as beside:
        beside.write_text(page, encoding="utf-8")
    log.info("report with %d images, %.1f MB -> %s", len(images), path.stat().st_size / 1e6, path)
    return path


def _images(dataset: Dataset, ids: Sequence[str], found: Findings, first_look: Sequence[str]) -> list[dict[str, Any]]:
    """The images of the gallery with the boxes of every view."""
    kinds: dict[str, Mapping[str, Sequence[str]]] = {name: one.kinds for name, one in found.errors.items()}
    for name, diagnosed in found.diagnosed.items():
        by_image: dict[str, list[str]] = {}
        for one in diagnosed:
            if one.row >= 0:
                by_image.setdefault(one.image_id, []).append(one.kind)
        kinds[f"train/{name}"] = by_image
    views = {f"train/{name}": boxes for name, boxes in found.firsts.items()} | dict(found.detections)
    if first_look:
        views["low_confidence"] = {image_id: found.firsts[found.method][image_id] for image_id in first_look}
    missed = {name: one.missed for name, one in found.errors.items()}
    return gallery(dataset, ids, found.truth, views, kinds, missed)


def _views(found: Findings, n_first_look: int) -> list[tuple[str, str]]:
    """(key, text) of what the gallery can show."""
    views = [("low_confidence", f"the {n_first_look} of lowest confidence, lowest first")] if n_first_look else []
    of_training = "training images" if found.detections else "images"
    views += [(f"train/{name}", f"{of_training}: {spaced(name)}") for name in found.firsts]
    return views + [(name, f"test images: detector on {spaced(name)}") for name in found.detections]


def _rendered(**values: Any) -> str:
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"percent": lambda value: f"{_clipped(value):.1%}", "clipped": _clipped, "figure": _figure}
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    template = environment.get_template("page.html.j2")
    return template.render(style=style, script=script, policy=policy, **values)


def _clipped(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:{form}}"


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
