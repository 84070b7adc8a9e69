"""What a localizer saw on its way to its boxes: one PNG per image, drawn from the notes of its dialogue.

A page begins with the boxes that were found; each note adds its panels: heat maps, DAM's guided gradients and blobs,
EISS's shrinking regions and the two curves that stop them, STL's region trees, the proposals that vote. The
ground-truth boxes are dashed, where there are some.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wsdet.boxes import area, iou
from wsdet.questions import Note
from wsdet.report.evidence_maps import mean_over, share_over, tree_places
from wsdet.storage.files import replacing
from wsdet.types import Boxes, Doubles, Floats, Pixels, Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_FOUND, _TRUE = "#ff5a36", "#35e06c"
_TRUE_ON_WHITE = "#0a8f3c"
_HEAT, _STEPS = "inferno", "cool"
_DROPS = "#c4cad3", "#f2a134", "#a80f1f"  # of a tree's branches, from no drop to the highest
_MOST_BOXES = 3  # found boxes of a label that are drawn
_MOST_VOTERS = 20  # proposals that are drawn
_COLUMNS = 3
_PANEL_WIDTH = 4.3  # inches
_PANEL_HEIGHTS = 2.8, 4.6


@dataclass(frozen=True, eq=False)
class Subject:
    """The image that all panels of a page are about.

    Attributes:
        sample: the image.
        found: the boxes that the localizer returned.
        true: the ground-truth boxes; empty where none are known.
        classes: names that labels index.
    """

    sample: Sample
    found: Boxes
    true: Boxes
    classes: Sequence[str]

    def name(self, label: int) -> str:
        """The class of a label as a title shows it."""
        return _plain(self.classes[label]) if label >= 0 else "any class"

    def of_label(self, boxes: Boxes, label: int) -> Boxes:
        """Those of `boxes` that a label's panels show; -1 stands for all labels."""
        return boxes if label < 0 else boxes[(boxes.labels == label) | (boxes.labels < 0)]


Panel = tuple[str, Callable[["Axes"], None]]  # title, what draws


