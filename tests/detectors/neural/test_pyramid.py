"""Maps of the right strides from every kind of network, and what of it is trained."""

from __future__ import annotations

import pytest
import torch

from wsdet.detectors.neural.pyramid import Pyramid
from wsdet.networks.backbones import Backbone, build_backbone
from wsdet.types import InputError


@pytest.mark.parametrize("architecture", ["tiny", "squeezenet1_0", "mobilenet_v2", "alexnet", "timm:resnet18"])
def test_maps_have_the_strides_and_channels_asked_for(architecture: str) -> None:
    pyramid = Pyramid(build_backbone(architecture), (8, 16, 32, 64), 32).eval()
    maps = pyramid(torch.rand(1, 3, 128, 192))
    assert list(maps) == ["0", "1", "2", "3"]
    assert [tuple(x.shape[1:]) for x in maps.values()] == [(32, 128 // s, 192 // s) for s in (8, 16, 32, 64)]


def test_coarse_pyramids_and_the_trunk_itself() -> None:
    backbone = build_backbone("mobilenet_v2")
    pyramid = Pyramid(backbone, (16, 32, 64, 128), 32).eval()
    images = torch.rand(1, 3, 128, 128)
    assert [x.shape[-1] for x in pyramid(images).values()] == [8, 4, 2, 1]
    # the last of the trunk's stages is the classifier's own feature map
    torch.testing.assert_close(pyramid.body(images)[-1], backbone.trunk(images))


@pytest.mark.parametrize("layers", [0, 1, 2, 5])
def test_so_many_stages_are_trained_from_the_last(backbone: Backbone, layers: int) -> None:
    body = Pyramid(backbone, channels=32, trainable_layers=layers).body
    trained = {name.split(".")[1] for name, value in body.named_parameters() if value.requires_grad}
    convolutions = ["11", "8", "4", "0"]  # the stride-8 stage has two
    assert trained == set(convolutions[: {0: 0, 1: 2, 2: 3, 5: 4}[layers]])


def test_batch_norm_never_moves(backbone: Backbone) -> None:
    pyramid = Pyramid(backbone, channels=32, trainable_layers=5).train()
    before = {name: value.clone() for name, value in pyramid.body.named_buffers()}
    pyramid(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in pyramid.body.named_buffers())
    assert not any(value.requires_grad for name, value in pyramid.body.named_parameters() if ".1." in f".{name}.")


def test_a_trunk_that_ends_below_the_first_stride_goes_on(backbone: Backbone) -> None:
    maps = Pyramid(backbone, (16, 32), 32).eval()(torch.rand(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps.values()] == [(32, 4, 6), (32, 2, 3)]


def test_a_network_whose_maps_are_all_coarser_is_refused() -> None:
    with pytest.raises(InputError, match=r"strides \[4, 8, 16, 32\].*needs one of 2"):
        Pyramid(build_backbone("alexnet"), (2, 4))


def test_strides_double(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="double"):
        Pyramid(backbone, (8, 32))
