"""What a report says, as data: sections of cards with figures, tables and charts. How it looks is `page.html.j2`.

A section is a function from what was measured to a `Section`, or None where there is nothing to say. To add one, write
it and name it in `sections_of`.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from wsdet.report.box_sections import box_kinds_section, pseudo_boxes_section, verdict_section
from wsdet.report.detector_sections import (
    calibration_section,
    detectors_section,
    error_kinds_section,
    precision_recall_section,
    proposals_section,
)
from wsdet.report.findings import Findings
from wsdet.report.sections import Card, Section, Table, Tile, spaced
from wsdet.report.trained_again import corrections_section, judged_section, rounds_section

_PACKAGES = (
    *("wsdet", "torch", "torchvision", "pytorch-lightning", "numpy", "scikit-learn"),
    "opencv-contrib-python-headless",
)


def sections_of(found: Findings, sizes_wh: Mapping[str, Sequence[int]]) -> list[Section]:
    """The sections above the gallery.

    Args:
        found: what the run found.
        sizes_wh: width and height of the images shown, by id.
    """
    sections = [
        verdict_section(found.metrics),
        judged_section(found.metrics),
        pseudo_boxes_section(found, sizes_wh),
        box_kinds_section(found),
        detectors_section(found.metrics),
        calibration_section(found.metrics),
        rounds_section(found.metrics, found.method),
        corrections_section(found.metrics),
        precision_recall_section(found),
        error_kinds_section(found),
        proposals_section(found.metrics),
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
