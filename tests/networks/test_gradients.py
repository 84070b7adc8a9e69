"""Gradients of the classifier against captum, against hand-made networks, and without a trace in the network."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsdet.engine import localize_all
from wsdet.localizers.dialogue import Dialogue
from wsdet.networks.backbones import Backbone, build_backbone
from wsdet.networks.classifier import Network
from wsdet.networks.gradients import Gradients, last_map_layer
from wsdet.networks.preprocessor import View
from wsdet.questions import (
    GuidedBackprop,
    LayerMaps,
    NetworkInput,
    NeuronRank,
    PixelGradient,
    Question,
    Whole,
)
from wsdet.types import Boxes, InputError, Sample

SIZES = {"tiny": 48, "squeezenet1_0": 64}
OUTPUTS = ((0, 3), (1,), ())


@pytest.fixture(scope="module", params=list(SIZES))
def network(request: pytest.FixtureRequest) -> Network:
    return Network(build_backbone(request.param, 6, SIZES[request.param], seed=2), OUTPUTS, device="cpu")


@pytest.fixture(scope="module")
def tiny() -> Network:
    return Network(build_backbone("tiny", 6, 48, seed=2), OUTPUTS, device="cpu")


def sample(seed: int = 0) -> Sample:
    return Sample(f"s{seed}", np.random.default_rng(seed).integers(0, 256, (60, 70, 3), dtype=np.uint8))


def ask(network: Network, question: Question, about: Sample) -> Any:
    view = network.prepare(about)
    rows = range(len(question.keys()))
    return network.assemble(question, network.answer([NetworkInput(view, question, row) for row in rows]))


def reference(network: Network) -> nn.Module:
    """A copy of the network whose ReLUs captum can hook."""
    model = copy.deepcopy(network.backbone)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model


def input(network: Network, about: Sample) -> Tensor:
    return network.prepare(about).input[None].clone().requires_grad_()


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_guided_backpropagation_equals_captums(network: Network) -> None:
    captum = pytest.importorskip("captum.attr")
    layer = last_map_layer(network.backbone)
    neurons = ask(network, NeuronRank(4, label=1), sample()).places
    found = ask(network, GuidedBackprop(neurons), sample())
    model = reference(network)
    method = captum.NeuronGuidedBackprop(model, model.get_submodule(layer))
    for neuron, gradient in zip(neurons, found, strict=True):
        expected = method.attribute(input(network, sample()), tuple(int(i) for i in neuron))[0]
        np.testing.assert_allclose(gradient, expected.detach().numpy(), atol=1e-5)
    assert np.abs(found).max() > 1e-4


def test_pixel_gradients_equal_captums_saliency(network: Network) -> None:
    captum = pytest.importorskip("captum.attr")
    found = ask(network, PixelGradient(label=1), sample())
    expected = captum.Saliency(reference(network)).attribute(input(network, sample()), target=1, abs=False)
    np.testing.assert_allclose(found, expected[0].detach().numpy(), atol=1e-5)
    assert found.shape == (3, network.input_size, network.input_size)


def test_layer_maps_give_the_class_score_of_a_network_that_ends_in_a_mean(tiny: Network) -> None:
    maps = ask(tiny, LayerMaps(label=1, layer="trunk.features.13"), sample())
    layer = tiny.backbone.last_layer
    assert isinstance(layer, nn.Linear)
    np.testing.assert_allclose(maps.activations, tiny.trunk(tiny.prepare(sample()).input[None])[0].numpy(), atol=1e-6)
    weights = layer.weight[1].numpy() / maps.activations[0].size
    np.testing.assert_allclose(maps.gradients, np.broadcast_to(weights[:, None, None], maps.gradients.shape), atol=1e-7)


def test_ranks_are_the_largest_products_of_activation_and_gradient(tiny: Network) -> None:
    maps = ask(tiny, LayerMaps(label=1), sample())
    neurons = ask(tiny, NeuronRank(7, label=1), sample())
    products = maps.activations * maps.gradients
    np.testing.assert_allclose(neurons.ranks, np.sort(products.ravel())[::-1][:7], rtol=1e-6)
    np.testing.assert_allclose(products[tuple(neurons.places.T)], neurons.ranks, rtol=1e-6)


def test_a_class_is_its_best_output_and_an_unknown_class_the_best_of_all(tiny: Network) -> None:
    logits = ask(tiny, Whole(), sample()).logits[0]
    each = [
        ask(Network(copy.deepcopy(tiny.backbone), [(i,)], device="cpu"), PixelGradient(0), sample()) for i in range(6)
    ]
    np.testing.assert_array_equal(ask(tiny, PixelGradient(0), sample()), each[max((0, 3), key=lambda i: logits[i])])
    for unknown in (2, -1):
        np.testing.assert_array_equal(ask(tiny, PixelGradient(unknown), sample()), each[int(logits.argmax())])


class _Functional(nn.Module):
    """ReLU6 as a function, and a ReLU in place, on the way from pixels to one map."""

    def __init__(self) -> None:
        super().__init__()
        self.relu6, self.relu = nn.ReLU6(inplace=True), nn.ReLU(inplace=True)
        self.identity = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        inner = self.relu6(torch.nn.functional.relu6(self.identity(3 * inputs)))
        return torch.relu_(self.relu(inner * inputs.new_tensor([1.0, -1.0, 2.0]).view(1, 3, 1, 1) + 1))


def test_the_guided_rule_at_relu6_in_place_and_functional() -> None:
    backbone = Backbone(_Functional(), nn.Sequential(nn.Flatten(), nn.Linear(3, 1)), 1, "tiny", 1)
    gradients = Gradients(backbone.eval().requires_grad_(False), [(0,)])
    values = torch.tensor([[[1.0]], [[0.1]], [[3.0]]])  # the third lies above the ceiling once tripled
    places = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    view = View(values[None], values[None], values, (1, 1))
    (guided,) = gradients.answer([NetworkInput(view, GuidedBackprop(places, "trunk"), 0)])
    passed = guided[:, :, 0, 0]
    np.testing.assert_array_equal(passed, [[3, 0, 0], [0, 0, 0], [0, 0, 0]])  # the second passes back -1: cut
    plain = gradients.answer([NetworkInput(view, LayerMaps(0, "trunk.identity"), 0)])[0].gradients
    weight = backbone.last_layer.weight[0].numpy()
    np.testing.assert_allclose(plain[:, 0, 0], weight * [1, -1, 0], rtol=1e-6)


@pytest.mark.parametrize("architecture", ["squeezenet1_0", "mobilenet_v2"])
def test_the_network_is_left_as_it_was(architecture: str) -> None:
    network = Network(build_backbone(architecture, 3, 48), [(0,)], device="cpu")
    about = sample()

    def state() -> list[Any]:
        modules = [
            (name, module.training, getattr(module, "inplace", None), len(module._forward_hooks), module.forward)
            for name, module in network.backbone.named_modules()
        ]
        return [*modules, [p.requires_grad for p in network.backbone.parameters()]]

    before, logits = state(), ask(network, Whole(), about).logits
    ask(network, GuidedBackprop(ask(network, NeuronRank(2, 0, guided=True), about).places), about)
    for bad in (
        GuidedBackprop(np.array([[10**6, 0, 0]])),
        NeuronRank(1, layer="head.flatten"),
        LayerMaps(0, "nowhere"),
    ):
        with pytest.raises(InputError, match="layer"):
            ask(network, bad, about)
    assert state() == before
    np.testing.assert_array_equal(ask(network, Whole(), about).logits, logits)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_an_answer_does_not_depend_on_what_shares_its_batch(network: Network) -> None:
    class Asker:
        def localize(self, about: Sample) -> Dialogue[Boxes]:
            neurons, maps, pixels = yield [NeuronRank(3, 0), LayerMaps(1), PixelGradient(0)]
            (guided,) = yield [GuidedBackprop(neurons.places)]
            sums = [np.abs(value).sum() for value in (neurons.ranks, maps.gradients, pixels, *guided)]
            return Boxes(np.tile([0, 0, 1, 1], (len(sums), 1)), np.array(sums))

    given: list[tuple[str, Sample | InputError]] = [(str(i), sample(i)) for i in range(3)]
    together = [boxes for _, boxes in localize_all(given, Asker(), network, batch_size=5)]
    alone = [boxes for _, boxes in localize_all(given, Asker(), network, batch_size=1, in_flight=1)]
    for a, b in zip(together, alone, strict=True):
        assert isinstance(a, Boxes)
        assert isinstance(b, Boxes)
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-4)


def test_questions_about_one_layer_share_batches() -> None:
    neurons = np.zeros((2, 3), np.int64)
    assert GuidedBackprop(neurons, "a").batch_key == GuidedBackprop(neurons + 1, "a").batch_key
    different: list[Question] = [
        Whole(), PixelGradient(), NeuronRank(1, layer="a"), NeuronRank(1, layer="a", guided=True),
        NeuronRank(1), GuidedBackprop(neurons, "a"), GuidedBackprop(neurons), LayerMaps(0, "a"), LayerMaps(),
    ]  # fmt: skip
    assert len({question.batch_key for question in different}) == len(different)
    assert len({*NeuronRank(1, 0).keys(), *NeuronRank(1, 1).keys(), *NeuronRank(2, 0).keys()}) == 3


@pytest.mark.parametrize(
    ("architecture", "layer"),
    [
        ("tiny", "trunk.features.13"),
        ("squeezenet1_0", "trunk.features.12"),
        ("alexnet", "trunk.features.11"),
        ("mobilenet_v2", "trunk.features.18.2"),
    ],
)
def test_the_default_layer_is_the_last_map_before_pooling(architecture: str, layer: str) -> None:
    assert last_map_layer(build_backbone(architecture, 3)) == layer
