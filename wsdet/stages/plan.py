"""What a run is expected to cost, by stage, and how the cost of a stage follows from what it took for other images.

`wsdet.stages.rehearsal` finds it out on a few images of the run, `wsdet.stages.costs` looks it up among earlier runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wsdet.report.text_tables import table
from wsdet.runners.local import Local
from wsdet.storage.amounts import amount, duration

if TYPE_CHECKING:
    from wsdet.stages.run import Run

_SPARE = 1e9  # bytes that a disk should keep
_APART = 1.5  # how many times as many images a line's last point has as its first


@dataclass(frozen=True)
class Stage:
    """What one stage of a run is expected to cost.

    Attributes:
        name: as in the run's `timings.json`.
        seconds: in all.
        peak_bytes: the most memory of the process, without its workers.
        n_bytes: left on the disk.
        is_complete: whether a rehearsal got to the end of it; else it takes at least this.
    """

    name: str
    seconds: float
    peak_bytes: float = 0.0
    n_bytes: float = 0.0
    is_complete: bool = True


@dataclass(frozen=True)
class Plan:
    """What a run is expected to cost.

    Attributes:
        stages: in their order; those that no rehearsal reached are missing.
        images: training and test images of the run.
        rehearsed: training images of each rehearsal; nothing where the stages come from earlier runs.
        seconds: that finding out took.
    """

    stages: Sequence[Stage]
    images: tuple[int, int]
    rehearsed: Sequence[int] = ()
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether all stages were reached."""
        return all(stage.is_complete for stage in self.stages)

    @property
    def seconds_expected(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)

    def without(self, spent: Mapping[str, float]) -> Plan:
        """What is left of it after the seconds that stages have taken already."""
        left = [replace(one, seconds=max(0.0, one.seconds - spent.get(one.name, 0.0))) for one in self.stages]
        return replace(self, stages=left)

    def __str__(self) -> str:
        peak = max((stage.peak_bytes for stage in self.stages), default=0.0)
        disk = sum(stage.n_bytes for stage in self.stages)
        least = "" if self.is_complete else "more than "
        of_disk = f", {amount(disk)} of disk" if disk else ""
        return f"{least}{duration(self.seconds_expected)}, {amount(peak)} of memory{of_disk}"


def plan_table(planned: Plan, free: float) -> str:
    """The stages with what they take, and whether the disk is large enough."""
    rows = []
    for stage in planned.stages:
        least = "" if stage.is_complete else "> "
        rows.append([stage.name, least + duration(stage.seconds), amount(stage.peak_bytes), amount(stage.n_bytes)])
    disk = sum(stage.n_bytes for stage in planned.stages)
    enough = "enough" if free - disk > _SPARE else "TOO LITTLE"
    train, test = planned.images
    lines = [
        table(["stage", "time", "memory", "disk"], rows),
        f"all of {train} training and {test} test images: {planned}",
        f"scaled from rehearsals of {', '.join(map(str, planned.rehearsed))} training images, {planned.seconds:.0f} s",
        f"{amount(free)} of disk are free: {enough}",
    ]
    if not planned.is_complete:
        lines.insert(1, "time was over before the last of these stages ended, and further ones follow")
    return "\n".join(lines)


def line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """(what is there once, what comes with each image) of values at numbers of images; neither is negative.

    Where the numbers are nearly equal, chance would make the slope: all of it comes with the images then.
    """
    (few, low), (many, high) = min(points), max(points)
    rate = max(0.0, high - low) / (many - few) if are_apart(points) else high / max(1, many)
    return max(0.0, high - rate * many), rate


def are_apart(points: Sequence[tuple[int, float]]) -> bool:
    """Whether the numbers of images are far enough from each other for a line."""
    return max(points)[0] >= _APART * min(points)[0]


def images_of(stage: str, counts: tuple[int, int], localizer: str | None, n_verdict: int = 0) -> int:
    """How many images a stage goes over.

    Args:
        stage: its name.
        counts: training and test images.
        localizer: whose boxes of the training images alone an experiment wants; None: the program is no experiment,
            and all stages go over all images.
        n_verdict: maximum number of images that the verdict looks at; 0: not known.
    """
    from wsdet.stages.experiment import BASELINES  # with all that experiments need, and evaluate does not
    from wsdet.stages.verdict import LOOKED_AT_AGAIN

    n_train, n_test = counts
    kind, _, of = stage.partition("/")
    n = n_train + n_test
    if localizer is not None and kind == "detect":
        n = n_test
    elif localizer is not None and not (
        kind in ("propose", "evaluate") or (kind == "localize" and of not in {*BASELINES, localizer})
    ):
        n = n_train
    most = {"verdict": n_verdict or n, "look_again": min(n_verdict or n, LOOKED_AT_AGAIN)}
    return max(1, min(n, most.get(kind, n)))


def workers_of(stage: str, run: Run) -> int:
    """How many work side by side at a stage, as a rehearsal does not."""
    kind = stage.partition("/")[0]
    if kind not in ("localize", "propose", "detect"):
        return 1
    if not isinstance(run.runner, Local):
        return max(1, run.runner.workers)
    # on one machine processes share the cores that one of them would have had for its threads
    workers, shared = (run.execution.workers, 1) if kind == "propose" else (run.runner.workers, threads())
    return max(1, min(workers, os.cpu_count() or 1) // shared)


def threads() -> int:
    """Of a process that works alone."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "")  # importing torch only for this would take seconds
    return int(given) if given.isdecimal() and int(given) else os.cpu_count() or 1
