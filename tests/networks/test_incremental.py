"""Composed inputs have the outputs of a full pass: window arithmetic, layers, networks, the classifier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.networks.incremental import IncrementalNetwork
from wsdet.questions import Cropped, FeatureMap, Masked, NetworkInput, Question, Whole
from wsdet.types import InputError, Ints, Sample


def boxes(size: int, n_random: int = 6) -> Ints:
    """The whole input, nothing, single pixels, strips, boxes at each border, and random ones."""
    half = size // 2
    special = [
        [0, 0, size, size],
        [0, 0, 0, 0],
        [3, 5, 3, 9],
        [half, half, half + 1, half + 1],
        [0, 0, 1, 1],
        [size - 1, size - 1, size, size],
        [0, 3, size, 9],
        [half, 0, size, half],
        [1, 1, size - 1, size - 1],
    ]
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, size + 1, (n_random, 2, 2)), axis=1).reshape(-1, 4)
    return np.concatenate([np.array(special), corners])


@torch.inference_mode()
def relative_error(network: nn.Module, size: int) -> float:
    """Largest difference to full passes, as a share of the largest value."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, size, size, generator=generator)
    colors = torch.randn(2, 3, 1, 1, generator=generator)
    incremental = IncrementalNetwork(network, inputs[0])
    outside = [incremental.cache(input) for input in inputs]
    inside = [incremental.cache(color.expand(3, size, size)) for color in colors]
    xyxy = boxes(size)
    composed = []
    for i, (x1, y1, x2, y2) in enumerate(xyxy):
        input = inputs[i % 2].clone()
        input[:, y1:y2, x1:x2] = colors[i // 2 % 2]
        composed.append(input)
    expected = network(torch.stack(composed))
    n = range(len(xyxy))
    outputs = incremental.compose([outside[i % 2] for i in n], [inside[i // 2 % 2] for i in n], xyxy)
    assert outputs.shape == expected.shape
    return float((outputs - expected).abs().amax() / expected.abs().amax())


class Branches(nn.Module):
    """Layers that see differently, and a sum and a concatenation of them."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv2d(3, 6, 1)
        self.far = nn.Conv2d(3, 6, (5, 3), padding=(2, 1))
        self.norm = nn.BatchNorm2d(6)

    def forward(self, inputs: Tensor) -> Tensor:
        near, far = self.near(inputs), self.far(inputs)
        return torch.cat([self.norm(near + far), near], dim=1)


class Normalized(nn.Module):
    """A layer that sees the whole map, between others."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.GroupNorm(2, 8)
        self.after = nn.Conv2d(8, 4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        before = self.before(inputs)
        return self.after(self.norm(before)) + before[:, :4, 1:-1, 1:-1]


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv2d(3, 4, 3, padding=1),
    "stride": lambda: nn.Conv2d(3, 4, 7, stride=3, padding=2),
    "stride above kernel": lambda: nn.Conv2d(3, 4, 1, stride=2),
    "dilation": lambda: nn.Conv2d(3, 4, 3, padding=2, dilation=2),
    "groups": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3, groups=2, padding=1)),
    "depthwise": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8, padding=1)),
    "max pooling": lambda: nn.MaxPool2d(3, 2, padding=1),
    "max pooling, ceil": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "average pooling": lambda: nn.AvgPool2d(3, 2, padding=1),
    "average pooling, ceil": lambda: nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
    "average pooling of the map only": lambda: nn.AvgPool2d(3, 2, padding=1, count_include_pad=False, ceil_mode=True),
    "elementwise": lambda: nn.Sequential(nn.ReLU6(), nn.Dropout(), nn.Identity(), nn.SiLU()),
    "branches": Branches,
    "a layer that is not done incrementally": Normalized,
    "nothing done incrementally": lambda: nn.InstanceNorm2d(3),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("size", [20, 23])
def test_layers_equal_a_full_pass(name: str, size: int) -> None:
    torch.manual_seed(0)
    assert relative_error(nn.Sequential(LAYERS[name]()).eval(), size) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("timm:tf_efficientnet_lite0", 64),
        ("timm:tf_efficientnet_lite0", 75),
        ("timm:test_efficientnet", 64),
        ("tiny", 64),
        ("squeezenet1_0", 67),
        ("vgg16", 32),
        ("alexnet", 95),
        ("resnet50", 64),
        ("mobilenet_v2", 64),
    ],
)
def test_networks_equal_a_full_pass(architecture: str, size: int) -> None:
    if architecture.startswith("timm"):
        pytest.importorskip("timm")
    backbone = build_backbone(architecture, input_size=size)
    generator = torch.Generator().manual_seed(1)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            module.running_mean.normal_(0, 0.1, generator=generator)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2, generator=generator)  # type: ignore[union-attr]
    assert relative_error(backbone, size) < 1e-5


