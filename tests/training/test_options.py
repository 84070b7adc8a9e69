"""Options of trainings refuse what is out of range, and stand in the configs as they are in Python."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from wsdet.cli.build import build
from wsdet.cli.entry_point import CONF
from wsdet.training import options
from wsdet.types import InputError

NODES = sorted(path for path in CONF.rglob("*.yaml") if "wsdet.training.options." in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NODES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_config_names_every_option_but_those_that_are_for_python_alone(path: Path) -> None:
    node: Any = OmegaConf.load(path)
    built = build(node, path.stem)
    assert {field.name for field in fields(built)} - {"penalties"} == node.keys() - {"_target_"}


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        *((options.ClassifierTraining, {name: 0}) for name in ("epochs", "batch_size", "learning_rate", "min_crop")),
        *((options.ClassifierTraining, {name: 1.5}) for name in ("jitter", "masked", "min_crop", "epochs")),
        (options.ClassifierTraining, {"validation": 1.0}),
        (options.ClassifierTraining, {"weight_decay": -1}),
        *((options.RegionClassifierTraining, {name: 0}) for name in ("heads", "share", "epochs", "batch_size")),
        (options.RegionClassifierTraining, {"share": 1.5}),
        (options.RegionClassifierTraining, {"learning_rate": float("nan")}),
        *((options.BoxRegressorTraining, {name: 0}) for name in ("map_side", "epochs", "patience")),
        *((options.BoxRegressorTraining, {name: "both"}) for name in ("budget", "channels", "per_class", "loss")),
        (options.BoxRegressorTraining, {"penalties": []}),
        (options.BoxRegressorTraining, {"penalties": [0.0]}),
    ],
    ids=str,
)
def test_values_out_of_range_are_named(kind: type, wrong: dict[str, Any]) -> None:
    kind()
    (name, value) = next(iter(wrong.items()))
    with pytest.raises(InputError, match=rf"^{name}(\[0\])? must .*, got"):
        kind(**wrong)
    assert value is not None


def test_options_need_no_torch() -> None:
    program = "import sys, wsdet.training.options; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
