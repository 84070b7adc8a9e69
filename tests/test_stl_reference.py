"""The engine's Self-Taught Localization against the plain one: one input at a time, the same boxes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsdet.engine import localize_all
from wsdet.localizers.stl import Stl
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.types import Boxes, Dataset

SEGMENTATIONS = (("hsv", 20), ("lab", 40))


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "scripts"))
    return importlib.import_module("stl_reference")


@pytest.fixture(scope="module")
def network() -> Network:
    """Knows two of the three classes; its scores differ from input to input by more than rounding."""
    backbone = build_backbone("tiny", 6, input_size=64)
    backbone.last_layer.weight.data.mul_(100)
    return Network(backbone, [(0, 3), (1,), ()], device="cpu", precision="float32")


@pytest.mark.slow
@pytest.mark.parametrize("top_classes", [0, 3], ids=["with labels", "without"])
def test_the_engine_finds_the_same_boxes_in_fewer_passes(
    top_classes: int, reference: Any, network: Network, tiny_dataset: Dataset
) -> None:
    samples = [tiny_dataset.load(image_id) for image_id in tiny_dataset.ids("train")]
    plain = reference.SequentialStl(network, SEGMENTATIONS, top_classes)
    stl = Stl("top" if top_classes else "class", SEGMENTATIONS, 64, top_classes or 5)
    before = network.n_forward_passes
    found = localize_all([(sample.image_id, sample) for sample in samples], stl, network)
    for sample, (_, outcome) in zip(samples, found, strict=True):
        expected = plain.localize(sample)
        assert isinstance(outcome, Boxes)
        np.testing.assert_allclose(outcome.scores, expected.scores, atol=1e-5)
        # rounding, which differs between processors, decides the order of boxes that score alike
        found_rows, expected_rows = (np.column_stack([b.labels, b.scores, b.xyxy]) for b in (outcome, expected))
        apart = np.abs(found_rows[:, None] - expected_rows) > [0.5, 1e-5, 1e-3, 1e-3, 1e-3, 1e-3]
        assert (~apart.any(axis=2)).sum(axis=1).tolist() == [1] * len(expected)
    assert network.n_forward_passes - before < plain.passes