def draw_evidence(
    path: Path, sample: Sample, notes: Sequence[Note], found: Boxes, true: Boxes | None, classes: Sequence[str]
) -> None:
    """Writes the page of one image as a PNG.

    Args:
        path: the file, replaced whole.
        sample: the image.
        notes: what its dialogue noted, in order; a kind that has no panel is passed over.
        found: the boxes that it returned.
        true: the ground-truth boxes, where they are known; for the reader's eyes alone.
        classes: names that labels index.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    subject = Subject(sample, found, Boxes.empty() if true is None else true, classes)
    panels: list[Panel] = [("found", partial(_draw_found, subject))]
    values: dict[tuple[str, int], list[Any]] = {}
    for note in notes:
        if note.name in _PANELS:
            values.setdefault((note.name, _label_of(note.value)), []).append(note.value)
    for (kind, label), of_label in values.items():
        panels += _PANELS[kind](subject, label, of_label)
    columns = min(len(panels), _COLUMNS)
    rows = math.ceil(len(panels) / columns)
    h, w = sample.size_hw
    height = float(np.clip(_PANEL_WIDTH * h / w, *_PANEL_HEIGHTS))
    figure = Figure(figsize=(_PANEL_WIDTH * columns, (height + 0.3) * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    title = f"{_plain(sample.image_id)}     red: found     green: true"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left", color="#555555")
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (title, draw) in zip(every, panels, strict=False):
        draw(ax)
        ax.set_title(title, fontsize=10, loc="left")
    for ax in every[len(panels) :]:
        ax.set_axis_off()
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=100)


def _draw_found(subject: Subject, ax: Axes) -> None:
    _draw_image(ax, subject.sample.pixels)
    _draw_true(ax, subject, -1)
    for label in sorted(set(subject.found.labels.tolist())):
        best = subject.found[subject.found.labels == label][:_MOST_BOXES]
        for rank, box in reversed(list(enumerate(best, 1))):
            text = f"{rank}  {subject.name(label) + '  ' if label >= 0 else ''}{box.scores[0]:.3g}"
            _draw_box(ax, box.xyxy[0], _FOUND, 2.4 if rank == 1 else 1.0, text=text if rank == 1 else str(rank))


def _heat_panels(subject: Subject, label: int, maps: Sequence[Mapping[str, Any]]) -> list[Panel]:
    return [(f"heat map, {subject.name(label)}", partial(_draw_heat, subject, label, value["map"])) for value in maps]


def _window_panels(subject: Subject, label: int, grids: Sequence[Mapping[str, Any]]) -> list[Panel]:
    return [
        (
            f"mean score of the windows, {subject.name(label)}",
            partial(_draw_heat, subject, label, mean_over(value["xyxy"], value["scores"], subject.sample.size_hw)),
        )
        for value in grids
    ]


def _blob_panels(subject: Subject, label: int, notes: Sequence[Mapping[str, Any]]) -> list[Panel]:
    return [(f"blobs, {subject.name(label)}", partial(_draw_blobs, subject, label, value)) for value in notes]


def _guided_panels(subject: Subject, label: int, notes: Sequence[Mapping[str, Any]]) -> list[Panel]:
    title = f"guided gradients of the best neurons, {subject.name(label)}"
    return [(title, partial(_draw_guided, subject, label, value["gradients"])) for value in notes]


def _mask_panels(subject: Subject, label: int, notes: Sequence[Mapping[str, Any]]) -> list[Panel]:
    return [(f"mask, {subject.name(label)}", partial(_draw_mask, subject, label, value["mask"])) for value in notes]


def _search_panels(subject: Subject, label: int, trajectories: Sequence[Any]) -> list[Panel]:
    return [
        panel
        for trajectory in trajectories
        for panel in (
            (f"regions, {subject.name(label)}", partial(_draw_regions, subject, label, trajectory.xyxy)),
            ("score of the region, blackened and cropped", partial(_draw_curves, trajectory)),
        )
    ]


def _tree_panels(subject: Subject, label: int, trees: Sequence[Mapping[str, Any]]) -> list[Panel]:
    xyxy = np.concatenate([tree["xyxy"] for tree in trees])
    drops = np.concatenate([tree["drops"] for tree in trees])
    heat = mean_over(xyxy, drops, subject.sample.size_hw)
    highest = max(float(drops.max(initial=0)), 1e-6)
    panels: list[Panel] = [
        (f"mean drop of the regions, {subject.name(label)}", partial(_draw_heat, subject, label, heat))
    ]
    for number, tree in enumerate(trees, 1):
        title = f"tree {number}: {(len(tree['xyxy']) + 1) // 2} segments"
        panels.append((title, partial(_draw_tree, subject, label, tree, highest)))
    return panels


def _vote_panels(subject: Subject, label: int, notes: Sequence[Mapping[str, Any]]) -> list[Panel]:
    return [
        panel
        for value in notes
        for panel in (
            (
                f"prior weight of the proposals over a pixel, {subject.name(label)}",
                partial(
                    _draw_heat,
                    subject,
                    label,
                    share_over(value["xyxy"], value["prior_weights"], subject.sample.size_hw),
                ),
            ),
            (
                f"the {min(_MOST_VOTERS, len(value['xyxy']))} of {len(value['xyxy'])} proposals by prior weight",
                partial(_draw_voters, subject, label, value["xyxy"], value["prior_weights"]),
            ),
        )
    ]


_PANELS: dict[str, Callable[[Subject, int, Sequence[Any]], list[Panel]]] = {
    "heat map": _heat_panels,
    "windows": _window_panels,
    "guided gradients": _guided_panels,
    "blobs": _blob_panels,
    "mask": _mask_panels,
    "eiss trajectory": _search_panels,
    "region tree": _tree_panels,
    "votes": _vote_panels,
}


def _draw_heat(subject: Subject, label: int, heat: Floats | Doubles, ax: Axes) -> None:
    _draw_image(ax, _gray(subject.sample.pixels))
    drawn = ax.imshow(heat, cmap=_HEAT, alpha=0.65)
    drawn.figure.colorbar(drawn, ax=ax, fraction=0.04, pad=0.02).ax.tick_params(labelsize=7)
    _draw_true(ax, subject, label)
    _draw_best(ax, subject, label)


def _draw_guided(subject: Subject, label: int, gradients: Floats, ax: Axes) -> None:
    """(s, s, 3) gradients at the network's input, stretched to the image; gray is 0."""
    h, w = subject.sample.size_hw
    largest = max(float(np.abs(gradients).max()), 1e-12)
    ax.imshow(0.5 + gradients / (2 * largest), extent=(-0.5, w - 0.5, h - 0.5, -0.5), aspect="equal")
    ax.set_axis_off()
    _draw_true(ax, subject, label)
    _draw_best(ax, subject, label)