def test_a_network_with_paddings_as_tensorflow_has_them_is_done_incrementally() -> None:
    pytest.importorskip("timm")
    backbone = build_backbone("timm:tf_efficientnet_lite0", input_size=128)
    counted = []
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, _, out: counted.append(layer.weight.numel() * out[0, 0].numel()))
    with torch.no_grad():
        backbone(torch.zeros(1, 3, 128, 128))
    n_full = sum(counted)
    network = IncrementalNetwork(backbone, torch.zeros(3, 128, 128))
    needed, full = network.multiply_adds(np.array([[20, 20, 40, 40], [0, 0, 128, 128]]))
    assert full == n_full
    assert needed[0] < full
    assert needed[1] == 0


def test_multiply_adds_are_those_of_the_cells_that_see_both_sides_of_the_edge() -> None:
    network = IncrementalNetwork(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), torch.zeros(3, 10, 10))
    a_cell = 3 * 4 * 9
    needed, full = network.multiply_adds(np.array([[4, 4, 5, 5], [2, 2, 8, 8], [0, 0, 10, 10], [0, 0, 10, 4]]))
    assert full == 100 * a_cell
    assert (needed / a_cell).tolist() == [9, 8 * 8 - 4 * 4, 0, 2 * 10]


def test_activations_are_forgotten_with_their_objects() -> None:
    network = IncrementalNetwork(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.zeros(3, 10, 10))
    for color in range(100):
        cached = network.cache(torch.full((3, 10, 10), float(color)))
        assert cached.slot < 10
        del cached
    assert network.bytes_per_input == 4 * (3 * 10 * 10 + 4 * 8 * 8)


def test_a_value_overwritten_under_another_layer_is_refused() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)

        def forward(self, inputs: Tensor) -> Tensor:
            values = self.convolution(inputs)
            return self.relu(values) + values

    with pytest.raises(ValueError, match="must not overwrite"):
        IncrementalNetwork(Overwriting(), torch.zeros(3, 8, 8))


def test_a_network_without_a_fixed_graph_is_refused() -> None:
    class Branching(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs if inputs.sum() > 0 else F.relu(inputs)

    with pytest.raises(ValueError, match="can trace"):
        IncrementalNetwork(Branching(), torch.zeros(3, 8, 8))


@pytest.mark.parametrize(
    ("architecture", "dtype", "faster"),
    [
        ("squeezenet1_0", torch.float32, [True, True, False, True]),
        ("squeezenet1_0", torch.bfloat16, [True, True, True, True]),
        ("mobilenet_v2", torch.bfloat16, [True, True, False, True]),
    ],
)
def test_it_is_faster_where_little_is_new(architecture: str, dtype: torch.dtype, faster: list[bool]) -> None:
    backbone = build_backbone(architecture, 2).eval().to(dtype)
    network = IncrementalNetwork(backbone, torch.zeros(3, backbone.input_size, backbone.input_size, dtype=dtype))
    s = backbone.input_size
    xyxy = np.array([[5, 5, 5, 9], [30, 30, 40, 40], [40, 50, 160, 170], [0, 0, s, s]])
    assert network.is_faster(xyxy).tolist() == faster


def test_where_it_is_not_faster_full_passes_answer() -> None:
    network = Network(build_backbone("mobilenet_v2", 3, input_size=64), [(0,)], device="cpu", precision="bfloat16")
    full = Network(build_backbone("mobilenet_v2", 3, input_size=64), [(0,)], "softmax", "cpu", "bfloat16", False)
    sample = Sample("a", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    question = Masked(np.array([[0, 0, 2, 2], [10, 10, 50, 50]], np.float32))
    rows = [
        one.answer([NetworkInput(view, question, row) for row in range(2)])
        for one in (network, full)
        for view in [one.prepare(sample)]
    ]
    np.testing.assert_array_equal(rows[0][1], rows[1][1])
    np.testing.assert_allclose(rows[0][0], rows[1][0], atol=0.05)


def test_the_classifier_answers_the_same() -> None:
    backbone = build_backbone("squeezenet1_0", input_size=64, seed=3)
    rng = np.random.default_rng(0)
    full, incremental = (Network(backbone, [(0,)], device="cpu", incremental=choice) for choice in (False, True))
    samples = [Sample(str(i), rng.integers(0, 256, (50 + 20 * i, 80, 3), dtype=np.uint8)) for i in range(2)]
    xyxy = np.array([[10, 10, 30, 40], [-5, 0, 80, 12.4], [60, 40, 90, 100]], np.float32)
    answers = []
    for network in (full, incremental):
        views = [network.prepare(sample) for sample in samples]
        batches: list[list[Question]] = [
            [Whole(), FeatureMap(), Cropped(xyxy)],
            [Masked(xyxy), Masked(xyxy, "black")],
        ]
        answers.append(
            [
                answer
                for questions in batches
                for answer in network.answer(
                    [
                        NetworkInput(view, question, row)
                        for question in questions
                        for view in views
                        for row in range(len(question.keys()))
                    ]
                )
            ]
        )
    for expected, row in zip(*answers, strict=True):
        np.testing.assert_allclose(row, expected, atol=1e-5)
    with pytest.raises(InputError, match="incremental must be"):
        Network(backbone, [(0,)], device="cpu", incremental="yes")  # type: ignore[arg-type]
