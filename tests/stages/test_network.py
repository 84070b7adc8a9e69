"""Which outputs a network answers with where ImageNet does not know the classes."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from tests.conftest import TinyDataset
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.networks.weights import WeightsMetadata, save_weights
from wsdet.stages import network as stage
from wsdet.stages.network import NetworkOptions, network_of


@pytest.fixture(scope="module")
def imagenet_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as others publish it: 1000 outputs, without a word about classes. Its weights are random."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    torch.manual_seed(0)
    save_file(torchvision.models.squeezenet1_0(weights=None).state_dict(), path)
    return path


def answered(weights: Path | None, dataset: TinyDataset, folder: Path, head: str = "pretrained") -> Network:
    options = NetworkOptions(
        "squeezenet1_0" if weights else "tiny",
        str(weights) if weights else None,
        64,
        head,  # type: ignore[arg-type]
        device="cpu",
        precision="float32",
    )
    return network_of(options, dataset, dataset.ids("train"), folder, 0, {}, 0)


@pytest.mark.parametrize("head", ["pretrained", "finetune"])
def test_one_class_follows_the_outputs_that_its_images_raise(
    imagenet_weights: Path, tiny_dataset: TinyDataset, tmp_path: Path, head: str, caplog: pytest.LogCaptureFixture
) -> None:
    of_one = replace(tiny_dataset, classes=("spaceship",))
    with caplog.at_level(logging.INFO):
        network = answered(imagenet_weights, of_one, tmp_path, head)
    assert len(network.scores.class_outputs[0]) == 10
    assert not (tmp_path / "model.safetensors").exists()
    assert "spaceship follows 10 outputs" in caplog.text
    assert ("one class alone (spaceship) trains no output" in caplog.text) == (head == "finetune")


def test_one_class_of_an_untrained_network_has_no_output(tiny_dataset: TinyDataset, tmp_path: Path) -> None:
    assert answered(None, replace(tiny_dataset, classes=("spaceship",)), tmp_path, "finetune").scores.class_outputs == (
        (),
    )


def test_a_class_without_counterpart_borrows_beside_those_that_have_one(
    imagenet_weights: Path, tiny_dataset: TinyDataset, tmp_path: Path
) -> None:
    network = answered(imagenet_weights, replace(tiny_dataset, classes=("banana", "spaceship", "orange")), tmp_path)
    assert [len(outputs) for outputs in network.scores.class_outputs] == [1, 10, 1]


def test_where_no_class_is_known_outputs_are_trained(
    imagenet_weights: Path,
    tiny_dataset: TinyDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trained = tmp_path / "trained.safetensors"
    backbone = build_backbone("squeezenet1_0", 3, 64, seed=0)
    metadata = WeightsMetadata(backbone.architecture, 3, 64, "softmax", tiny_dataset.classes)
    save_weights(trained, backbone.state_dict(), metadata)
    monkeypatch.setattr(stage, "trained_weights", lambda *_: trained)
    network = answered(imagenet_weights, tiny_dataset, tmp_path)
    assert "ImageNet knows none of the classes" in caplog.text
    assert network.scores.class_outputs == ((0,), (1,), (2,))
