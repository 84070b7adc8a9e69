"""Old names are read as today's, wherever an earlier version wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wsdet.storage.box_store import BoxStore
from wsdet.storage.provenance import check_settings, read_settings
from wsdet.storage.renamed import KEYS, renamed, renamed_config, renamed_override
from wsdet.types import Boxes

VOTE = {"_target_": "wsdet.localizers.vote.Vote"}


def test_nested_settings_get_the_names_of_today() -> None:
    old = {"localizer": {**VOTE, "members": {"one": {"n_hidden": 3}}, "hiding": 0.1}, "detector": {"doubtful_below": 0}}
    old["data"] = {"unlabelled": "unknown"}
    assert renamed(old) == {
        "localizer": {**VOTE, "members": {"one": {"n_occluded": 3}}, "occlusion_weight": 0.1},
        "detector": {"low_confidence_below": 0},
        "data": {"unlabeled": "unknown"},
    }
    assert renamed([{"_target_": "wsdet.store.BoxStore"}]) == [{"_target_": "wsdet.storage.box_store.BoxStore"}]


def test_what_is_called_so_today_stays() -> None:
    new = {"trust": True, "localizer": dict.fromkeys(KEYS.values(), 1)}
    assert renamed_config(new) == new


@pytest.mark.parametrize("names", [("trust", "score_exponent"), ("score_exponent", "trust")])
def test_an_old_name_counts_more_than_a_default_of_today(names: tuple[str, str]) -> None:
    assert renamed({name: 0.5 if name == "trust" else 0.2 for name in names}) == {"score_exponent": 0.5}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("localizer.trust=0.5", "localizer.score_exponent=0.5"),
        ("+localizer.members.a.n_hidden=1", "+localizer.members.a.n_occluded=1"),
        ("~localizer.sharpness", "~localizer.voting_exponent"),
        ("trust=true", "trust=true"),
        ("localizer.score_exponent=0.5", "localizer.score_exponent=0.5"),
        ("data.root=a.trust=b", "data.root=a.trust=b"),
        ("--help", "--help"),
    ],
)
def test_an_argument_of_the_command_line(argument: str, expected: str) -> None:
    assert renamed_override(argument) == expected


def test_a_store_of_an_earlier_version_is_filled_on(tmp_path: Path) -> None:
    old, new = ({"localizer": {**VOTE, name: 0.2}} for name in ("trust", "score_exponent"))
    boxes = Boxes(np.array([[0, 0, 1, 1]], np.float32))
    BoxStore(tmp_path, old).fill(["a"], lambda ids: [(i, boxes) for i in ids], "test")
    assert json.loads((tmp_path / "settings.json").read_text()) == old
    store = BoxStore(tmp_path, new)
    report = store.fill(["a", "b"], lambda ids: [(i, boxes) for i in ids], "test")
    assert (report.kept, report.done) == (1, 1)
    assert list(BoxStore(tmp_path)) == ["a", "b"]
    check_settings(tmp_path, new)
    assert read_settings(tmp_path) == new
