"""Networks of timm as trunk and head: maps and outputs are timm's own, and every question is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.engine import localize_all
from wsdet.localizers.cam import Cam
from wsdet.networks.backbones import Backbone, build_backbone, replace_head
from wsdet.networks.classifier import Network, load_network
from wsdet.networks.pyramid import Pyramid, SummedMap
from wsdet.networks.weights import WeightsMetadata, save_weights
from wsdet.questions import (
    Cropped,
    FeatureMap,
    GuidedBackprop,
    LayerMaps,
    Masked,
    NetworkInput,
    NeuronRank,
    PixelGradient,
    Question,
    RegionFeatures,
    Regions,
    Whole,
)
from wsdet.types import Boxes, InputError, Sample

timm = pytest.importorskip("timm")


@dataclass(frozen=True)
class Family:
    """A network of timm, made small by `options`.

    Attributes:
        model_name: in timm.
        input_size: asked for; None: its own.
        stride: of its map, where boxes are scaled by it.
        options: of `timm.create_model`.
        is_convolutional: whether its features are a map with the channels first.
    """

    model_name: str
    input_size: int | None
    stride: int | None
    options: dict[str, Any] = field(default_factory=dict)
    is_convolutional: bool = False


SMALL_VIT = {"depth": 2, "embed_dim": 48, "num_heads": 3}
SMALL_SWIN = {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 2, 4, 8)}
FAMILIES = {
    "ViT": Family("test_vit", 64, 16),
    "ViT, average": Family("test_vit4", 64, 16),
    "SigLIP, attention pooling": Family("test_vit3", 64, 16),
    "DeiT": Family("deit_tiny_patch16_224", 64, 16, SMALL_VIT),
    "DeiT, distilled": Family("deit_tiny_distilled_patch16_224", 64, 16, SMALL_VIT),
    "DINO": Family("vit_small_patch16_224.dino", 64, 16, SMALL_VIT),
    "DINOv2": Family("vit_small_patch14_dinov2.lvd142m", 70, 14, SMALL_VIT),
    "DINOv2, registers": Family("vit_small_patch14_reg4_dinov2", 70, 14, SMALL_VIT),
    "DINOv3": Family("vit_small_patch16_dinov3", 64, 16, SMALL_VIT),
    "CLIP": Family("vit_base_patch32_clip_224.openai", 96, 32, SMALL_VIT),
    "Swin": Family("swin_tiny_patch4_window7_224", 64, 32, SMALL_SWIN),
    "Swin 2": Family("swinv2_tiny_window8_256", 64, 32, SMALL_SWIN),
    "ConvNeXt": Family("test_convnext", 96, 32, {}, True),
    "ResNet": Family("test_resnet", 96, None, {}, True),
    "one size": Family("vit_relpos_small_patch16_224", None, 16, SMALL_VIT),
    "one size, convolutional": Family("test_maxvit", None, 32, {}, True),
}
WITHOUT_OUTPUTS = {"DINO", "DINOv2", "DINOv2, registers", "DINOv3", "CLIP"}


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Iterator[tuple[str, Backbone, Any]]:
    """Name, network, and timm's own with the same weights."""
    name, of = request.param, FAMILIES[request.param]
    create: Callable[..., Any] = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda *given, **options: create(*given, **options, **of.options))
        backbone = build_backbone("timm", input_size=of.input_size, model_name=of.model_name)
        sizes = [{"dynamic_img_size": True, "dynamic_img_pad": True}, {"dynamic_img_size": True}, {}]
        published = next(filter(None, (_created(of.model_name, options) for options in sizes))).eval()
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            for parameter in backbone.parameters():  # random scales and shifts too: as published, many are 0 or 1
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        own = {part.split(".", 2)[2]: value for part, value in backbone.state_dict().items() if ".timm." in part}
        missing, unexpected = published.load_state_dict(own, strict=False)
        assert not unexpected
        assert not missing or (name in WITHOUT_OUTPUTS and all("head" in part for part in missing))
        yield name, backbone, published


