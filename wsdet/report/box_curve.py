"""CorLoc against the number of boxes that a regressor learned from."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from wsdet.storage.files import replacing


def draw_box_curve(path: Path, figures: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> None:
    """Writes a PNG of a line for each method, with its 95 % interval as a band.

    Args:
        path: the PNG file.
        figures: by method and number of boxes, the contract's `localization` figures; what has no CorLoc is left out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    for style, (method, by_n) in zip(cycle(("-", "--", ":")), figures.items()):  # what lies on another line shows
        measured = {n: by_n[n] for n in sorted(by_n) if by_n[n]["corloc"] is not None}
        corloc = [of_one["corloc"] for of_one in measured.values()]
        name = method.replace("_", " ")
        (line,) = ax.plot(list(measured), corloc, style, marker="o", markersize=4, linewidth=2, label=name)
        bands = {n: of_one["corloc_interval"] for n, of_one in measured.items() if of_one["corloc_interval"]}
        low, high = ([band[side] for band in bands.values()] for side in (0, 1))
        ax.fill_between(list(bands), low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    ax.set(xscale="log", xlabel="boxes to learn from", ylabel="CorLoc")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=150)
