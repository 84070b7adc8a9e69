"""What the documentation shows works, and the files around it are what their readers expect."""

from __future__ import annotations

import graphlib
import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from tests.conftest import FakeNetwork
from tests.test_layout import ROOMS
from wsdet import __version__
from wsdet.engine import localize_all
from wsdet.questions import Masked, NetworkInput
from wsdet.types import Boxes, Sample

ROOT = Path(__file__).resolve().parents[1]


def yaml_file(name: str) -> Any:
    return OmegaConf.load(ROOT / name)


def test_the_localizer_of_the_docs_finds_the_box_that_the_class_needs(tmp_path: Path, monkeypatch: Any) -> None:
    """Its nine boxes are masked in turn; only the one at the lower right takes the class away."""
    page = (ROOT / "docs" / "adding_a_localizer.md").read_text(encoding="utf-8")
    diff = re.search(r"# mymodule\.py\n(.*?)\n # conf/", page, re.DOTALL)
    assert diff
    (tmp_path / "module_of_the_docs.py").write_text(re.sub(r"^\+", "", diff[1], flags=re.MULTILINE), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    localizer = importlib.import_module("module_of_the_docs").HalfBox()

    def scores(one: NetworkInput) -> list[float]:
        hidden = isinstance(one.question, Masked) and one.question.xyxy[one.row].tolist() == [4, 2, 8, 4]
        return [0.5, 0.1 if hidden else 0.9]

    sample = Sample("photo", np.zeros((4, 8, 3), np.uint8), (1,))
    [(_, found)] = localize_all([("photo", sample)], localizer, FakeNetwork(scores))
    assert isinstance(found, Boxes)
    assert found.xyxy.tolist() == [[4, 2, 8, 4]]
    assert found.labels.tolist() == [1]
    assert found.scores.tolist() == pytest.approx([0.8])


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert {"scripts/train.sh", "scripts/test.sh"} <= set(re.findall(r"^(scripts/\S+)", text, re.MULTILINE))
    links = [link.split("#")[0] for link in re.findall(r"\]\((?!https://)([^)]+)\)", text)]
    assert links
    assert not [link for link in links if not (ROOT / link).is_file()]


def test_the_citation_is_of_this_version_and_license() -> None:
    citation = yaml_file("CITATION.cff")
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    assert all(citation[key] for key in ("cff-version", "message", "title", "authors"))


def test_hooks_before_a_commit_fetch_nothing() -> None:
    assert {repo["repo"] for repo in yaml_file(".pre-commit-config.yaml")["repos"]} == {"local"}


def test_the_picture_of_the_house_has_every_room_on_its_floor() -> None:
    """A room's floor is one above the highest of the rooms that it may import."""
    floors: dict[str, int] = {}
    for room in graphlib.TopologicalSorter(ROOMS).static_order():
        floors[room] = 1 + max((floors[below] for below in ROOMS[room]), default=0)
    page = (ROOT / "docs" / "inside.md").read_text(encoding="utf-8")
    drawn = re.search(r"^ floor\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    assert drawn
    pictured = dict(re.findall(r"^   (\d)((?:.*\n)(?:    .*\n)*)", drawn[1], re.MULTILINE))
    assert {room: floor for room, floor in floors.items() if room not in re.findall(r"\w+", pictured[str(floor)])} == {}
