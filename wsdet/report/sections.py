"""What a report is made of: sections of cards with figures, tables and charts, and how figures are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tile:
    """A figure that is seen first, with a bar from 0 to 1.

    Attributes:
        text: what it is.
        value: the figure; None where it could not be measured.
        interval: its 95 % interval.
        form: how numbers are written, as in an f-string.
    """

    text: str
    value: float | None
    interval: Sequence[float] | None = None
    form: str = ".3f"


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        headers: of the columns; empty: none.
        rows: one list of cells for each row.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Card:
    """A framed part of a section: one of its attributes but `heading` and `width` is given.

    Attributes:
        heading: above it; may be empty.
        table: a table.
        shares: fractions by name, with a bar each.
        svg: a chart, as `wsdet.report.charts` draws it: the only text that is not escaped.
        folded: text that is shown when asked for.
        width: "", "double" or "wide".
    """

    heading: str = ""
    table: Table | None = None
    shares: Mapping[str, float] | None = None
    svg: str = ""
    folded: str = ""
    width: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: its address within the page.
        title: in the list of contents.
        heading: a question that it answers, or what it shows.
        note: how to read it.
        cards: side by side.
        tiles: above the cards.
        svg: a legend for all cards.
        small: whether cards are small.
    """

    anchor: str
    title: str
    heading: str
    note: str = ""
    cards: Sequence[Card] = ()
    tiles: Sequence[Tile] = ()
    svg: str = ""
    small: bool = False


def spaced(name: str) -> str:
    """A name as it is read."""
    return name.replace("_", " ")


def number(value: float | None) -> str:
    """A fraction, or a dash where it could not be measured."""
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"


def between(interval: Sequence[float] | None) -> str:
    """An interval, or a dash."""
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-"
