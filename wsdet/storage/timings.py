"""What each stage of a run has cost so far, added up over the times that the run was resumed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsdet.storage.files import write_json
from wsdet.storage.memory import peak_bytes, reset_peak
from wsdet.storage.untrusted import read_object, shown
from wsdet.types import InputError

log = logging.getLogger(__name__)

clock: Callable[[], float] = time.perf_counter  # scripts that measure on a busy machine take `time.process_time`


class Timings:
    """Costs by stage in a JSON file.

    Args:
        path: the file; made when the first stage ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._costs = _costs_in(path)
        self._open: dict[str, int] = {}  # the most bytes held so far in the stages under way

    @contextmanager
    def stage(self, name: str, passes: Callable[[], int] | None = None) -> Iterator[None]:
        """Adds the seconds in the block, and the growth of the counter `passes`, to the stage `name`.

        `peak_mb` is the most memory that this process, without workers of its own, held in the block in one run.
        """
        start, passes_before = clock(), passes() if passes else 0
        self._note_peak()
        outer = self._open.get(name, 0)
        self._open[name] = 0
        try:
            yield
        finally:
            self._note_peak()
            peak = self._open.pop(name)
            if outer:
                self._open[name] = max(outer, peak)
            cost = self._costs.setdefault(name, {"seconds": 0.0, "forward_passes": 0})
            cost["seconds"] = round(cost["seconds"] + clock() - start, 3)
            cost["forward_passes"] += (passes() if passes else 0) - passes_before
            cost["peak_mb"] = max(cost.get("peak_mb", 0), round(peak / 1e6))
            write_json(self._path, self._costs)

    def _note_peak(self) -> None:
        """Counts what was held until now for the stages under way, and begins to measure anew."""
        peak = peak_bytes()
        self._open = {name: max(before, peak) for name, before in self._open.items()}
        reset_peak()

    def column(self, name: str) -> dict[str, Any]:
        """`seconds`, `forward_passes` or `peak_mb` by stage."""
        return {stage: cost[name] for stage, cost in self._costs.items() if name in cost}


def _costs_in(path: Path) -> dict[str, dict[str, float]]:
    """What was spent before; nothing where that cannot be read, as no result depends on it."""
    try:
        old = path.with_name("ledger.json")  # its name in earlier versions
        found = read_object(path) if path.exists() else read_object(old) if old.exists() else {}
        costs = {str(stage): {str(key): value + 0 for key, value in cost.items()} for stage, cost in found.items()}
        if not all(cost.keys() >= {"seconds", "forward_passes"} for cost in costs.values()):
            raise KeyError("seconds or forward_passes")
        return costs
    except (InputError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: the times of earlier runs are not counted: %s", shown(path), error)
        return {}
