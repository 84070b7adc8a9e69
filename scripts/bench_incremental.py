"""What incremental passes save on masked pictures, by the size of the mask and on the masks of STL.

python scripts/bench_incremental.py                        # some minutes
python scripts/bench_incremental.py --images 1 --json bench.json

Times are of the processor, not of the clock, so that a busy machine does not spoil them; incremental and full passes
take turns. Photos and weights are read from ../shared or WSDET_SHARED; without them, only the tables are made.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsdet import boxes
from wsdet.allocator import keep_freed_memory
from wsdet.backbones import Backbone, build_backbone
from wsdet.data.voc import Voc
from wsdet.engine import localize_all
from wsdet.incremental import IncrementalNetwork
from wsdet.localizers.stl import Stl
from wsdet.network import Network, load_network
from wsdet.questions import Masked, Picture
from wsdet.types import Floats, Sample

_SIDES = (0.03, 0.06, 0.12, 0.25, 0.5, 0.75, 0.9, 1.0)  # of a mask, as shares of the picture's
_SHARED = Path(os.environ.get("WSDET_SHARED") or Path(__file__).resolve().parents[2] / "shared")


def by_mask_size(backbone: Backbone, batch_size: int, rounds: int) -> list[dict[str, float]]:
    """Square masks of each size, at random places: share of multiply-adds and of time."""
    size = backbone.input_size
    rng = np.random.default_rng(0)
    full, incremental = (Network(backbone, [(0,)], incremental=choice, device="cpu") for choice in (False, True))
    counter = IncrementalNetwork(backbone, torch.zeros(3, size, size))
    sample = Sample("noise", rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
    view = {network: network.prepare(sample) for network in (incremental, full)}
    rows = []
    for side in (max(round(share * size), 1) for share in _SIDES):
        corners = rng.integers(0, size - side + 1, (batch_size, 2))
        xyxy = np.concatenate([corners, corners + side], axis=1)
        needed, all_of_them = counter.multiply_adds(xyxy)
        question = Masked(xyxy.astype(np.float32))
        ms, ms_full = (
            _milliseconds_a_picture(
                network, [Picture(view[network], question, row) for row in range(batch_size)], rounds
            )
            for network in (incremental, full)
        )
        rows.append(
            {
                "side": side,
                "multiply_adds": float(needed.mean() / all_of_them),
                "ms": ms,
                "ms_full": ms_full,
                "speedup": ms_full / ms,
            }
        )
    return rows


def on_stl(shared: Path, n_images: int, batch_size: int) -> dict[str, Any]:
    """STL-CL on photos of VOC, with appearance from the feature map: nearly all its pictures are masked ones."""
    dataset = Voc(shared / "data" / "VOCdevkit")
    weights = shared / "weights" / "squeezenet1_0_deepcompression.safetensors"
    samples = [(image_id, dataset.load(image_id)) for image_id in dataset.ids("train")[:n_images]]
    seconds, found, masks = [], [], []
    for incremental in (True, False):
        network = load_network("squeezenet1_0", dataset.classes, weights=weights, device="cpu", incremental=incremental)
        recorder = _Recorder(network)
        start = time.process_time()
        found.append([outcome for _, outcome in localize_all(samples, Stl(appearance="map"), recorder, batch_size)])
        seconds.append(time.process_time() - start)
        masks.append(np.concatenate(recorder.masks))
    size = network.input_size
    counter = IncrementalNetwork(network.backbone, torch.zeros(3, size, size))
    needed, all_of_them = counter.multiply_adds(np.rint(masks[0] * size).astype(np.int64))
    return {
        "images": n_images,
        "masks_an_image": len(masks[0]) / n_images,
        "median_area": float(np.median(boxes.area(masks[0]))),
        "multiply_adds": float(needed.mean() / all_of_them),
        "seconds_an_image_incremental": seconds[0] / n_images,
        "seconds_an_image_full": seconds[1] / n_images,
        "speedup": seconds[1] / seconds[0],
        "same_boxes": all(
            a.xyxy.shape == b.xyxy.shape and np.allclose(a.xyxy, b.xyxy, atol=1e-3) for a, b in zip(*found, strict=True)
        ),
        "bytes_an_image": counter.bytes_a_picture,
    }


class _Recorder:
    """A network that keeps the masks it was asked about, as shares of the image's sides."""

    def __init__(self, network: Network) -> None:
        self.prepare = network.prepare
        self.assemble = network.assemble
        self._answer = network.answer
        self.masks: list[Floats] = []

    def answer(self, pictures: Sequence[Picture]) -> list[Any]:
        for view, question, row in pictures:
            if isinstance(question, Masked):
                h, w = view.size_hw
                self.masks.append(question.xyxy[row : row + 1] / np.array([w, h, w, h], np.float32))
        return self._answer(pictures)


def _milliseconds_a_picture(network: Network, pictures: Sequence[Picture], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.process_time()
        network.answer(pictures)
        times.append(time.process_time() - start)
    return 1e3 * min(times) / len(pictures)


def main() -> None:
    """Prints the tables, and writes all numbers to `--json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4, help="photos for STL")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many is reported")
    parser.add_argument("--architectures", nargs="+", default=["squeezenet1_0", "tiny"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()  # as entry points do
    results: dict[str, Any] = {"processor": _processor(), "threads": torch.get_num_threads()}
    print(f"{results['processor']}, {results['threads']} threads, batches of {options.batch_size}")
    for architecture in options.architectures:
        results[architecture] = by_mask_size(build_backbone(architecture), options.batch_size, options.rounds)
        print(f"\n{architecture}\n{'side':>6} {'multiply-adds':>14} {'ms':>8} {'ms full':>8} {'speed-up':>9}")
        for row in results[architecture]:
            print("{side:6d} {multiply_adds:14.1%} {ms:8.2f} {ms_full:8.2f} {speedup:9.1f}".format(**row))
    if (_SHARED / "data").is_dir():
        results["stl"] = on_stl(_SHARED, options.images, options.batch_size)
        print("\nSTL-CL, squeezenet1_0, photos of VOC 2007")
        for name, value in results["stl"].items():
            print(f"{name:>30} {value:.3g}" if isinstance(value, float) else f"{name:>30} {value}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def _processor() -> str:
    """The processor's name where Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