def _draw_blobs(subject: Subject, label: int, blobs: Mapping[str, Any], ax: Axes) -> None:
    """Outlines of all blobs, best first in the legend; those outside the union are thin."""
    from matplotlib import colormaps

    _draw_image(ax, _gray(subject.sample.pixels))
    united, colors = set(np.asarray(blobs["united"]).tolist()), colormaps["tab10"]
    h, w = subject.sample.size_hw
    extent = (-0.5, w + 0.5, -0.5, h + 0.5)
    for rank, i in enumerate(np.argsort(-blobs["scores"], kind="stable")):
        color = colors(rank % 10) if int(i) in united else "#dddddd"
        width = 2.0 if int(i) in united else 0.9
        # a margin, so that outlines close at the border too; a value stands for the center of its pixel
        ax.contour(np.pad(blobs["blobs"][i], 1), [0.5], colors=[color], linewidths=width, extent=extent)
        score = f"{blobs['scores'][i]:.3g}"
        ax.plot([], [], color=color, linewidth=width, label=score if int(i) in united else f"{score}, left out")
    _draw_true(ax, subject, label)
    _draw_best(ax, subject, label)
    ax.legend(fontsize=6.5, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0)


def _draw_mask(subject: Subject, label: int, mask: npt.NDArray[np.bool_], ax: Axes) -> None:
    dimmed = (_gray(subject.sample.pixels) * 0.35).astype(np.uint8)
    _draw_image(ax, np.where(mask[..., None], subject.sample.pixels, dimmed))
    _draw_true(ax, subject, label)
    _draw_best(ax, subject, label)


def _draw_regions(subject: Subject, label: int, xyxy: Floats, ax: Axes) -> None:
    from matplotlib import colormaps

    _draw_image(ax, subject.sample.pixels)
    for step, corners in enumerate(xyxy):
        color = colormaps[_STEPS](step / max(len(xyxy) - 1, 1))
        ends = step in (0, len(xyxy) - 1)
        _draw_box(ax, corners, color, 2.0 if ends else 1.0, text=str(step + 1) if ends else "")
    _draw_true(ax, subject, label)


