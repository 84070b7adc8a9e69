"""How time and memory grow with the number of images, regions, classes and boxes.

python scripts/bench_growth.py                         # some minutes
python scripts/bench_growth.py --images 1000 100000 --json bench.json

The network is as small as can be: what grows here is the program around it. Each number of images is done in a process
of its own, which tells the most memory that it held. An exponent of 1 means that twice as much takes twice as long.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark import clock_of, parser_of, report, seconds_in_turns, start

from wsdet import boxes
from wsdet.data.synthetic import Synthetic
from wsdet.detectors.rcnn.svm import SvmProblem, newton_cg
from wsdet.engine import localize_all
from wsdet.localizers.sliding import Sliding
from wsdet.localizers.stl import Stl
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.networks.pyramid import SummedMap
from wsdet.questions import NetworkInput, Outputs, Question
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Floats, InputError, Sample

_DIFFERENT = 50  # images; more are these again, under other names


def main() -> None:
    """Prints the tables, and writes all numbers to `--json`."""
    options = _options()
    if options.localize:
        print(json.dumps(_localize(options.localize, clock_of(options))))
        return
    machine, clock = start(options), clock_of(options)
    figures: dict[str, Any] = {"images": _by_images(options)}
    figures["regions"] = _growth((49, 100, 196, 400), _cluster, clock)
    figures["classes"] = _growth((5, 10, 20, 40), _train_machines, clock)
    figures["boxes"] = _growth((500, 1000, 2000, 4000), _pool_boxes, clock)
    figures["boxes_suppressed"] = _growth((500, 1000, 2000, 4000), _suppress, clock)
    report(options, machine, figures)


def _by_images(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and megabytes of localizing each number of images and writing their boxes."""
    again = [sys.executable, __file__, "--clock", options.clock, "--localize"]
    runs = [json.loads(subprocess.check_output([*again, str(n)], text=True)) for n in options.images]
    seconds = [run["seconds"] for run in runs]
    return {
        "values": options.images,
        "seconds": seconds,
        "exponent": _exponent(options.images, seconds),
        "milliseconds_each": [1e3 * s / n for s, n in zip(seconds, options.images, strict=True)],
        "megabytes": [run["megabytes"] for run in runs],
    }


def _localize(n: int, clock: Callable[[], float]) -> dict[str, float]:
    dataset = Synthetic(n_train=_DIFFERENT, n_test=0, size=64)
    painted = [dataset.load(image_id) for image_id in dataset.ids("train")]
    network = Network(build_backbone("tiny", 9, input_size=32), [(label,) for label in range(9)], device="cpu")

    def produce(missing: Sequence[str]) -> Iterator[tuple[str, Boxes | InputError]]:
        named = ((image_id, painted[int(image_id) % _DIFFERENT]) for image_id in missing)
        yield from localize_all(named, Sliding("drop", sides=(0.5,), stride=0.25), network)

    with tempfile.TemporaryDirectory() as folder:
        store, begin = BoxStore(Path(folder) / "store", {}), clock()
        store.fill([str(i) for i in range(n)], produce, "localize")
        seconds = clock() - begin
    return {"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _growth(
    values: Sequence[int], prepare: Callable[[int], Callable[[], object]], clock: Callable[[], float]
) -> dict[str, Any]:
    """Seconds of what is prepared for each value."""
    works: Mapping[str, Callable[[], object]] = {str(value): prepare(value) for value in values}
    seconds = list(seconds_in_turns(works, clock).values())
    return {"values": list(values), "seconds": seconds, "exponent": _exponent(values, seconds)}


def _exponent(values: Sequence[int], seconds: Sequence[float]) -> float:
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0]) if len(values) > 1 else float("nan")


def _cluster(n_segments: int) -> Callable[[], object]:
    """STL's own part in an image of `n` plain tiles: the network answers at once."""
    tiles = round(n_segments**0.5)
    side = 400 // tiles
    colors = np.random.default_rng(0).integers(0, 256, (tiles, tiles, 3), dtype=np.uint8)
    sample = Sample("tiles", np.ascontiguousarray(colors.repeat(side, axis=0).repeat(side, axis=1)))
    stl = Stl("top", [("hsv", 50)], size=tiles * side)
    return lambda: list(localize_all([(sample.image_id, sample)], stl, _Instant()))


class _Instant:
    """Answers with the numbers that it has at hand."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._logits = self._rng.random((1000, 1000), np.float32)

    def prepare(self, sample: Sample) -> None:
        """Nothing."""

    def answer(self, inputs: Sequence[NetworkInput]) -> list[Any]:
        """Any row."""
        return list(self._logits[self._rng.integers(len(self._logits), size=len(inputs))])

    def assemble(self, question: Question, rows: Sequence[Any]) -> Outputs:
        """The rows as scores."""
        scores = np.stack(rows)
        return Outputs(scores, scores / 1000, scores / 1000)


def _train_machines(n_classes: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 512, generator=generator)
    targets = torch.full((4000, n_classes), -1, dtype=torch.int8)
    for j in range(n_classes):
        x[40 * j : 40 * j + 40] += 0.5 * torch.randn(512, generator=generator)
        targets[40 * j : 40 * j + 40, j] = 1
    problem = SvmProblem(x, targets, torch.full((n_classes,), 2e-3), torch.full((n_classes,), 1e-3))
    return lambda: newton_cg(problem)


def _pool_boxes(n: int) -> Callable[[], object]:
    map_ = torch.rand(40, 60, 512)
    xyxy = torch.from_numpy(_random_boxes(n)) / 10
    return lambda: SummedMap.of(map_).average_cells(xyxy, 3)


def _suppress(n: int) -> Callable[[], object]:
    xyxy, scores = _random_boxes(n), np.random.default_rng(0).random(n).astype(np.float32)
    return lambda: boxes.nms(xyxy, scores, 0.5)


def _random_boxes(n: int) -> Floats:
    """(n, 4) boxes in a input of 400 x 600 pixels."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (n, 2))
    return np.concatenate([corners, corners + rng.uniform(10, 100, (n, 2))], axis=1).astype(np.float32)


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--localize", type=int, default=0, help="this number of images alone, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
