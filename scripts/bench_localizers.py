"""The other localizers' questions against the plainest way to answer them: captum, or one input at a time.

python scripts/bench_localizers.py                     # about a minute
python scripts/bench_localizers.py --device cuda --json bench.json

The plain way is in float32, the network as PyTorch runs it by default; ours is in float32 and in bfloat16, with how far
its maps are from the plain ones: |ours - plain| / |plain|, over all maps. "regions" are the scores of 1,000 boxes of an
image read off its pyramid against a crop each, timed on a few and counted up. The inputs are painted on the spot;
SqueezeNet has its trained weights where they are, random ones elsewhere: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from benchmark import SQUEEZENET, as_pytorch_has_it, clock_of, parser_of, precisions, report, seconds_in_turns, start
from captum.attr import LayerGradientXActivation, NeuronGuidedBackprop, Saliency

from wsdet.data.synthetic import Synthetic
from wsdet.engine import localize_all
from wsdet.localizers.eiss import Eiss
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.networks.gradients import last_map_layer
from wsdet.questions import Cropped, GuidedBackprop, LayerMaps, NetworkInput, PixelGradient, Question, Regions
from wsdet.types import Sample

_NEURONS = np.array([[channel, 6, 6] for channel in range(10)])  # of an image, as many as DAM maps back
_CROPPED = 8  # of the boxes, counted up to all of them
_BOXES = np.random.default_rng(0).uniform(0, 200, (1000, 4)).astype(np.float32) + np.array([0, 0, 200, 200], np.float32)


def main() -> None:
    """Prints how many times as fast each is, and writes the figures to `--json`."""
    options = _options()
    machine, clock = start(options), clock_of(options)
    dataset = Synthetic(n_train=options.images, n_test=0, size=400)
    samples = [dataset.load(image_id) for image_id in dataset.ids("train")]
    plain = _plain(as_pytorch_has_it(_network(options.device, "float32", False)), samples)
    ours = {name: _ours(_network(options.device, name, "auto"), samples) for name in precisions(options.device)}
    works = {f"{method} plain": work for method, work in plain.items()}
    works |= {f"{method} {name}": work for name, methods in ours.items() for method, work in methods.items()}
    seconds = seconds_in_turns(works, clock, options.rounds)
    seconds["regions plain"] *= len(_BOXES) / _CROPPED
    figures: dict[str, dict[str, float]] = {}
    for name in ours:
        figures[name] = {
            f"{method}_speedup": seconds[f"{method} plain"] / seconds[f"{method} {name}"] for method in plain
        }
        figures[name]["sensitivity_share_of_bare_pass"] = seconds[f"bare {name}"] / seconds[f"sensitivity {name}"]
        figures[name]["regions_milliseconds_an_image"] = 1e3 * seconds[f"regions {name}"] / len(samples)
        for method in ("cam", "dam", "sensitivity"):
            figures[name][f"{method}_difference"] = _difference(works[f"{method} {name}"](), plain[method]())
    report(options, machine, figures)


def _ours(network: Network, samples: Sequence[Sample]) -> dict[str, Callable[[], Any]]:
    """Each method's maps of all images, in batches; "bare": one batch there and back, nothing else."""
    views = [network.prepare(sample) for sample in samples]
    inputs = torch.stack([view.input for view in views]).contiguous(memory_format=torch.channels_last)

    def answers(question: Question) -> list[Any]:
        return network.answer([NetworkInput(view, question, 0) for view in views])

    return {
        "cam": lambda: [maps.activations * maps.gradients for maps in answers(LayerMaps(0))],
        "dam": lambda: answers(GuidedBackprop(_NEURONS)),
        "sensitivity": lambda: answers(PixelGradient(0)),
        "eiss": lambda: _eiss(network, samples, 32, 16),
        "regions": lambda: [
            network.answer([NetworkInput(network.prepare(sample), Regions(_BOXES), 0)]) for sample in samples
        ],
        "bare": lambda: _forward_backward(network, inputs),
    }


def _plain(network: Network, samples: Sequence[Sample]) -> dict[str, Callable[[], Any]]:
    """The same by captum, or one input after the other."""
    captum = _Captum(network)
    inputs = [network.prepare(sample).input for sample in samples]
    return {
        "cam": lambda: [captum.layer(input, 0) for input in inputs],
        "dam": lambda: [captum.neuron(input, place) for input in inputs for place in _NEURONS],
        "sensitivity": lambda: [captum.pixels(input, 0) for input in inputs],
        "eiss": lambda: _eiss(network, samples, 1, 1),
        "regions": lambda: [
            network.answer([NetworkInput(view, Cropped(_BOXES), row)])
            for view in map(network.prepare, samples)
            for row in range(_CROPPED)
        ],
    }


def _network(device: str, precision: str, incremental: Any) -> Network:
    backbone = build_backbone("squeezenet1_0", weights=SQUEEZENET if SQUEEZENET.is_file() else None)
    outputs = [(label,) for label in range(1000)]
    return Network(backbone, outputs, device=device, precision=precision, incremental=incremental)


def _difference(ours: Sequence[np.ndarray], plain: Sequence[np.ndarray]) -> float:
    """|ours - plain| / |plain| over all maps."""
    a, b = (np.concatenate([maps.ravel() for maps in some]) for some in (ours, plain))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


class _Captum:
    """The same maps by captum, one input at a time; leaves the network's hooks as they were."""

    def __init__(self, network: Network) -> None:
        # captum counts on ReLUs that are modules of their own and do not overwrite their input
        self._backbone = copy.deepcopy(network.backbone)
        for module in self._backbone.modules():
            if isinstance(module, torch.nn.ReLU):
                module.inplace = False
        self._layer = self._backbone.get_submodule(last_map_layer(self._backbone))

    def layer(self, input: torch.Tensor, output: int) -> np.ndarray:
        """Activation x gradient of the last map."""
        maps = LayerGradientXActivation(self._backbone, self._layer).attribute(self._pixels(input), output)
        return maps.detach().cpu().numpy()

    def neuron(self, input: torch.Tensor, place: np.ndarray) -> np.ndarray:
        """Guided backpropagation of one neuron."""
        attribution = NeuronGuidedBackprop(self._backbone, self._layer)
        return attribution.attribute(self._pixels(input), tuple(place.tolist())).detach().cpu().numpy()

    def pixels(self, input: torch.Tensor, output: int) -> np.ndarray:
        """Gradient at the pixels."""
        return Saliency(self._backbone).attribute(self._pixels(input), output, abs=False).detach().cpu().numpy()

    def _pixels(self, input: torch.Tensor) -> torch.Tensor:
        return input[None].clone().requires_grad_()


def _forward_backward(network: Network, inputs: torch.Tensor) -> torch.Tensor:
    """One batch there and back, nothing else."""
    pixels = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network.backbone(pixels)[:, 0].sum(), pixels)
    return gradient


def _eiss(network: Network, samples: Sequence[Sample], batch_size: int, in_flight: int) -> None:
    named = [(sample.image_id, sample) for sample in samples]
    eiss = Eiss(eta=None, stride=1, n_windows=16, max_iterations=2)
    list(localize_all(named, eiss, network, batch_size, in_flight))


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2, help="number of rounds, of which the best is reported")
    return parser.parse_args()


if __name__ == "__main__":
    main()