def _draw_curves(trajectory: Any, ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    steps = np.arange(1, len(trajectory.xyxy) + 1)
    ax.axhline(trajectory.score, color="#999999", linewidth=1, linestyle=":", label="whole image")
    ax.plot(steps, trajectory.cropped, color="#1f77b4", marker="o", markersize=4, label="cropped")
    ax.plot(steps, trajectory.blackened, color="#222222", marker="s", markersize=4, label="blackened")
    ax.set(xlabel="iteration", xlim=(0.5, len(steps) + 0.5), ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.legend(fontsize=8, frameon=False)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def _draw_voters(subject: Subject, label: int, xyxy: Floats, prior_weights: Floats, ax: Axes) -> None:
    """The proposals of highest prior weight; the box of highest expected IoU need not be among them."""
    from matplotlib import colormaps

    _draw_image(ax, _gray(subject.sample.pixels))
    highest = max(float(prior_weights.max(initial=0)), 1e-6)
    for i in np.argsort(-prior_weights, kind="stable")[:_MOST_VOTERS][::-1]:
        _draw_box(ax, xyxy[i], colormaps[_HEAT](0.3 + 0.6 * float(prior_weights[i]) / highest), 1.0)
    _draw_true(ax, subject, label)
    _draw_best(ax, subject, label)


def _draw_tree(subject: Subject, label: int, tree: Mapping[str, Any], highest: float, ax: Axes) -> None:
    """The merges from segments (below) to the whole (top); the higher, the larger the region, the redder its drop."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    xyxy, drops, merges = tree["xyxy"], tree["drops"], tree["merges"]
    h, w = subject.sample.size_hw
    x, y = tree_places(len(xyxy), merges), np.sqrt(area(xyxy) / (h * w))
    lines, values = [], []
    for parent, children in enumerate(merges, len(xyxy) - len(merges)):
        for child in children:
            lines.append([(x[child], y[child]), (x[child], y[parent]), (x[parent], y[parent])])
            values.append(drops[child])
    shade = LinearSegmentedColormap.from_list("drops", _DROPS)
    order = np.argsort(values, kind="stable")  # high drops on top
    edges = LineCollection([lines[i] for i in order], cmap=shade, norm=Normalize(0, highest), linewidths=1.1)
    edges.set_array(np.array(values)[order] if values else np.zeros(0))
    ax.add_collection(edges)
    dots = ax.scatter(x, y, c=drops, cmap=shade, norm=Normalize(0, highest), s=8, zorder=3)
    ax.spines[["top", "right"]].set_visible(False)
    dots.figure.colorbar(dots, ax=ax, fraction=0.04, pad=0.02, label="drop").ax.tick_params(labelsize=7)
    _mark_boxes(ax, subject, label, xyxy, x, y)
    ax.set(ylim=(0, 1.05), xlim=(-1, max(len(xyxy) - len(merges), 1)), xticks=[], ylabel="region's side / image's")


def _mark_boxes(ax: Axes, subject: Subject, label: int, xyxy: Floats, x: Doubles, y: Doubles) -> None:
    """Which regions of a tree are the found boxes, and which comes closest to a true one."""
    best = subject.of_label(subject.found, label)[:_MOST_BOXES]
    for rank, corners in enumerate(best.xyxy, 1):
        same = np.flatnonzero(np.abs(xyxy - corners).max(axis=1) < 0.5)
        for region in same[:1]:
            ax.plot(x[region], y[region], "o", markersize=11, mfc="none", mec=_FOUND, mew=1.8, zorder=4)
            ax.annotate(str(rank), (x[region], y[region]), (7, 4), textcoords="offset points", fontsize=9)
    true = subject.of_label(subject.true, label)
    if len(true):
        overlaps = iou(xyxy, true.xyxy).max(axis=1)
        region = int(overlaps.argmax())
        ax.plot(x[region], y[region], "D", markersize=9, mfc="none", mec=_TRUE_ON_WHITE, mew=1.8, zorder=4)
        ax.annotate(
            f"IoU {overlaps[region]:.2f}",
            (x[region], y[region]),
            (7, -11),
            textcoords="offset points",
            color=_TRUE_ON_WHITE,
            fontsize=8,
        )


def _draw_image(ax: Axes, pixels: Pixels) -> None:
    h, w = pixels.shape[:2]
    ax.imshow(pixels, extent=(0, w, h, 0))
    ax.set_axis_off()


def _draw_true(ax: Axes, subject: Subject, label: int) -> None:
    for corners in subject.of_label(subject.true, label).xyxy:
        _draw_box(ax, corners, _TRUE, 1.6, dashed=True)


def _draw_best(ax: Axes, subject: Subject, label: int) -> None:
    for corners in subject.of_label(subject.found, label).xyxy[:1]:
        _draw_box(ax, corners, _FOUND, 2.0)


def _draw_box(ax: Axes, corners: Floats, color: Any, width: float, text: str = "", dashed: bool = False) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = corners.tolist()
    style = {"edgecolor": color, "facecolor": "none", "linewidth": width, "linestyle": "--" if dashed else "-"}
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))
    if text:
        background = {"facecolor": color, "edgecolor": "none", "pad": 1.2}
        ax.text(x1, y1, text, fontsize=7, color="black", va="top", ha="left", bbox=background, clip_on=True)


def _gray(pixels: Pixels) -> Pixels:
    mean = pixels.mean(axis=2, keepdims=True)
    return np.broadcast_to(mean, pixels.shape).astype(np.uint8)


def _label_of(value: Any) -> int:
    return int(value["label"] if isinstance(value, Mapping) else value.label)


def _plain(name: str) -> str:
    """A name as a title shows it: "$" would start a formula."""
    return name.replace("$", r"\$")
