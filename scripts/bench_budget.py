"""The budget of a photo: what each stage computes and moves, the limit that sets, what is reached, and the gap.

python scripts/bench_budget.py                         # ten photos of VOC 2007, under a minute on a quiet machine

All times are the process's own on one thread, in milliseconds per photo; two cores halve them. A limit is the larger of
operations over the rate of this machine's matrix products in float32 and bytes over the rate at which it copies memory,
both measured in the same run; for decoding it is Pillow's decoder alone. Proposals have no such count: their limit is
OpenCV's own work in them (graph segmentation, EdgeBoxes), without ours around it.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from benchmark import SQUEEZENET, VOC, parser_of, report, start
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from wsdet.data.voc import Voc
from wsdet.detectors.rcnn.detector import RcnnDetector
from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.detectors.rcnn.svm import SvmProblem, newton_cg
from wsdet.networks.classifier import Network, load_network
from wsdet.proposals.edge_boxes import EdgeBoxes, gradient_edges
from wsdet.proposals.interleave import Interleave
from wsdet.proposals.selective_search import SelectiveSearch
from wsdet.questions import Masked, NetworkInput
from wsdet.report.text_tables import table
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Sample
from wsdet.vision.resizing import shrunk
from wsdet.vision.segmentation import graph_segments, in_color_space

_SIDE = 250  # of proposals=fast
_ROWS, _CLASSES = 4_000, 20  # of the SVMs
_MASKS = 20


@dataclass(frozen=True)
class Row:
    """A stage.

    Attributes:
        stage: its name.
        milliseconds: a photo.
        limit: milliseconds; 0 where neither operations nor bytes set one.
        gflop: operations a photo; 0 where they are not what counts.
        megabytes: moved a photo; 0 likewise.
    """

    stage: str
    milliseconds: float
    limit: float
    gflop: float = 0.0
    megabytes: float = 0.0


@dataclass(frozen=True)
class Machine:
    """Rates of one thread.

    Attributes:
        gflops: operations a second of matrix products, in 10^9.
        gigabytes: a second of copies, read and written.
    """

    gflops: float
    gigabytes: float

    @classmethod
    def measured(cls) -> Machine:
        """The best of a few."""
        a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
        large = torch.zeros(2**25)
        products = min(_seconds(lambda: a @ b) for _ in range(10))
        copies = min(_seconds(lambda: large.clone()) for _ in range(5))
        return cls(2 * 1024**3 / products / 1e9, 2 * large.nbytes / copies / 1e9)

    def row(self, stage: str, n: int, work: Callable[[], object], n_bytes: float = 0.0) -> Row:
        """A stage of `n` photos by its operations and bytes."""
        with FlopCounterMode(display=False) as counter:  # and warms up
            work()
        flop = counter.get_total_flops() / n
        seconds = min(_seconds(work) for _ in range(2)) / n
        limit = max(flop / 1e9 / self.gflops, n_bytes / n / 1e9 / self.gigabytes)
        return Row(stage, 1e3 * seconds, 1e3 * limit, flop / 1e9, n_bytes / n / 1e6)


def budget(machine: Machine, dataset: Voc, ids: tuple[str, ...], network: Network, out: Path) -> list[Row]:
    """All stages, in their order."""
    n = len(ids)
    samples = [dataset.load(image_id) for image_id in ids]
    rows = [Row("decode", _each(lambda: [dataset.load(i) for i in ids], n), _each(_decoder(dataset, ids), n))]
    edges = EdgeBoxes(max_side=_SIDE, alpha=0.55, max_boxes=1000)
    source = Interleave({"edges": edges, "regions": SelectiveSearch(max_side=_SIDE, max_boxes=1000)})
    proposals = [source.propose(sample) for sample in samples]
    found = _each(lambda: [source.propose(sample) for sample in samples], n)
    rows.append(Row("proposals", found, _each(lambda: [_opencv_alone(sample) for sample in samples], n)))
    features = RoiFeatures(network)
    maps = [features.maps(sample) for sample in samples]
    rows.append(machine.row("maps at three scales", n, lambda: [features.maps(sample) for sample in samples]))
    for n_boxes in (400, 2000):
        gathered = sum(len(boxes[:n_boxes]) * features.dim * 16 * 4 for boxes in proposals)
        rows.append(
            machine.row(
                f"features of up to {n_boxes} boxes",
                n,
                lambda n_boxes=n_boxes: [  # type: ignore[misc]
                    features.features(of_image, boxes.xyxy[:n_boxes])
                    for of_image, boxes in zip(maps, proposals, strict=True)
                ],
                gathered,
            )
        )
    rows.append(machine.row(f"{_MASKS} masked inputs", n, lambda: _masked(network, samples, proposals)))
    described = [features.features(m, b.xyxy) for m, b in zip(maps, proposals, strict=True)]
    rows.append(machine.row("learning: SVMs of 20 classes, 100 rows a photo", _ROWS // 100, _svms(features.dim)))
    weights = np.random.default_rng(0).normal(size=(_CLASSES, features.dim)).astype(np.float32)
    detector = RcnnDetector(features, dataset.classes, weights, np.zeros(_CLASSES, np.float32))
    selected = lambda: [  # noqa: E731
        detector.select(boxes.xyxy, x, sample.size_hw)
        for boxes, x, sample in zip(proposals, described, samples, strict=True)
    ]
    rows.append(machine.row("scoring", n, selected, sum(x.nbytes for x in described)))
    detections = dict(zip(ids, selected(), strict=True))
    written = sum(len(boxes) * 7 * 4 for boxes in detections.values())
    seconds = _seconds(lambda: BoxStore(out, {}).fill(list(ids), lambda _: detections.items(), "write"))
    rows.append(Row("writing", 1e3 * seconds / n, 0.0, 0.0, written / n / 1e6))
    return rows


def _decoder(dataset: Voc, ids: tuple[str, ...]) -> Callable[[], object]:
    content = [dataset.path(image_id).read_bytes() for image_id in ids]
    return lambda: [Image.open(io.BytesIO(one)).load() for one in content]


def _opencv_alone(sample: Sample) -> None:
    image = shrunk(sample.pixels, _SIDE)
    for name in ("hsv", "lab"):
        colors = in_color_space(image, name)
        for k in (50, 100):
            graph_segments(colors, 0.8, k, k)
    finder = cv2.ximgproc.createEdgeBoxes(alpha=0.55, maxBoxes=1000, minBoxArea=0.005 * image.shape[0] * image.shape[1])
    finder.getBoundingBoxes(*gradient_edges(image))


def _masked(network: Network, samples: list[Sample], proposals: list[Boxes]) -> None:
    inputs = []
    for sample, boxes in zip(samples, proposals, strict=True):
        view, question = network.prepare(sample), Masked(boxes.xyxy[:_MASKS])
        inputs += [NetworkInput(view, question, row) for row in range(len(question.xyxy))]
    for first in range(0, len(inputs), 32):
        network.answer(inputs[first : first + 32])


def _svms(dim: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    x = torch.relu(torch.randn(_ROWS, dim, generator=generator))
    x *= 20 / x.norm(dim=1).mean()
    targets = torch.full((_ROWS, _CLASSES), -1, dtype=torch.int8)
    targets[torch.arange(_ROWS // 10), torch.arange(_ROWS // 10) % _CLASSES] = 1
    cost = torch.full((_CLASSES,), 1e-3)
    problem = SvmProblem(x.half(), targets, cost, cost)
    return lambda: newton_cg(problem)


def _each(work: Callable[[], object], n: int) -> float:
    """Milliseconds per photo, the better of two."""
    return 1e3 * min(_seconds(work) for _ in range(2)) / n


def _seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    """Prints the table, and writes the figures to `--json`."""
    options = _options()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    about = start(options)
    machine = Machine.measured()
    print(f"matrix products {machine.gflops:.0f} GFLOP/s, copies {machine.gigabytes:.1f} GB/s, one thread")
    dataset = Voc(VOC)
    ids = dataset.ids("test")[: options.images]
    network = load_network("squeezenet1_0", dataset.classes, weights=SQUEEZENET, device="cpu", precision="float32")

    with tempfile.TemporaryDirectory() as folder:
        rows = budget(machine, dataset, ids, network, Path(folder) / "store")
    headers = ["stage", "GFLOP", "MB", "limit, ms", "reached, ms", "gap"]
    print(table(headers, [_cells(row) for row in rows]))
    figures = {row.stage: {"milliseconds": row.milliseconds, "limit": row.limit} for row in rows}
    if options.json:
        report(options, about, {"gflops": machine.gflops, "gigabytes": machine.gigabytes, "stages": figures})


def _cells(row: Row) -> list[Any]:
    counted = [f"{value:.2f}" if value else "" for value in (row.gflop, row.megabytes)]
    limit, gap = (f"{row.limit:.1f}", f"{row.milliseconds / row.limit:.1f}") if row.limit else ("", "")
    return [row.stage, *counted, limit, f"{row.milliseconds:.1f}", gap]


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
