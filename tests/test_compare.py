"""Groups of runs, their spread, and differences paired by seed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests import programs
from wsdet.stages.compare import FinishedRun, compare, comparison_table, group_runs, read_runs
from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_json
from wsdet.types import InputError


def write_run(folder: Path, seed: int, map_: float, config: str = "localizer: {name: stl}") -> Path:
    folder.mkdir(parents=True)
    own = f"out: {folder}\nseed: {seed}\ndevice: cpu\ndata: {{seed: {seed}, cache: {folder}/cache}}\n"
    (folder / "config.yaml").write_text(own + config + "\n")
    metrics = {
        "detectors": {"pseudo": {"map": map_, "map_interval": [0.1, 0.2], "ap": {"cat": None}}},
        "seconds": {"detect": 12.0},
        "images": {"train": 5},
    }
    write_json(folder / "metrics.json", metrics)
    return folder


def made_up(values: dict[int, float], **settings: Any) -> list[FinishedRun]:
    return [FinishedRun(Path(f"run_{seed}"), seed, settings, {"map": value}) for seed, value in values.items()]


def test_reads_a_run_or_a_folder_of_runs(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / "sweep" / f"seed={seed}", seed, 0.5)
    runs = read_runs(tmp_path / "sweep")
    assert [run.seed for run in runs] == [0, 1]
    assert runs[0].settings == runs[1].settings == {"localizer.name": "stl", "data.cache": "${out}/cache"}
    assert runs[0].figures == {"detectors.pseudo.map": 0.5, "images.train": 5}
    assert [run.folder for run in read_runs(tmp_path / "sweep" / "seed=1")] == [tmp_path / "sweep" / "seed=1"]


TENFOLD = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)]
BOMB = "a0: &a0 [x]\n" + "".join(TENFOLD)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({}, "has no metrics.json", id="empty"),
        pytest.param({"metrics.json": "{}"}, r"config\.yaml (does not exist|is not readable YAML)", id="no config"),
        pytest.param(
            {"metrics.json": "{}", "config.yaml": "a: [1"},
            r"config\.yaml (does not exist|is not readable YAML)",
            id="broken config",
        ),
        pytest.param({"metrics.json": "[]", "config.yaml": "a: 1"}, "must hold a JSON object", id="not metrics"),
        pytest.param({"metrics.json": "{", "config.yaml": "a: 1"}, "is not a JSON file", id="broken metrics"),
        pytest.param({"metrics.json": "{}", "config.yaml": "[1]"}, "is no mapping", id="config of a list"),
        pytest.param({"metrics.json": "{}", "config.yaml": "seed: x"}, "seed must be a whole number", id="seed"),
        pytest.param({"metrics.json": "{}", "config.yaml": BOMB}, "more than 100000 values", id="aliases"),
    ],
)
def test_folders_that_are_no_runs(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_runs(tmp_path)


def test_groups_are_runs_equal_but_for_the_seed() -> None:
    a, b = made_up({1: 0.1, 0: 0.2}, k=1), made_up({0: 0.3}, k=2)
    groups = group_runs({"x/a": a, "x/b": b, "y/more": made_up({2: 0.4}, k=1)})
    assert {name: [run.seed for run in group] for name, group in groups.items()} == {"a": [0, 1, 2], "b": [0]}
    assert list(group_runs({"x/sweep": [*a, *b]})) == ["sweep/run_1", "sweep/run_0"]
    assert list(group_runs({"x/a": a, "y/a": b})) == ["a", "a (2)"]


def test_no_runs_at_all_are_refused() -> None:
    with pytest.raises(InputError, match=r"runs=\[\] names no run"):
        group_runs({})


def test_a_seed_twice_is_refused() -> None:
    with pytest.raises(InputError, match="the same seed 0"):
        group_runs({"a": made_up({0: 0.1}), "b": made_up({0: 0.1})})


def test_spread_and_paired_difference(rng: np.random.Generator) -> None:
    first, other = rng.random(6), rng.random(6)
    groups = {"a": made_up(dict(enumerate(first)), k=1), "b": made_up(dict(enumerate(other)), k=2)}
    comparison = compare(groups)
    assert comparison["figures"]["map"]["a"] == {
        "mean": pytest.approx(first.mean()),
        "sd": pytest.approx(first.std(ddof=1)),
        "n": 6,
    }
    expected = stats.ttest_rel(other, first).confidence_interval(0.95)
    difference = comparison["differences"]["map"]["b"]
    assert difference["mean"] == pytest.approx((other - first).mean())
    assert (difference["low"], difference["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert comparison["groups"]["b"]["settings"] == {"k": [1, 2]}


def test_pairs_are_the_seeds_in_common() -> None:
    comparison = compare(
        {"a": made_up({0: 0.1, 1: 0.2}, k=1), "b": made_up({1: 0.5, 2: 0.9}, k=2), "c": made_up({7: 0.3}, k=3)}
    )
    difference = comparison["differences"]["map"]
    assert difference["b"] == {"mean": pytest.approx(0.3), "sd": None, "n": 1, "low": None, "high": None}
    assert "c" not in difference
    text = comparison_table(comparison, ["m*"])
    assert "0.150 ± 0.071" in text
    assert "+0.300" in text
    assert text.splitlines()[2].rstrip(" |").endswith("-")
    assert comparison_table(comparison, ["nothing"]).count("\n") == 1


@pytest.mark.slow
def test_command(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write_run(tmp_path / "first" / f"seed={seed}", seed, 0.2 + 0.1 * seed)
        write_run(tmp_path / "second" / f"seed={seed}", seed, 0.3 + 0.1 * seed, "localizer: {name: other}")
    done = programs.run("compare", f"out={tmp_path}/out", f"runs=[{tmp_path}/first,{tmp_path}/second]")
    assert done.returncode == 0, done.stderr
    assert "second: seeds [0, 1, 2], localizer.name=other (there stl)" in done.stdout
    assert "0.300 ± 0.100 | 0.400 ± 0.100 | +0.100 [+0.100, +0.100]" in (tmp_path / "out" / "compare.md").read_text()
    with (tmp_path / "out" / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows if row["figure"] == "detectors.pseudo.map"] == ["first", "second"]
    assert read_json(tmp_path / "out" / "compare.json")["groups"]["first"]["seeds"] == [0, 1, 2]
