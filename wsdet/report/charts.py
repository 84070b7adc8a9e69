"""Small charts as inline SVG text: their colors come from the page's style, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_W, _H = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 12, 40
_N_COLORS = 6
_MAX_TICKS = 8


def line_chart(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    log_x: bool = False,
    x_range: tuple[float, float] | None = None,
    with_legend: bool = True,
) -> str:
    """Lines by name over one x axis; values in [0, 1] on the y axis.

    Args:
        lines: (x values, y values) by name; with `log_x`, every x > 0.
        x_label: text under the x axis.
        y_label: text beside the y axis.
        log_x: a logarithmic x axis.
        x_range: ends of the x axis; None: those of the lines.
        with_legend: put the names above; else `legend` gives them for several charts.
    """
    every = [x for xs, _ in lines.values() for x in xs] or [1.0]
    low, high = x_range or (min(every), max(every))
    marks = (
        [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
        if log_x
        else sorted(set(every))  # rounds, numbers of images
        if len(set(every)) <= _MAX_TICKS and all(float(x).is_integer() for x in every)
        else [low + (high - low) * step / 4 for step in range(5)]
    )

    def x_at(x: float) -> float:
        share = (math.log(x / low) / (math.log(high / low) or 1)) if log_x else (x - low) / ((high - low) or 1)
        return _LEFT + share * (_W - _LEFT - _RIGHT)

    paths = []
    for number, (xs, ys) in enumerate(lines.values()):
        points = " ".join(f"{x_at(x):.1f},{_y_at(y):.1f}" for x, y in zip(xs, ys, strict=True))
        paths.append(f'<polyline class="line c{number % _N_COLORS}" points="{points}"/>')
    ticks = {f"{mark:.4g}": x_at(mark) for mark in marks if low <= mark <= high}
    return (legend(list(lines)) if with_legend else "") + _frame("".join(paths), ticks, x_label, y_label)


def legend(names: Sequence[str]) -> str:
    """The names of a chart's lines in their colors."""
    entries = (f'<span class="key c{i % _N_COLORS}">{escape(name)}</span>' for i, name in enumerate(names))
    return f'<p class="legend">{"".join(entries)}</p>'


def scatter_chart(points: Sequence[tuple[str, float, float]], x_label: str, y_label: str) -> str:
    """Named points with both values in [0, 1], and the diagonal; a point's name shows when it is pointed at."""
    x0, x1 = _LEFT, _W - _RIGHT
    dots = [f'<line class="diagonal" x1="{x0}" y1="{_y_at(0)}" x2="{x1}" y2="{_y_at(1)}"/>']
    for name, x, y in points:
        at, text = x0 + x * (x1 - x0), escape(f"{name}: {x:.3f}, {y:.3f}")
        dots.append(f'<circle class="dot" cx="{at:.1f}" cy="{_y_at(y):.1f}" r="4.5"><title>{text}</title></circle>')
    ticks = {f"{step / 4:.2g}": x0 + step / 4 * (x1 - x0) for step in range(5)}
    return _frame("".join(dots), ticks, x_label, y_label)


def histogram(values: Sequence[float], x_label: str, low: float, high: float, mark: float | None = None) -> str:
    """Shares of the values in 20 equal bins from `low` to `high`; those outside count in the first and last.

    Args:
        values: what is counted.
        x_label: text under the x axis.
        low: where the bins begin.
        high: where they end.
        mark: a value at which a vertical line stands.
    """
    n_bins, width = 20, (high - low) or 1.0
    counts = [0] * n_bins
    for value in values:
        counts[min(max(int((value - low) / width * n_bins), 0), n_bins - 1)] += 1
    tallest, step = 4 * math.ceil(max(*counts, 1) / 4), (_W - _LEFT - _RIGHT) / n_bins
    bars = []
    for place, count in enumerate(counts):
        top = _y_at(count / tallest)
        left, right = low + place * width / n_bins, low + (place + 1) * width / n_bins
        bars.append(
            f'<rect class="bar" x="{_LEFT + place * step + 1:.1f}" y="{top:.1f}" width="{step - 2:.1f}" '
            f'height="{_y_at(0) - top:.1f}"><title>{left:.3g} to {right:.3g}: {count}</title></rect>'
        )
    if mark is not None:
        at = _LEFT + (mark - low) / width * (_W - _LEFT - _RIGHT)
        bars.append(f'<line class="diagonal" x1="{at:.1f}" y1="{_y_at(0)}" x2="{at:.1f}" y2="{_y_at(1)}"/>')
    ticks = {f"{low + width * k / 4:.3g}": _LEFT + (_W - _LEFT - _RIGHT) * k / 4 for k in range(5)}
    return _frame("".join(bars), ticks, x_label, "count", tallest)


def _y_at(share: float) -> float:
    return round(_H - _BOTTOM - share * (_H - _TOP - _BOTTOM), 1)


def _frame(inner: str, ticks: Mapping[str, float], x_label: str, y_label: str, top: float = 1.0) -> str:
    parts = []
    for step in range(5):
        y = _y_at(step / 4)
        parts.append(f'<line class="rule" x1="{_LEFT}" y1="{y}" x2="{_W - _RIGHT}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{top * step / 4:.4g}</text>')
    for text, x in ticks.items():
        parts.append(f'<text x="{x:.1f}" y="{_H - _BOTTOM + 16}" text-anchor="middle">{escape(text)}</text>')
    middle = (_LEFT + _W - _RIGHT) / 2
    parts.append(f'<text class="axis" x="{middle}" y="{_H - 6}" text-anchor="middle">{escape(x_label)}</text>')
    y = (_TOP + _H - _BOTTOM) / 2
    parts.append(
        f'<text class="axis" transform="translate(11 {y}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )
    return f'<svg viewBox="0 0 {_W} {_H}" role="img">{"".join(parts)}{inner}</svg>'
