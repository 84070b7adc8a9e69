"""What programs say of their cost."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from tests import programs
from tests.test_layout import PROGRAMS
from wsdet.cli.entry_point import compose
from wsdet.cli.planned import kind_of


@pytest.mark.slow
def test_a_program_says_what_it_will_take_and_what_it_took(tmp_path: Path) -> None:
    def said(out: str) -> list[str]:
        small = ("data.n_train=6", "data.n_test=3", "data.size=48", "workers=0")
        environment = {"WSDET_CACHE": str(tmp_path / "cache")}
        done = programs.run("propose", *small, f"out={tmp_path / out}", environment=environment)
        assert done.returncode == 0, done.stderr
        return re.findall(r"INFO ((?:planned: |took ).*)", done.stdout + done.stderr)

    first, second, again = said("a"), said("b"), said("b")
    assert "by earlier runs of these settings here" not in first[0]
    assert first[1].startswith("took ")
    took = r"\S+ s, \S+ MB of memory"
    assert re.fullmatch(rf"planned: {took} \(by earlier runs of these settings here, on 9 images\)", second[0])
    assert re.fullmatch(rf"took {took}; planned: {took}", second[1])
    assert "were spent before, left are" in again[0]


def test_every_program_says_it() -> None:
    for program in PROGRAMS - {"doctor"}:  # which rehearses instead
        source = inspect.getsource(importlib.import_module(f"wsdet.{program}"))
        assert re.search(rf'planned\(\w+, "{program}', source), program


@pytest.mark.slow
def test_the_kind_of_a_run_is_of_what_changes_an_images_cost() -> None:
    kind = kind_of(compose("train", []), "train")
    assert kind.parts["detector"] == "RcnnSvm"
    assert kind_of(compose("evaluate", []), "evaluate").parts["data"] == "synthetic"
    assert kind_of(compose("detect", ["model=m", "images=i"]), "detect").parts["data"] == "images"
    for free in ("seed=1", "limit=5", "data.n_train=9", "out=elsewhere", "report=false"):
        assert kind_of(compose("train", [free]), "train") == kind
    for costly in ("data.size=99", "detector.protocol=rcnn", "network.input_size=64"):
        assert kind_of(compose("train", [costly]), "train") != kind
    fcos = [kind_of(compose("train", ["detector=fcos", f"detector.model.channels={n}"]), "train") for n in (32, 64)]
    assert fcos[0] != fcos[1]
