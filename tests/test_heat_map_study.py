"""scripts/max_box_accuracy.py holds each heat map against the ground-truth boxes of its class."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsdet.localizers.dialogue import Dialogue
from wsdet.questions import Note
from wsdet.types import Boxes, InputError, Sample


class Hot:
    """A localizer whose heat is even over the ground-truth boxes of a class, moved aside by a share of the image."""

    def __init__(self, dataset: Any, aside: float = 0.0) -> None:
        self.dataset = dataset
        self.aside = aside

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        true = self.dataset.truth[sample.image_id]
        for label in sample.labels:
            heat = np.zeros(sample.size_hw, np.float32)
            for x1, y1, x2, y2 in true.xyxy[true.labels == label].astype(int):
                heat[y1:y2, x1:x2] = 1
            yield [Note("heat map", {"label": label, "map": np.roll(heat, int(self.aside * heat.shape[1]), axis=1)})]
        return Boxes.empty()


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "scripts"))
    return importlib.import_module("max_box_accuracy").measure


def test_heat_on_the_objects_is_right_and_heat_beside_them_is_not(measure: Any, tiny_dataset: Any) -> None:
    ids = tiny_dataset.ids("test")
    on_them = measure(tiny_dataset, ids, Hot(tiny_dataset), network=None)
    assert on_them == {"max_box_acc": 1.0, "max_box_acc_v2": 1.0, "maps": 6}  # of four images one, of one image two
    beside = measure(tiny_dataset, ids, Hot(tiny_dataset, aside=0.5), network=None)
    assert beside["max_box_acc"] < 0.5


def test_a_localizer_without_heat_maps_is_named(measure: Any, tiny_dataset: Any) -> None:
    from wsdet.localizers.constant_boxes import CenterBox

    with pytest.raises(InputError, match="no heat map"):
        measure(tiny_dataset, tiny_dataset.ids("test"), CenterBox(), network=None)
