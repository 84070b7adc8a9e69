"""What each stage of a run has cost so far, added up over the times that the run was resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_json


class Ledger:
    """Costs by stage in a JSON file.

    Args:
        path: the file; made when the first stage ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._costs: dict[str, dict[str, float]] = read_json(path) if path.exists() else {}

    @contextmanager
    def stage(self, name: str, passes: Callable[[], int] | None = None) -> Iterator[None]:
        """Adds the seconds in the block, and the growth of the counter `passes`, to the stage `name`."""
        start, passes_before = time.perf_counter(), passes() if passes else 0
        try:
            yield
        finally:
            cost = self._costs.setdefault(name, {"seconds": 0.0, "forward_passes": 0})
            cost["seconds"] = round(cost["seconds"] + time.perf_counter() - start, 3)
            cost["forward_passes"] += (passes() if passes else 0) - passes_before
            write_json(self._path, self._costs)

    def column(self, name: str) -> dict[str, Any]:
        """`seconds` or `forward_passes` by stage."""
        return {stage: cost[name] for stage, cost in self._costs.items()}
