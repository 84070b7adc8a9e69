"""Runs against each other: mean and spread over seeds, and paired differences.

`python -m wsdet.compare runs=[A,B]` reads the `metrics.json` and `config.yaml` of finished runs. Runs whose settings
are equal but for the seed are one group. A difference between groups is taken seed by seed, because runs of one seed
share their data, their drawn images and their random choices; its interval is Student's t over the seeds in common.
"""

from __future__ import annotations

import logging
import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.storage.files import write_csv
from wsdet.storage.provenance import flatten
from wsdet.storage.renamed import renamed_config
from wsdet.storage.untrusted import read_object, read_yaml
from wsdet.types import InputError

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

# what may differ between the runs of a group: where they were written, and how fast, not what, they computed
_FREE = ("seed", "out", "shared", "device", "workers", "batch_size", "in_flight")
_LEVEL = 0.95


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
        folder: its folder.
        seed: its seed.
        settings: the rest of its config by dotted key, without any other seed, where it was written and what only
            changes its speed.
        figures: every number of its `metrics.json` by dotted key, the times aside.
    """

    folder: Path
    seed: int
    settings: Mapping[str, Any]
    figures: Mapping[str, float]


def read_runs(folder: Path) -> list[FinishedRun]:
    """The run in a folder, or the runs in the folders directly inside it.

    Raises:
        InputError: there is none, or one's files cannot be read.
    """
    found = [path.parent for path in [folder / "metrics.json", *sorted(folder.glob("*/metrics.json"))] if path.exists()]
    if not found:
        raise InputError(f"{folder} has no metrics.json, nor has a folder in it; give folders of finished runs")
    if found[0] == folder:
        found = found[:1]
    return [_read_run(path) for path in found]


def group_runs(runs: Mapping[str, Sequence[FinishedRun]]) -> dict[str, list[FinishedRun]]:
    """Runs that are equal but for the seed, together, in order of the seed.

    Args:
        runs: runs by the folder that they were asked for.

    Returns:
        The groups by name: that folder's, or the run's own where the folder holds several groups.

    Raises:
        InputError: there are no runs, or two of a group have one seed.
    """
    if not runs:
        raise InputError("runs=[] names no run; give folders of finished runs, runs=[A,B]")
    groups: list[tuple[str, list[FinishedRun]]] = []
    for asked, of_folder in runs.items():
        name = Path(asked).resolve().name
        mixed = any(run.settings != of_folder[0].settings for run in of_folder)
        for run in of_folder:
            same = next((group for _, group in groups if group[0].settings == run.settings), None)
            if same is None:
                groups.append((f"{name}/{run.folder.name}" if mixed else name, [run]))
            else:
                same.append(run)
    named: dict[str, list[FinishedRun]] = {}
    for name, group in groups:
        _check_seeds(group)
        named[_unused(name, named)] = sorted(group, key=lambda run: run.seed)
    return named


def compare(groups: Mapping[str, Sequence[FinishedRun]]) -> dict[str, Any]:
    """Means, spreads and paired differences of every figure.

    Args:
        groups: runs by group; the first group is what the others are compared with.

    Returns:
        `groups`: by name, `seeds`, `folders` and `settings` (what differs from the first group: [there, here]).
        `figures`: by figure and group, `mean`, `sd` (sample standard deviation, None for one run) and `n`.
        `differences`: by figure and group but the first, over the seeds in common: `mean` (group minus first), `sd`,
        `n`, and `low` and `high` (95 % interval, None for one seed). A group that lacks a figure is absent.
    """
    names = list(groups)
    first = groups[names[0]]
    keys = list(dict.fromkeys(key for group in groups.values() for run in group for key in run.figures))
    return {
        "groups": {
            name: {
                "seeds": [run.seed for run in group],
                "folders": [str(run.folder) for run in group],
                "settings": _changed(first[0].settings, group[0].settings),
            }
            for name, group in groups.items()
        },
        "figures": {
            key: {
                name: _spread(values)
                for name, group in groups.items()
                if (values := [run.figures[key] for run in group if key in run.figures])
            }
            for key in keys
        },
        "differences": {
            key: {name: _difference(pairs) for name in names[1:] if (pairs := _paired(first, groups[name], key))}
            for key in keys
        },
    }


def comparison_table(comparison: Mapping[str, Any], show: Sequence[str]) -> str:
    """Markdown: one row a figure, one column a group, then one column a difference.

    Args:
        comparison: what `compare` gives.
        show: patterns of the figures wanted, such as "detectors.*.map".
    """
    from wsdet.report.text_tables import table

    names = list(comparison["groups"])
    rows = []
    for key, of_group in comparison["figures"].items():
        if any(fnmatchcase(key, pattern) for pattern in show):
            differences = comparison["differences"][key]
            rows.append(
                [
                    key,
                    *(_mean_and_sd(of_group.get(name)) for name in names),
                    *(_mean_and_interval(differences.get(name)) for name in names[1:]),
                ]
            )
    return table(["figure", *names, *(f"{name} minus {names[0]}" for name in names[1:])], rows)


def write_comparison(path: Path, comparison: Mapping[str, Any]) -> None:
    """Writes a CSV of one row a figure and group."""
    headers = ["figure", "group", "mean", "sd", "n", "difference", "difference_sd", "pairs", "low", "high"]
    rows: list[list[Any]] = [headers]
    for key, of_group in comparison["figures"].items():
        for name, spread in of_group.items():
            difference = comparison["differences"][key].get(name, {})
            of_difference = (difference.get(of) for of in ("mean", "sd", "n", "low", "high"))
            rows.append([key, name, *spread.values(), *of_difference])
    write_csv(path, rows)


def _read_run(folder: Path) -> FinishedRun:
    config, metrics = read_yaml(folder / "config.yaml"), read_object(folder / "metrics.json")
    if not isinstance(config, dict):
        raise InputError(f"{folder} is not the folder of a finished run: its config.yaml is no mapping")
    seed = config.get("seed", 0)
    if type(seed) is not int:
        raise InputError(f"{folder / 'config.yaml'}: seed must be a whole number, got {seed!r}")
    settings = {
        # a path inside the run's folder says nothing about the run
        key: value.replace(str(config.get("out")), "${out}") if isinstance(value, str) else value
        for key, value in flatten(renamed_config(config)).items()
        if key not in _FREE and not key.endswith(".seed")  # such as data.seed, which follows the seed
    }
    figures = flatten({key: value for key, value in metrics.items() if key != "seconds"})
    numbers = {key: float(value) for key, value in figures.items() if _is_number(value)}
    return FinishedRun(folder, seed, settings, numbers)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_seeds(group: Sequence[FinishedRun]) -> None:
    folders: dict[int, Path] = {}
    for run in group:
        if run.seed in folders:
            raise InputError(
                f"{folders[run.seed]} and {run.folder} have the same settings and the same seed {run.seed}; give one"
            )
        folders[run.seed] = run.folder


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    n = 2
    candidate = name
    while candidate in taken:
        candidate, n = f"{name} ({n})", n + 1
    return candidate


def _changed(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, list[Any]]:
    keys = dict.fromkeys([*there, *here])
    return {key: [there.get(key), here.get(key)] for key in keys if there.get(key) != here.get(key)}


def _spread(values: Sequence[float]) -> dict[str, float | int | None]:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "n": len(values)}


def _paired(first: Sequence[FinishedRun], other: Sequence[FinishedRun], key: str) -> list[tuple[float, float]]:
    """The figure of other and of first, for each seed for which both have it."""
    reference = {run.seed: run.figures[key] for run in first if key in run.figures}
    return [(run.figures[key], reference[run.seed]) for run in other if key in run.figures and run.seed in reference]


def _difference(pairs: Sequence[tuple[float, float]]) -> dict[str, float | int | None]:
    from scipy.stats import ttest_rel

    spread = _spread([other - first for other, first in pairs])
    if len(pairs) < 2:
        return spread | {"low": None, "high": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # equal differences: an interval without width
        interval = ttest_rel(*zip(*pairs, strict=True)).confidence_interval(_LEVEL)
    return spread | {"low": float(interval.low), "high": float(interval.high)}


def _mean_and_sd(spread: Mapping[str, Any] | None) -> str | None:
    if spread is None:
        return None
    return f"{spread['mean']:.3f}" + (f" ± {spread['sd']:.3f}" if spread["sd"] is not None else "")


def _mean_and_interval(difference: Mapping[str, Any] | None) -> str | None:
    if difference is None:
        return None
    interval = f" [{difference['low']:+.3f}, {difference['high']:+.3f}]" if difference["low"] is not None else ""
    return f"{difference['mean']:+.3f}{interval}"
