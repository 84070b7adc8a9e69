"""Every kind of neural detector in conf/detector: from its config to boxes, on any network, without proposals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from torchvision import models

from tests.conftest import TinyDataset
from wsdet.cli.build import build
from wsdet.cli.entry_point import CONF
from wsdet.cli.factories import detector_and_positives
from wsdet.detectors.loading import load_detectors
from wsdet.detectors.neural.detector import NeuralDetector
from wsdet.detectors.neural.options import KINDS
from wsdet.detectors.trainer import TrainingSet
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.types import Boxes, InputError

SMALL = ["detector.model.short_side=64", "detector.model.channels=64", "detector.training.epochs=1"]


def composed(*overrides: str) -> Any:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base=None):
        return compose("train", ["out=x", *overrides])


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(build_backbone("tiny", input_size=64), (), device="cpu")


def test_every_kind_has_its_file() -> None:
    assert {path.stem for path in (CONF / "detector").glob("*.yaml")} == {*KINDS, "rcnn_svm"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_config_gives_trained_detectors(
    kind: str, network: Network, tiny_dataset: TinyDataset, tmp_path: Path
) -> None:
    recipe, _ = detector_and_positives(composed(f"detector={kind}", *SMALL))
    trainer = recipe.build()
    assert not trainer.needs_proposals
    positives = {
        name: {i: Boxes(b.xyxy, np.ones(len(b), np.float32), b.labels) for i, b in tiny_dataset.truth.items()}
        for name in ("pseudo", "center_box")
    }
    data = TrainingSet(
        tiny_dataset, tiny_dataset.ids("train"), positives, network, trainer={"accelerator": "cpu", "devices": 1}
    )
    detectors = trainer.train(data, tmp_path)
    assert list(detectors) == ["pseudo", "center_box"]
    loaded = load_detectors({"": tmp_path / "pseudo"}, "cpu")[""]
    assert isinstance(loaded, NeuralDetector)
    assert loaded.options.kind == kind
    # the same boxes, seed and schedule: the same detector
    assert loaded.fingerprint == detectors["pseudo"].fingerprint == detectors["center_box"].fingerprint
    found = loaded.detect(tiny_dataset.load("test_0"))
    np.testing.assert_array_equal(found.xyxy, detectors["pseudo"].detect(tiny_dataset.load("test_0")).xyxy)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("detector.model.channels=7", r"detector\.model\.channels must be"),
        ("detector.training.epochs=0", r"detector\.training\.epochs must be"),
        ("detector.losses.ignore_share=0", r"detector\.losses\.ignore_share must be"),
        ("detector.backbone=other", r"detector\.backbone must be"),
        ("detector.model.kind=yolo", r"detector\.model\.kind must be"),
    ],
)
def test_impossible_settings_are_named_as_on_the_command_line(override: str, message: str) -> None:
    cfg = composed("detector=fcos", override)
    recipe, _ = detector_and_positives(cfg)
    with pytest.raises(InputError, match=message):
        build(recipe.settings, "detector")


def test_backbone_imagenet_takes_the_published_weights(
    tiny_dataset: TinyDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where torch.hub keeps downloads stands for the download."""
    torch.manual_seed(7)
    published = models.squeezenet1_0(weights=None).state_dict()
    file = Path(models.SqueezeNet1_0_Weights.IMAGENET1K_V1.url).name
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(published, tmp_path / "hub" / "checkpoints" / file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    recipe, _ = detector_and_positives(
        composed("detector=fcos", *SMALL, "detector.backbone=imagenet", "detector.model.trainable_layers=0")
    )
    positives = {"pseudo": {i: tiny_dataset.truth[i] for i in tiny_dataset.ids("train")}}
    own = Network(build_backbone("squeezenet1_0", input_size=64), (), device="cpu")
    data = TrainingSet(
        tiny_dataset, tiny_dataset.ids("train"), positives, own, trainer={"accelerator": "cpu", "devices": 1}
    )
    weights = recipe.build().train(data, tmp_path / "detectors")["pseudo"].model.state_dict()
    first = "features.0.weight"
    (trained,) = (value for name, value in weights.items() if name.endswith(first))
    torch.testing.assert_close(trained, published[first])
    assert not torch.equal(trained, own.backbone.state_dict()[f"trunk.{first}"])
