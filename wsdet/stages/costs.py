"""What stages have cost: of earlier runs of this user, and of those measured for the package (`costs.json`).

A program asks here at its start what it will take, which costs milliseconds where a rehearsal costs half a minute, and
adds what it took at its end. The file lies in the user's cache, `~/.cache/wsdet/costs.json` (`$XDG_CACHE_HOME` and
`$WSDET_CACHE` move it); no result depends on it. It holds names of settings, counts and times,
and nothing of the images.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsdet.stages.plan import Plan, Stage, are_apart, images_of, line
from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_object
from wsdet.types import InputError

log = logging.getLogger(__name__)

REST = "the rest"  # what no stage of `timings.json` has: start, report, exports

_SHIPPED = Path(__file__).with_name("costs.json")
_MOST = 300  # runs that are kept
_SIZES = 3  # of equal settings: that many numbers of images
# stages of an experiment that a smaller program has, too: where nothing is better, experiments tell what it costs
_STAGES = {
    "localize": ("classifier", "propose", "region_classifier", "localize", "verdict", "look_again"),
    "propose": ("propose",),
    "detect": ("propose", "detect"),
    "improve": ("train_detectors", "detect", "evaluate"),
    "evaluate": ("evaluate",),
}
_DECISIVE = ("localizer", "detector", "proposals")  # parts without which a run costs something else


@dataclass(frozen=True)
class Kind:
    """What the cost of a run depends on, beside its number of images.

    Attributes:
        program: its name; of `train` with another task than the experiment, its task too.
        parts: what was chosen of data, network, localizer, proposals, detector, as far as the program has it; data
            always, "synthetic" for the built-in scenes.
        settings: a digest of all that may change the cost of an image.
        n_verdict: maximum number of images that the verdict looks at; 0: not known.
    """

    program: str
    parts: Mapping[str, str]
    settings: str
    n_verdict: int = 0

    @property
    def localizer(self) -> str | None:
        """See `wsdet.stages.plan.images_of`."""
        is_experiment = self.program.startswith("train") or self.program == "improve"
        return self.parts.get("localizer", "") if is_experiment else None


@dataclass(frozen=True)
class Record:
    """What one run has cost.

    Attributes:
        kind: of the run.
        images: training and test images.
        seconds: by stage, of one worker.
        peak_mb: megabytes of memory by stage.
        place: where it was measured; empty: here.
    """

    kind: Kind
    images: tuple[int, int]
    seconds: Mapping[str, float]
    peak_mb: Mapping[str, float]
    place: str = ""


def forecast(kind: Kind, counts: tuple[int, int], workers: Callable[[str], int]) -> tuple[Plan, str] | None:
    """What a run is expected to cost, and of which runs that was told; None where there is none like it.

    Args:
        kind: of the run.
        counts: its training and test images.
        workers: how many work side by side at a stage of that name.
    """
    alike = [one for one in (*_records(_own_path()), *_records(_SHIPPED)) if _fits(one.kind, kind)]
    if not alike:
        return None
    best = max(alike, key=lambda one: _likeness(one, kind))
    same = [one for one in alike if (one.kind, one.place) == (best.kind, best.place)]
    names = _stages_of(best, kind)
    plan = Plan([_stage(name, same, kind, counts, workers(name)) for name in names], counts)
    return plan, _source(best, kind, [sum(one.images) for one in same])


def keep(kind: Kind, counts: tuple[int, int], stages: Sequence[Stage], workers: Callable[[str], int]) -> None:
    """Adds what a run has cost, or a rehearsal of it said, to the user's file; where it cannot be written, nothing."""
    new = Record(
        kind,
        counts,
        {one.name: round(one.seconds * workers(one.name), 4) for one in stages},
        {one.name: round(one.peak_bytes / 1e6) for one in stages},
    )
    path = _own_path()
    before = [one for one in _records(path) if (one.kind, one.images) != (new.kind, new.images)]
    same = [one for one in before if one.kind == new.kind]
    outdated = same[: max(0, len(same) - _SIZES + 1)]
    kept = [*(one for one in before if one not in outdated), new][-_MOST:]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"runs": [asdict(one) for one in kept]})
    except (OSError, InputError) as error:
        log.debug("%s: what this run cost is not kept: %s", path, error)


