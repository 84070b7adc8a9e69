"""Recall and precision against the number of boxes: as in the STL paper's Figure 3."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.storage.files import replacing
from wsdet.storage.untrusted import read_json
from wsdet.types import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[list[int], list[float]]
Curves = dict[str, dict[str, Curve]]  # "recall" or "precision" -> name -> (numbers of boxes, values)

_PANELS = ("recall", "precision")


def our_curves(proposals: Mapping[str, Mapping[str, Any]]) -> Curves:
    """The curves in the `proposals` part of `metrics.json`."""
    return {
        panel: {
            name: ([int(n) for n in figures[f"{panel}_at"]], list(figures[f"{panel}_at"].values()))
            for name, figures in proposals.items()
        }
        for panel in _PANELS
    }


def published_curves(path: Path | str, image_set: str) -> Curves:
    """The curves that the authors published for a set of images, such as "PASCAL2007_TEST".

    Raises:
        InputError: the file is not one of published curves, or has no such set.
    """
    content = read_json(Path(path))
    curves = content.get("curves") if isinstance(content, dict) else None
    if not isinstance(curves, dict):
        raise InputError(f"{path} has no curves; published= must be the file of the STL paper's published figures")
    found: Curves = {}
    for panel in _PANELS:
        key = f"{image_set}_mean_{panel}"
        if key not in curves:
            sets = sorted({name.split("_mean_")[0] for name in curves})
            raise InputError(f"{path} has no curves of published_set={image_set}; it has {', '.join(sets) or 'none'}")
        found[panel] = {name: (curve["n"], curve["value"]) for name, curve in curves[key].items()}
    return found


def draw_proposal_curves(path: Path, ours: Curves, published: Curves | None = None, published_title: str = "") -> None:
    """Writes a PNG of two panels, our curves in front of the published ones.

    Args:
        path: the PNG file.
        ours: drawn strong.
        published: drawn thin behind.
        published_title: heading of the published curves in the legend.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    for ax, panel in zip(axes, _PANELS, strict=True):
        _draw_panel(ax, panel, ours[panel], published[panel] if published else {}, published_title)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=150)


def _draw_panel(ax: Axes, panel: str, ours: dict[str, Curve], published: dict[str, Curve], title: str) -> None:
    from matplotlib import colormaps

    strong, thin, styles = colormaps["tab10"], colormaps["Dark2"], ("-", "--", ":", "-.")
    for i, (name, (n, values)) in enumerate(ours.items()):
        ax.plot(n, values, color=strong(i % 10), linewidth=2.4, marker="o", markersize=4, label=_plain(name), zorder=3)
    if published:
        ax.plot([], [], " ", label=f"\n{title}")
    for i, (name, (n, values)) in enumerate(published.items()):
        ax.plot(n, values, styles[i % 4], color=thin(i % 8), linewidth=1, alpha=0.8, label=_plain(name))
    ax.set(xscale="log", xlabel="boxes per image", ylabel=f"mean {panel} per class", ylim=(0, None))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def _plain(name: str) -> str:
    """A name as a legend shows it: "$" would start a formula and a leading "_" would hide it."""
    return name.replace("$", r"\$").lstrip("_") or "-"
