"""Large images with small objects: photos of a data set, shrunk, on wide canvases; and what detectors find in them.

python scripts/small_objects.py make FRUIT CANVASES      # VOC's layout, both splits
python scripts/small_objects.py measure CANVASES RUN/detectors/pseudo --tile 0.25 --drawn DRAWN

`measure` prints the share of objects that are found (IoU > 0.5, score >= --min-score) by their size, and the share of
boxes that are right, with the image alone and with tiles; `--drawn` writes both sets of boxes of the first images.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import wsdet
from wsdet.data.auto import open_any
from wsdet.data.synthetic.dataset import Synthetic
from wsdet.formats.contents import Contents, ExportedImage
from wsdet.formats.voc import image_path, write_voc
from wsdet.metrics.instances import SIZES, count_instances, recall_by_size
from wsdet.report.box_drawing import draw_boxes
from wsdet.report.text_tables import table
from wsdet.types import Boxes, Dataset, Pixels, Split


def make(root: str, out: Path, n_train: int, n_test: int, size_hw: tuple[int, int], side: int, seed: int) -> None:
    """Writes canvases with photos of a data set, each with its longer side at `side` pixels or a little off."""
    dataset = Synthetic(n_train=240, n_test=60) if root == "synthetic" else open_any(root)
    images = []
    for split, n in (("train", n_train), ("test", n_test)):
        rng = np.random.default_rng([seed, n_train if split == "train" else n_test])
        for number in range(n):
            pixels, boxes = _canvas(dataset, split, size_hw, side, rng)
            name = f"{split}_{number:04d}.jpg"
            path = out / image_path(ExportedImage(name, name, size_hw, boxes))
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, quality=95)
            images.append(ExportedImage(name, name, size_hw, boxes, split))
    write_voc(out, Contents(dataset.classes, tuple(images), "pasted"))


def _canvas(
    dataset: Dataset, split: Split, size_hw: tuple[int, int], side: int, rng: np.random.Generator, n_photos: int = 12
) -> tuple[Pixels, Boxes]:
    """A canvas of slowly changing color and a little noise, and photos in different cells of a grid."""
    h, w = size_hw
    coarse = rng.uniform(60, 200, (4, 5, 3)).astype(np.float32)
    pixels = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 6, (h, w, 3))
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    cell = round(1.5 * side)
    cells = rng.permutation((h // cell) * (w // cell))[:n_photos].tolist()
    placed = []
    for place, image_id in zip(cells, rng.choice(dataset.ids(split), n_photos, replace=False).tolist(), strict=False):
        photo, true = dataset.load(image_id).pixels, dataset.truth[image_id]
        scale = side * rng.uniform(0.8, 1.2) / max(photo.shape[:2])
        small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        row, column = divmod(place, w // cell)
        y = row * cell + int(rng.integers(cell - small.shape[0] + 1))
        x = column * cell + int(rng.integers(cell - small.shape[1] + 1))
        pixels[y : y + small.shape[0], x : x + small.shape[1]] = small
        placed.append(replace(true, xyxy=true.xyxy * np.float32(scale) + np.array([x, y, x, y], np.float32)))
    return pixels, Boxes.concatenate(placed)


def measure(canvases: Path, folder: Path, tile: float, overlap: float, min_score: float, drawings: Path | None) -> None:
    """Prints what a detector finds in the test canvases, without and with tiles."""
    detector, dataset = wsdet.load(folder), open_any(str(canvases))
    ids = dataset.ids("test")
    rows = []
    for name, side in (("image", None), (f"tile={tile:g}", tile)):
        start = time.process_time()
        found = {i: detector.predict(dataset.load(i).pixels, min_score, tile=side, tile_overlap=overlap) for i in ids}
        seconds = (time.process_time() - start) / len(ids)
        counts = count_instances(found, dataset.truth, ids, len(dataset.classes))
        by_size = recall_by_size(found, dataset.truth, ids, len(dataset.classes)).values()
        recalls = [f"{recall:.3f} of {n}" for recall, n in by_size]
        rows.append([name, *recalls, f"{counts.recall:.3f}", f"{counts.precision:.3f}", f"{seconds:.1f}"])
        if drawings is not None:
            for i in ids[:3]:
                path = drawings / f"{name}_{i}.jpg"
                draw_boxes(path, dataset.load(i).pixels, found[i], dataset.classes)
    header = ["seen", *(f"recall, {name}" for name in SIZES), "all", "precision", "s/image"]
    print(table(header, rows))


def _pixels_hw(text: str) -> tuple[int, int]:
    w, h = map(int, text.split("x"))
    return h, w


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    maker = commands.add_parser("make", help="write canvases")
    maker.add_argument("root", help="a labeled data set with ground truth, or synthetic: the built-in scenes")
    maker.add_argument("out", type=Path)
    maker.add_argument("--train", type=int, default=40)
    maker.add_argument("--test", type=int, default=12)
    maker.add_argument("--size", type=_pixels_hw, default=(1200, 1600), help="WIDTHxHEIGHT in pixels")
    maker.add_argument("--side", type=int, default=110, help="longer side of the photos in pixels")
    maker.add_argument("--seed", type=int, default=0)
    measurer = commands.add_parser("measure", help="detect in them")
    measurer.add_argument("canvases", type=Path)
    measurer.add_argument("detector", type=Path, help="RUN/detectors/NAME")
    measurer.add_argument("--tile", type=float, default=0.25)
    measurer.add_argument("--overlap", type=float, default=0.25)
    measurer.add_argument("--min-score", type=float, default=0.5)
    measurer.add_argument("--drawn", type=Path)
    given = parser.parse_args()
    if given.command == "make":
        make(given.root, given.out, given.train, given.test, given.size, given.side, given.seed)
    else:
        measure(given.canvases, given.detector, given.tile, given.overlap, given.min_score, given.drawn)


if __name__ == "__main__":
    main()
