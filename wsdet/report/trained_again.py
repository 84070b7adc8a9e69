"""What people and further rounds brought: sections on judgments, corrections and self-training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsdet.report.charts import line_chart
from wsdet.report.sections import Card, Section, Table, Tile, number, spaced


def judged_section(metrics: Mapping[str, Any]) -> Section | None:
    """What a person said of some of the boxes; see `wsdet.stages.review_page`."""
    judged = metrics.get("judged")
    if not judged:
        return None
    tile = Tile("CorLoc as a person judged it", judged["corloc"], judged["corloc_interval"], ".2f")
    note = f"{judged['correct']} of {judged['judged']} randomly sampled boxes are correct. The interval is Wilson's."
    return Section("judged", "Judged", "What a person says of the boxes", note, tiles=[tile])


def rounds_section(metrics: Mapping[str, Any], method: str) -> Section | None:
    """CorLoc of the boxes and mAP of the detector, round by round; 0 is the localizer's own boxes."""
    rounds = metrics.get("rounds")
    if not rounds:
        return None
    first = {
        "localization": metrics.get("localization", {}).get(method, {}),
        "detector": metrics.get("detectors", {}).get("pseudo", {}),
    }
    every = [first, *rounds]
    corloc = [one.get("localization", {}).get("corloc") for one in every]
    maps = [one.get("detector", {}).get("map") for one in every]
    rows = [
        [str(n), str(one.get("boxes", "-")), number(corloc[n]), number(maps[n]),
         number(one.get("agreement")), number(one.get("class_divergence"))]
        for n, one in enumerate(every)
    ]  # fmt: skip
    headers = ["round", "boxes", "CorLoc", "mAP", "agreement", "class divergence"]
    lines = {name: _line(dict(enumerate(values))) for name, values in (("CorLoc", corloc), ("mAP", maps))}
    ended = rounds[-1].get("detector") is None and maps[0] is not None
    why = " The last round's boxes agreed so well that no detector was trained on them." if ended else ""
    note = (
        "Each round's boxes are those that the detector before found in the training images. Agreement: mean IoU of a "
        f"round's first boxes with those before; near 1 nothing changes any more, and the rounds stop.{why}"
    )
    cards = [Card(table=Table(headers, rows), width="double")]
    chart = {name: line for name, line in lines.items() if line[0]}
    cards += [Card("By round", svg=line_chart(chart, "round", "value"))] if chart else []
    return Section("rounds", "Rounds", "Rounds of self-training", note, cards)


def corrections_section(metrics: Mapping[str, Any]) -> Section | None:
    """What a person corrected, and mAP against the number of images corrected."""
    corrected = metrics.get("corrections")
    if not corrected:
        return None
    cards = []
    changes = corrected.get("changes")
    if changes:
        rows = [["images", str(changes["images"])], ["of them verified unchanged", str(changes["verified"])]]
        rows += [[f"boxes {name}", str(n)] for name, n in changes.items() if name not in ("images", "verified")]
        cards.append(Card("Corrected in this run", Table([], rows)))
    curve = {int(n): value for n, value in corrected.get("curve", [])}
    if curve:
        detectors = metrics.get("detectors", {})
        ends = [min(curve), max(curve)]
        levels = {spaced(name): detectors[name]["map"] for name in ("pseudo", "ground_truth") if name in detectors}
        lines = {"corrected": _line(curve)} | {
            name: _line(dict.fromkeys(ends, level)) for name, level in levels.items()
        }
        cards.append(Card("mAP on the test images", svg=line_chart(lines, "images corrected", "mAP")))
        table = Table(["images corrected", "mAP"], [[str(n), number(value)] for n, value in sorted(curve.items())])
        cards.append(Card(table=table))
    note = f"{corrected['images']} training images count as a person left them, the others have pseudo-boxes."
    return Section("corrections", "Corrections", "What corrections brought", note, cards)


def _line(values: Mapping[int, float | None]) -> tuple[list[float], list[float]]:
    known = [(float(n), value) for n, value in sorted(values.items()) if value is not None]
    return [n for n, _ in known], [value for _, value in known]
