"""What incremental passes save on masked inputs, by the size of the mask and on the masks of STL.

python scripts/bench_incremental.py                        # some minutes
python scripts/bench_incremental.py --images 1 --json bench.json

Incremental and full passes take turns. Photos and weights are read from ../shared or WSDET_SHARED; without them, only
the figures by size are made.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from benchmark import SQUEEZENET, VOC, clock_of, parser_of, precisions, report, seconds_in_turns, start

from wsdet import boxes
from wsdet.data.voc import Voc
from wsdet.engine import localize_all
from wsdet.localizers.stl import Stl
from wsdet.networks.backbones import Backbone, build_backbone
from wsdet.networks.classifier import Network, load_network
from wsdet.networks.incremental import IncrementalNetwork
from wsdet.questions import Masked, NetworkInput
from wsdet.types import Floats, Sample

_SIDES = (0.06, 0.12, 0.25, 0.5, 0.75, 0.9, 1.0)  # of a mask, relative to the input's


def by_mask_size(
    options: argparse.Namespace, backbone: Backbone, precision: str, clock: Callable[[], float]
) -> dict[str, Any]:
    """Square masks of each size, at random places: share of multiply-adds, and milliseconds per input."""
    size, n = backbone.input_size, options.batch_size
    rng = np.random.default_rng(0)
    full, incremental = (
        Network(copy.deepcopy(backbone), [(0,)], device=options.device, precision=precision, incremental=choice)
        for choice in (False, True)
    )
    counter = IncrementalNetwork(incremental.backbone, incremental.prepare(_noise(size, rng)).input)
    view = {network: network.prepare(_noise(size, rng)) for network in (incremental, full)}
    columns: dict[str, list[float]] = {name: [] for name in ("side", "multiply_adds", "ms", "ms_full", "speedup")}
    for side in (max(round(share * size), 1) for share in _SIDES):
        corners = rng.integers(0, size - side + 1, (n, 2))
        xyxy = np.concatenate([corners, corners + side], axis=1)
        needed, all_of_them = counter.multiply_adds(xyxy)
        question = Masked(xyxy.astype(np.float32))

        def answers(network: Network, question: Masked = question) -> Callable[[], object]:
            return lambda: network.answer([NetworkInput(view[network], question, row) for row in range(n)])

        seconds = seconds_in_turns({"ms": answers(incremental), "ms_full": answers(full)}, clock, options.rounds)
        row = {name: 1e3 * value / n for name, value in seconds.items()}
        row |= {
            "side": side,
            "multiply_adds": float(needed.mean() / all_of_them),
            "speedup": row["ms_full"] / row["ms"],
        }
        for name, column in columns.items():
            column.append(row[name])
    return columns


def on_stl(options: argparse.Namespace, clock: Callable[[], float]) -> dict[str, Any]:
    """STL-CL on photos of VOC, with appearance from the feature map: nearly all its inputs are masked ones."""
    dataset = Voc(VOC)
    samples = [(image_id, dataset.load(image_id)) for image_id in dataset.ids("train")[: options.images]]
    seconds, found, masks = [], [], []
    for incremental in (True, False):
        network = load_network(
            "squeezenet1_0",
            dataset.classes,
            weights=SQUEEZENET,
            device=options.device,
            precision="float32",
            incremental=incremental,
        )
        recorder = _Recorder(network)
        begin = clock()
        stl = Stl(appearance="map")
        found.append([outcome for _, outcome in localize_all(samples, stl, recorder, options.batch_size)])
        seconds.append(clock() - begin)
        masks.append(np.concatenate(recorder.masks))
    size = network.input_size
    counter = IncrementalNetwork(network.backbone, network.prepare(samples[0][1]).input)
    needed, all_of_them = counter.multiply_adds(np.rint(masks[0] * size).astype(np.int64))
    return {
        "masks_an_image": len(masks[0]) / options.images,
        "median_area": float(np.median(boxes.area(masks[0]))),
        "multiply_adds": float(needed.mean() / all_of_them),
        "seconds_an_image_incremental": seconds[0] / options.images,
        "seconds_an_image_full": seconds[1] / options.images,
        "speedup": seconds[1] / seconds[0],
        "same_boxes": all(
            a.xyxy.shape == b.xyxy.shape and np.allclose(a.xyxy, b.xyxy, atol=1e-3) for a, b in zip(*found, strict=True)
        ),
        "bytes_an_image": counter.bytes_per_input,
    }


class _Recorder:
    """A network that keeps the masks it was asked about, in relative coordinates."""

    def __init__(self, network: Network) -> None:
        self.prepare = network.prepare
        self.assemble = network.assemble
        self._answer = network.answer
        self.masks: list[Floats] = []

    def answer(self, inputs: Sequence[NetworkInput]) -> list[Any]:
        for view, question, row in inputs:
            if isinstance(question, Masked):
                h, w = view.size_hw
                self.masks.append(question.xyxy[row : row + 1] / np.array([w, h, w, h], np.float32))
        return self._answer(inputs)


def _noise(size: int, rng: np.random.Generator) -> Sample:
    return Sample("noise", rng.integers(0, 256, (size, size, 3), dtype=np.uint8))


def main() -> None:
    """Prints the figures, and writes all numbers to `--json`."""
    options = _options()
    machine, clock = start(options), clock_of(options)
    figures: dict[str, Any] = {
        name: {
            precision: by_mask_size(options, build_backbone(name), precision, clock)
            for precision in precisions(options.device)
        }
        for name in options.architectures
    }
    if options.images and VOC.is_dir():
        figures["stl"] = on_stl(options, clock)
    report(options, machine, figures)


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=4, help="photos for STL; 0: none")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds, of which the best is reported")
    parser.add_argument("--architectures", nargs="+", default=["squeezenet1_0", "tiny"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
