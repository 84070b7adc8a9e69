"""Self-Taught Localization by the engine against one input at a time, on photos of VOC 2007, at the same boxes.

python scripts/bench_stl.py                                    # four photos in the paper's setting, some minutes
python scripts/bench_stl.py --device cuda --images 64 --batch-size 256 --json bench.json

What is compared: `scripts/stl_reference.py`, which sends every mask and every crop through the network on its own, as
PyTorch runs it by default; the engine, in float32 and in the faster precision; the engine with full passes only; the
engine without crops (`appearance: pyramid`: other boxes, see docs/growth.md); and the bare
network on ready batches of its best size, without images, segmentations, masks or crops. Photos and weights are read
from ../shared or WSDET_SHARED.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from benchmark import (
    SQUEEZENET,
    VOC,
    as_pytorch_has_it,
    clock_of,
    parser_of,
    precisions,
    report,
    seconds_in_turns,
    start,
)
from stl_reference import SequentialStl

from wsdet.data.voc import Voc
from wsdet.engine import localize_all
from wsdet.localizers.stl import Stl
from wsdet.networks.classifier import Network, load_network
from wsdet.types import Boxes, Sample

_BARE_BATCHES = (8, 16, 32, 64)


@dataclass(frozen=True)
class Run:
    """What one way to localize the photos gave.

    Attributes:
        found: boxes of each photo.
        inputs: that went through the network, a photo.
        seconds: a photo.
    """

    found: list[Boxes]
    inputs: float
    seconds: float


def sequential(network: Network, samples: list[Sample], clock: Callable[[], float]) -> Run:
    """The reference."""
    stl = SequentialStl(network)
    begin = clock()
    found = [stl.localize(sample) for sample in samples]
    return Run(found, stl.passes / len(samples), (clock() - begin) / len(samples))


def engine(network: Network, samples: list[Sample], batch_size: int, clock: Callable[[], float], stl: Stl) -> Run:
    """The same by the engine."""
    named = [(sample.image_id, sample) for sample in samples]
    before, begin = network.n_forward_passes, clock()
    found = [outcome for _, outcome in localize_all(named, stl, network, batch_size)]
    seconds = (clock() - begin) / len(samples)
    return Run(
        [boxes for boxes in found if isinstance(boxes, Boxes)],
        (network.n_forward_passes - before) / len(samples),
        seconds,
    )


def bare_inputs_per_second(network: Network, batches: list[int], clock: Callable[[], float]) -> float:
    """What the network does at its best batch size."""
    works = {}
    for n in batches:
        inputs = torch.randn(n, 3, network.input_size, network.input_size, device=network.device)
        inputs = inputs.to(network.dtype).contiguous(memory_format=torch.channels_last)
        works[str(n)] = lambda inputs=inputs: network.logits(inputs)
    return max(int(n) / seconds for n, seconds in seconds_in_turns(works, clock).items())


def same(a: list[Boxes], b: list[Boxes]) -> bool:
    """Whether two runs gave the same boxes in the same order."""
    return all(
        x.xyxy.shape == y.xyxy.shape and np.allclose(x.xyxy, y.xyxy, atol=1e-3) and (x.labels == y.labels).all()
        for x, y in zip(a, b, strict=True)
    )


def main() -> None:
    """Prints the figures of all of them, and writes them to `--json`."""
    options = _options()
    clock, dataset = clock_of(options), Voc(VOC)
    samples = [dataset.load(image_id) for image_id in dataset.ids("train")[: options.images]]
    few = samples[: options.sequential]

    def network_of(precision: str, incremental: bool | str = "auto") -> Network:
        return load_network(
            "squeezenet1_0",
            dataset.classes,
            weights=SQUEEZENET,
            device=options.device,
            precision=precision,
            incremental=incremental,  # type: ignore[arg-type]
        )

    # before start(), which changes how the process keeps memory: that is ours, too
    plain = as_pytorch_has_it(network_of("float32"))
    one_by_one = sequential(plain, few, clock)
    plain_inputs_per_second = bare_inputs_per_second(plain, [1], clock)
    machine = start(options)
    fastest = precisions(options.device)[-1]
    network, batches = network_of(fastest), sorted({*_BARE_BATCHES, options.batch_size})
    bare_before = bare_inputs_per_second(network, batches, clock)

    exact = engine(network_of("float32"), few, options.batch_size, clock, Stl())
    best = engine(network, samples, options.batch_size, clock, Stl())
    full = engine(network_of(fastest, False), samples, options.batch_size, clock, Stl())
    without_crops = engine(network, samples, options.batch_size, clock, Stl(appearance="pyramid"))
    # the machine may have been faster or slower meanwhile: the faster figure counts, against us
    bare = max(bare_before, bare_inputs_per_second(network, batches, clock))
    # the photos that were done one by one may be larger or smaller than all of them
    one_by_one_seconds = one_by_one.seconds * best.inputs / exact.inputs
    report(
        options,
        machine,
        {
            "precision": fastest,
            "images_per_second": 1 / best.seconds,
            "images_per_second_one_by_one": 1 / one_by_one_seconds,
            "speedup": one_by_one_seconds / best.seconds,
            "speedup_float32": one_by_one.seconds / exact.seconds,
            "speedup_without_crops": one_by_one_seconds / without_crops.seconds,
            "same_boxes": same(exact.found, one_by_one.found),
            "passes_per_image": best.inputs,
            "passes_per_image_one_by_one": one_by_one.inputs,
            "passes_avoided": 1 - exact.inputs / one_by_one.inputs,
            "network_inputs_per_second": bare,
            "network_inputs_per_second_one_by_one": plain_inputs_per_second,
            "share_of_network_throughput": best.inputs / best.seconds / bare,
            "share_of_network_throughput_full_passes": full.inputs / full.seconds / bare,
        },
    )


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=4, help="photos: two alone do not fill batches")
    parser.add_argument("--sequential", type=int, default=1, help="photos that are done one input at a time, too")
    parser.add_argument("--batch-size", type=int, default=64)
    return parser.parse_args()


if __name__ == "__main__":
    main()