def _own_path() -> Path:
    # of a user without a home the system's folder for what may be lost
    home = Path("~").expanduser() if os.environ.get("HOME") or os.name == "nt" else Path(tempfile.gettempdir())
    of_all = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return Path(os.environ.get("WSDET_CACHE") or of_all / "wsdet", "costs.json")


def _records(path: Path) -> list[Record]:
    """What a file holds, the latest last; nothing where it cannot be read, as no result depends on it."""
    try:
        return [_record(**one) for one in read_object(path)["runs"]] if path.exists() else []
    except (InputError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        log.debug("%s: earlier costs are not known: %s", path, error)
        return []


def _record(kind: Any, images: Any, seconds: Any, peak_mb: Any, place: str = "") -> Record:
    n_train, n_test = images
    of_kind = Kind(str(kind["program"]), dict(kind["parts"]), str(kind["settings"]), int(kind["n_verdict"]))
    times, peaks = ({str(name): float(value) for name, value in of.items()} for of in (seconds, peak_mb))
    return Record(of_kind, (int(n_train), int(n_test)), times, {name: peaks.get(name, 0.0) for name in times}, place)


def _fits(there: Kind, wanted: Kind) -> bool:
    """Whether a run of one kind says anything of a run of another."""
    if there.program != wanted.program and not (there.program == "train" and wanted.program in _STAGES):
        return False
    if any(wanted.parts[part] != there.parts.get(part) for part in _DECISIVE if part in wanted.parts):
        return False
    # built-in scenes are small, photos are not
    return (there.parts.get("data") == "synthetic") == (wanted.parts.get("data") == "synthetic")


def _likeness(one: Record, wanted: Kind) -> tuple[bool, bool, bool, bool, int]:
    """Greater for a run that says more of one of the kind that is wanted."""
    parts, of = one.kind.parts, wanted.parts
    is_same = (one.kind.program, one.kind.settings) == (wanted.program, wanted.settings)
    return (
        is_same and not one.place,
        parts.get("network") == of.get("network"),
        one.kind.program == wanted.program,
        not one.place,
        sum(parts.get(part) == of[part] for part in of),
    )


def _stages_of(one: Record, wanted: Kind) -> list[str]:
    """The stages of a run that one of another kind has, too."""
    if one.kind.program == wanted.program:
        return list(one.seconds)
    own = f"localize/{wanted.parts.get('localizer')}"  # baselines are the experiment's alone
    names = {own if stage == "localize" else stage for stage in _STAGES[wanted.program]}
    return [name for name in one.seconds if name in names]


def _stage(name: str, same: Sequence[Record], kind: Kind, counts: tuple[int, int], workers: int) -> Stage:
    """A stage by the line through what it took for other numbers of images."""

    def points(values: Callable[[Record], Mapping[str, float]]) -> list[tuple[int, float]]:
        there = [one for one in same if name in values(one)]
        return [
            (images_of(name, one.images, one.kind.localizer, one.kind.n_verdict), values(one)[name]) for one in there
        ]

    wanted = images_of(name, counts, kind.localizer, kind.n_verdict)
    once, rate = _law(points(lambda one: one.seconds), is_constant=name == REST)
    held, held_each = _law(points(lambda one: one.peak_mb), is_constant=True)
    return Stage(name, once + rate * wanted / workers, 1e6 * (held + held_each * wanted))


def _law(points: Sequence[tuple[int, float]], is_constant: bool) -> tuple[float, float]:
    """(what is there once, what comes with each image); of runs of one size chosen by what most of it is."""
    if is_constant and not are_apart(points):
        return max(value for _, value in points), 0.0
    return line(points)


def _source(best: Record, kind: Kind, images: Sequence[int]) -> str:
    """Of which runs a forecast was told."""
    of = " and ".join(map(str, sorted(images)))
    same = (best.kind.program, best.kind.settings) == (kind.program, kind.settings)
    if same and not best.place:
        return f"by earlier runs of these settings here, on {of} images"
    differing = [f"{part}={has}" for part, has in best.kind.parts.items() if kind.parts.get(part, has) != has]
    program = [] if best.kind.program == kind.program else [f"wsdet.{best.kind.program}"]
    like = f" with {', '.join([*program, *differing])}" if program or differing else " with similar settings"
    return f"roughly, by runs{like} on {best.place or 'this machine'}, on {of} images"
