"""What a program says of its cost: at its start what is expected, at its end what it took."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsdet.cli.build import settings_of
from wsdet.stages.costs import REST, Kind, forecast, keep
from wsdet.stages.plan import Stage, threads, workers_of
from wsdet.storage.amounts import amount, duration
from wsdet.storage.memory import highest_bytes
from wsdet.storage.provenance import digest, flatten

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.stages.run import Run

log = logging.getLogger(__name__)

# settings that change nothing of what an image costs; how many images there are is counted, and workers are
_FREE = {
    *("out", "shared", "model", "run", "images", "limit", "seed", "strict", "shard", "prepare", "trust"),
    *("workers", "runner", "logger", "report", "visualize", "draw", "names"),
}
_FREE_OF_DATA = {"data.root", "data.n_train", "data.n_test"}


@contextmanager
def planned(
    cfg: DictConfig,
    program: str,
    run: Run | None = None,
    counts: tuple[int, int] | None = None,
    *,
    rest: str = REST,
    is_new: bool | None = None,
) -> Iterator[None]:
    """Says before the block what the program will take, after it what it took, and keeps that for the next time.

    Args:
        cfg: of the program.
        program: its name.
        run: whose timings tell the stages; None: it has none.
        counts: training and test images that the program goes over; None: those of `run`, or of its shard.
        rest: name of the stage that takes what the timings do not have.
        is_new: whether all of it is done now; None: unless `run` has results of other runs.
    """
    spent = run.timings.column("seconds") if run else {}
    kind, counts = kind_of(cfg, program), counts or _counts_of(run)

    def workers(stage: str) -> int:
        return workers_of(stage, run) if run else 1

    found = forecast(kind, counts, workers)
    left = found and found[0].without(spent)
    if found is None:
        log.info("planned: not known, as no run like it was measured; `wsdet doctor plan` rehearses experiments")
    else:
        before = f"{duration(sum(spent.values()))} were spent before, left are " if spent else ""
        log.info("planned: %s%s (%s)", before, left, found[1])
    start = time.perf_counter()
    yield
    took = time.perf_counter() - start
    log.info("took %s, %s of memory; planned: %s", duration(took), amount(highest_bytes()), left or "not known")
    is_new = run is None or run.shared == run.out if is_new is None else is_new
    if is_new and not spent:
        keep(kind, counts, _stages(run, took, rest), workers)


def _counts_of(run: Run | None) -> tuple[int, int]:
    if run is None:
        return 0, 0
    of = run.shard.of if run.shard else 1
    return -(-len(run.train_ids) // of), -(-len(run.test_ids) // of)


def _stages(run: Run | None, took: float, rest: str) -> list[Stage]:
    """What a whole run took, by stage."""
    seconds, peaks = ({}, {}) if run is None else (run.timings.column("seconds"), run.timings.column("peak_mb"))
    stages = [Stage(name, value, 1e6 * peaks.get(name, 0.0)) for name, value in seconds.items()]
    return [*stages, Stage(rest, max(0.0, took - sum(seconds.values())), float(highest_bytes()))]


def kind_of(cfg: DictConfig, program: str) -> Kind:
    """What the cost of a run depends on."""
    parts = {part: str(cfg.names[part]) for part in cfg.get("names", ())}
    if "detector" in cfg:
        parts["detector"] = str(cfg.detector["_target_"]).rpartition(".")[2]
    if "data" not in parts:  # a program that needs no name for it
        parts["data"] = str(cfg.data["_target_"]).rpartition(".")[2].lower() if "data" in cfg else "images"
    given = flatten(settings_of(cfg, *(set(cfg) - _FREE)))
    free = {key for key in given if key in _FREE_OF_DATA or key.rpartition(".")[2] == "seed"}
    settings = {key: given[key] for key in given.keys() - free}
    return Kind(program, parts, digest(settings | {"threads": threads()}), int(cfg.get("verdict", 0)))
