"""Which localizer for my data: the ranking, and the program on a few made-up scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests import programs
from wsdet.metrics.average_precision import match
from wsdet.stages.choose import Candidate, chances_of_being_best, ranked
from wsdet.stages.found_again import FoundAgain
from wsdet.types import Boxes

N = 24


def candidate(name: str, share: float) -> Candidate:
    """A localizer of whose boxes a share is found again, first images first; none at all of a share of 0."""
    box = Boxes(np.array([[0, 0, 10, 10]], np.float32), np.ones(1, np.float32), np.array([0]))
    ids = [f"{i:02d}" for i in range(N)]
    wanted = dict.fromkeys(ids, box if share else Boxes.empty())
    found = dict.fromkeys(ids[: round(share * N)], box)
    return Candidate(("net", name), FoundAgain(ids, match(found, wanted, ids, 1)), 0.1)


def test_the_best_is_sure_where_it_is_far_ahead() -> None:
    far = chances_of_being_best([candidate("a", 0.2), candidate("b", 0.9)])
    assert far == [0, 1]
    near = chances_of_being_best([candidate("a", 0.5), candidate("b", 0.54)])
    assert near[1] > near[0]
    same = chances_of_being_best([candidate("a", 0.5), candidate("b", 0.5)])
    assert same == pytest.approx([0.5, 0.5])
    assert sum(near) == pytest.approx(1)


def test_a_localizer_without_boxes_is_never_best() -> None:
    assert chances_of_being_best([candidate("a", 0.1), candidate("none", 0)]) == [1, 0]
    assert chances_of_being_best([candidate("none", 0)]) == [0]


def test_the_table_has_the_best_first() -> None:
    order, text = ranked([candidate("worse", 0.2), candidate("better", 0.8), candidate("none", 0)])
    assert [one.name[1] for one, _ in order] == ["better", "worse", "none"]
    assert "better" in text.splitlines()[2]


@pytest.mark.slow
def test_the_program_ranks_and_says_what_to_run(tmp_path: Path) -> None:
    settings = (
        *("data.n_train=12", "data.n_test=3", "data.size=48", "network.input_size=48", "network.training.epochs=1"),
        *("device=cpu", "workers=0", "sample=6", f"out={tmp_path / 'run'}"),
    )
    done = programs.run("choose", *settings, "localizers=[center_box,cam,nothing_like_it]")
    assert done.returncode == 1
    assert "nothing_like_it" in done.stdout
    done = programs.run("choose", *settings, "localizers=[center_box,cam]")
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "run" / "log.txt").read_text()
    assert "next: python -m wsdet.localize network=tiny data.n_train=12" in said
    choice = json.loads((tmp_path / "run" / "choice.json").read_text())
    assert {one["localizer"] for one in choice["candidates"]} == {"center_box", "cam"}
    assert sum(one["is_best"] for one in choice["candidates"]) == pytest.approx(1)
