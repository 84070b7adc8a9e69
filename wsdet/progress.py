"""A bar on a terminal or in a notebook; a line in the log once a minute where the output goes to a file."""

from __future__ import annotations

import logging
import sys
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)

_SECONDS = 60  # between two lines


class Bar(tqdm):  # type: ignore[type-arg]
    """As tqdm's, which fills a file with every step of the bar."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.is_drawn = sys.stderr.isatty() or "ipykernel" in sys.modules
        if not self.is_drawn:
            options |= {"file": _Nowhere(), "mininterval": _SECONDS, "maxinterval": _SECONDS, "leave": False}
        super().__init__(*args, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draws the bar, or logs where it stands."""
        if self.is_drawn:
            super().display(msg, pos)
        elif self.n > self.initial and msg is None:
            numbers = self.format_dict
            rate, total = numbers["rate"] or 0, f" of {self.total}" if self.total else ""
            left = self.format_interval((self.total - self.n) / rate) if rate and self.total else "?"
            log.info("%s: %d%s, %.3g a second, %s left", self.desc.rstrip(": "), self.n, total, rate, left)


class _Nowhere:
    """A stream that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass
