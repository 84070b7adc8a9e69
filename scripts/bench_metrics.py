"""Time of evaluating 100,000 detections in 5,000 images: python scripts/bench_metrics.py [--images N] [--detections N].

Made-up truth of 80 classes, detections around it and elsewhere. The time is the process's own (CPU seconds of one
thread with OMP_NUM_THREADS=1), so that a busy machine measures the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from wsdet.metrics import average_precision as ap
from wsdet.metrics.localization import corloc, top_boxes
from wsdet.report.text_tables import table
from wsdet.types import Boxes

N_CLASSES = 80


def main() -> None:
    """Prints a table of seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--detections", type=int, default=100_000)
    given = parser.parse_args()
    truth, detections = made_up(given.images, given.detections)
    ids = list(truth)
    tasks: dict[str, Callable[[], object]] = {
        "VOC AP, 11 points and all points": lambda: _voc(detections, truth, ids),
        "COCO AP": lambda: ap.coco_average_precision(detections, truth, ids, N_CLASSES),
        "CorLoc": lambda: corloc(top_boxes(detections, truth, ids), N_CLASSES),
    }
    print(f"{given.images:,} images, {sum(map(len, detections.values())):,} detections, {N_CLASSES} classes")
    print(table(["metric", "seconds"], [[name, min(_seconds(task) for _ in range(3))] for name, task in tasks.items()]))


def made_up(n_images: int, n_detections: int) -> tuple[dict[str, Boxes], dict[str, Boxes]]:
    """Ground-truth boxes and detections by image id; half of the detections are shaken ground-truth boxes."""
    rng = np.random.default_rng(0)
    truth, detections = {}, {}
    for index, n in enumerate(np.bincount(rng.integers(n_images, size=n_detections), minlength=n_images)):
        true = _boxes(rng, int(rng.integers(1, 8)))
        near = true[rng.integers(len(true), size=n // 2)]
        shaken = (near.xyxy + rng.normal(0, 8, near.xyxy.shape)).astype(np.float32)
        in_order = np.sort(shaken.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
        hits = Boxes(in_order, rng.random(len(near), np.float32), near.labels)
        found = Boxes.concatenate([hits, _boxes(rng, n - n // 2)])
        truth[f"{index:06d}"], detections[f"{index:06d}"] = true, found
    return truth, detections


def _boxes(rng: np.random.Generator, n: int) -> Boxes:
    corner = rng.uniform(0, 400, (n, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(10, 240, (n, 2))], axis=1).astype(np.float32)
    return Boxes(xyxy, rng.random(n, np.float32), rng.integers(N_CLASSES, size=n))


def _voc(detections: dict[str, Boxes], truth: dict[str, Boxes], ids: list[str]) -> None:
    matches = ap.match(detections, truth, ids, N_CLASSES)
    ap.average_precision(matches, "11")
    ap.average_precision(matches, "all")


def _seconds(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return time.process_time() - start


if __name__ == "__main__":
    main()