def _created(model_name: str, options: dict[str, Any]) -> Any:
    try:
        return timm.create_model(model_name, **options)
    except TypeError:
        return None


def noise(n: int, h: int, w: int) -> Tensor:
    return torch.randn(n, 3, h, w, generator=torch.Generator().manual_seed(1))


def sample(h: int = 75, w: int = 130) -> Sample:
    return Sample("a", np.random.default_rng(0).integers(0, 256, (h, w, 3), dtype=np.uint8))


def ask(network: Network, question: Question, about: Sample) -> Any:
    view, rows = network.prepare(about), range(len(question.keys()))
    return network.assemble(question, network.answer([NetworkInput(view, question, row) for row in rows]))


@torch.no_grad()
def test_the_map_is_timms_own(family: tuple[str, Backbone, Any]) -> None:
    name, backbone, published = family
    of, side = FAMILIES[name], backbone.input_size
    assert (backbone.stride, backbone.is_convolutional) == (of.stride, of.is_convolutional)
    assert backbone.takes_any_size == (of.input_size is not None)
    sizes = [(side, side), (of.stride or 32, 2 * side), (side - 5, side + 3)] if of.input_size else [(side, side)]
    for h, w in sizes:
        inputs = noise(2, h, w)
        padded = inputs
        if not of.is_convolutional and of.stride:
            padded = F.pad(inputs, (0, -w % of.stride, 0, -h % of.stride))
        found = backbone.trunk(inputs)
        if of.is_convolutional:
            torch.testing.assert_close(found, published.forward_features(inputs))
            continue
        (expected,) = published.forward_intermediates(
            padded, indices=1, intermediates_only=True, output_fmt="NCHW", norm=True
        )
        torch.testing.assert_close(found, expected)
        assert found.shape[2:] == (-(-h // of.stride), -(-w // of.stride))  # type: ignore[operator]


@torch.no_grad()
def test_the_outputs_are_timms_own(family: tuple[str, Backbone, Any]) -> None:
    name, backbone, published = family
    inputs = noise(2, backbone.input_size, backbone.input_size)
    outputs, feature_map = backbone.outputs_and_map(inputs)
    assert outputs.shape == (2, 1000)
    torch.testing.assert_close(feature_map, backbone.trunk(inputs))
    assert backbone.has_imagenet_outputs == (name not in WITHOUT_OUTPUTS)
    if backbone.has_imagenet_outputs:
        torch.testing.assert_close(outputs, published(inputs))
    else:
        torch.testing.assert_close(outputs, backbone.last_layer(feature_map.mean(dim=(2, 3))))
    # the head's outputs of a map are the network's own, but where those are read off a class token
    has_token = getattr(published, "global_pool", "") in ("token", "map") and backbone.has_imagenet_outputs
    if not has_token:
        torch.testing.assert_close(backbone.head(feature_map), outputs, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_every_question_is_answered(family: tuple[str, Backbone, Any]) -> None:
    _, backbone, _ = family
    network = Network(backbone, [(0,), (1, 2), ()], device="cpu")
    image, side = sample(), backbone.input_size
    xyxy = np.array([[5, 5, 60, 60], [20, 10, 130, 70], [0, 0, 3, 3]], np.float32)
    d, rows, columns = ask(network, FeatureMap(), image).shape
    for question in (Whole(), Cropped(xyxy), Masked(xyxy), Regions(xyxy)):
        outputs = ask(network, question, image)
        assert outputs.scores.shape == (len(getattr(question, "xyxy", [0])), 1000)
        assert np.isfinite(outputs.logits).all()
    assert ask(network, RegionFeatures(xyxy, grid=2), image).shape == (3, 4 * d)
    gradient = ask(network, PixelGradient(0), image)
    assert gradient.shape == (3, side, side)
    maps = ask(network, LayerMaps(0), image)
    assert maps.activations.shape == maps.gradients.shape
    assert maps.activations.shape[1:] == (rows, columns)
    neurons = ask(network, NeuronRank(2, 0), image)
    guided = ask(network, GuidedBackprop(neurons.places), image)
    assert guided.shape == (2, 3, side, side)
    for values in (gradient, maps.gradients, guided):
        assert np.isfinite(values).all()
        assert np.abs(values).max() > 0
    ((_, boxes),) = localize_all([("a", Sample("a", image.pixels, (0,)))], Cam(), network)
    assert isinstance(boxes, Boxes)
    assert len(boxes) == 1


def test_masked_inputs_are_painted_over_and_share_passes(family: tuple[str, Backbone, Any]) -> None:
    _, backbone, _ = family
    network, side = Network(backbone, [(0,)], device="cpu"), backbone.input_size
    image = sample(side, side)
    xyxy = np.array([[4, 8, 30, 40], [0, 0, side, side], [20, 20, 24, 50]], np.float32)
    passes: list[int] = []
    first = next(backbone.trunk.timm.children())  # type: ignore[union-attr]
    handle = first.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    found = ask(network, Masked(xyxy), image).logits
    handle.remove()
    assert backbone.is_convolutional or passes == [3]
    painted = network.prepare(image).input.repeat(3, 1, 1, 1)
    for one, (x1, y1, x2, y2) in zip(painted, xyxy.astype(int), strict=True):
        one[:, y1:y2, x1:x2] = 0
    np.testing.assert_allclose(found, network.logits(painted).numpy(), atol=1e-3)


@pytest.mark.parametrize("family", ["ViT", "ViT, average", "DeiT"], indirect=True)
def test_gradients_at_tokens_are_those_of_the_patches_on_their_grid(family: tuple[str, Backbone, Any]) -> None:
    _, backbone, published = family
    network, image = Network(backbone, [(3,)], device="cpu"), sample()
    found = ask(network, LayerMaps(0), image)
    kept: list[Tensor] = []
    handle = published.blocks[-1].norm1.register_forward_hook(lambda *given: kept.append(given[2]))
    inputs = network.prepare(image).input[None].clone()
    score = published(inputs)[0, 3]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[0])
    n = backbone.input_size // 16
    for values, maps in ((kept[0].detach(), found.activations), (gradient, found.gradients)):
        expected = values[0, 1:].reshape(n, n, -1).permute(2, 0, 1)  # behind the class token
        np.testing.assert_allclose(maps, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("stride", [14, 16])
def test_boxes_are_scaled_by_the_stride_and_not_by_the_padded_map(stride: int) -> None:
    pyramid = Pyramid(64, (1.0, 2.0), stride=stride)
    size_hw = (90, 130)
    levels = []
    for h, w in pyramid.sizes_hw(size_hw):
        rows, columns = -(-h // stride), -(-w // stride)
        assert (rows * stride, columns * stride) != (h, w)  # it is padded
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        # the pixel of the resized image at the middle of each position, as a share of the image's width and height
        levels.append(SummedMap.of(torch.stack([x * stride / w, y * stride / h], dim=-1)))
    xyxy = np.array([[0, 0, 130, 90], [65, 0, 130, 45], [26, 27, 78, 63]], np.float32)
    centers = pyramid.averages(levels, size_hw, xyxy, grid=1)[:, 0].numpy()
    middle = (xyxy[:, :2] + xyxy[:, 2:]) / 2 / [130, 90]
    np.testing.assert_allclose(centers, middle, atol=0.01)


@torch.no_grad()
@pytest.mark.parametrize("name", ["one size", "one size, convolutional"])
def test_a_network_of_one_size_sees_the_image_in_a_letterbox(name: str) -> None:
    of = FAMILIES[name]
    options = of.options
    create = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda *given, **more: create(*given, **more, **options))
        backbone = build_backbone("timm", model_name=of.model_name)
        with pytest.raises(InputError, match=r"pixels only, got 96; set network.input_size=null"):
            build_backbone("timm", model_name=of.model_name, input_size=96)
    side = backbone.input_size
    assert Pyramid.of(backbone).sizes_hw((50, 100)) == [(side // 2, side)]
    inputs = noise(1, side // 2, side)
    torch.testing.assert_close(backbone.trunk(inputs), backbone.trunk(F.pad(inputs, (0, 0, 0, side - side // 2))))
    roi = RoiFeatures(Network(backbone, [(0,)], device="cpu"))
    assert roi.settings["scales"] == [1.0]
    maps = roi.maps(sample(50, 100))
    assert roi.features(maps, np.array([[0, 0, 30, 50]], np.float32)).shape == (1, roi.dim)


@pytest.fixture
def headless() -> Iterator[Backbone]:
    create = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda *given, **more: create(*given, **more, **SMALL_VIT))
        yield build_backbone("timm", input_size=70, model_name="vit_small_patch14_dinov2")


def test_a_network_without_outputs_asks_for_a_head(headless: Backbone) -> None:
    with pytest.raises(InputError, match=r"no outputs for the 1000 classes of ImageNet; set network.head=finetune"):
        load_network("timm", ["cat"], model_name="vit_small_patch14_dinov2", input_size=70, device="cpu")
    probe = replace_head(headless, 2)
    assert probe.trunk is headless.trunk
    assert isinstance(probe.last_layer, nn.Linear)
    assert probe(noise(1, 70, 70)).shape == (1, 2)


def test_published_weights_of_a_network_without_outputs_load_by_path(headless: Backbone, tmp_path: Path) -> None:
    published = {
        name.removeprefix("trunk.timm."): value + 0.5
        for name, value in headless.state_dict().items()
        if name.startswith("trunk.")
    }
    save_file(published | {"head.weight": torch.zeros(512, 48)}, tmp_path / "published.safetensors")
    path = tmp_path / "published.safetensors"
    loaded = build_backbone("timm", input_size=70, model_name="vit_small_patch14_dinov2", weights=path)
    for name, value in loaded.trunk.state_dict().items():
        torch.testing.assert_close(value, published[name.removeprefix("timm.")])
    del published["blocks.0.norm1.weight"]
    save_file(published, path)
    with pytest.raises(InputError, match=r"lack 'blocks.0.norm1.weight'"):
        build_backbone("timm", input_size=70, model_name="vit_small_patch14_dinov2", weights=path)


@pytest.mark.parametrize("model_name", ["test_vit", "deit_tiny_distilled_patch16_224"])
def test_a_new_head_reads_the_average_of_the_tokens_where_the_published_one_reads_a_class_token(
    model_name: str, tmp_path: Path
) -> None:
    backbone = replace_head(build_backbone("timm", input_size=64, model_name=model_name), 3)
    inputs = noise(2, 64, 64)
    with torch.no_grad():
        outputs, feature_map = backbone.outputs_and_map(inputs)
        torch.testing.assert_close(outputs, backbone.last_layer(feature_map.mean(dim=(2, 3))))
    path = tmp_path / "trained.safetensors"
    save_weights(path, backbone.state_dict(), WeightsMetadata(backbone.architecture, 3, 64, "softmax", ("a", "b", "c")))
    network = load_network("timm", ["a", "b", "c"], weights=path, model_name=model_name, device="cpu")
    torch.testing.assert_close(network.logits(inputs), outputs)


@pytest.mark.parametrize(
    ("model_name", "message"), [("hiera_tiny_224", "makes no map"), ("vit_unheard_of", "name of a timm network")]
)
def test_networks_without_a_map_or_a_name_are_refused(model_name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_backbone("timm", model_name=model_name)
