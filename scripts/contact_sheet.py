"""Draws images of a dataset with their ground-truth boxes on one sheet: look at the data before any number.

python scripts/contact_sheet.py sheet.png data=synthetic data.class_correlation=1
python scripts/contact_sheet.py sheet.png data=voc data.root=VOCdevkit --split test --images 60
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from wsdet import boxes
from wsdet.cli.build import build
from wsdet.cli.entry_point import CONF
from wsdet.sampling import limited
from wsdet.storage.files import replacing
from wsdet.types import Boxes, Dataset, InputError, Pixels, Sample, Split

_EASY, _DIFFICULT = (60, 230, 60), (235, 70, 60)


def contact_sheet(
    dataset: Dataset,
    split: Split,
    n_images: int = 48,
    columns: int = 8,
    side: int = 256,
    seed: int = 0,
    draw_truth: bool = True,
) -> Pixels:
    """(h, w, 3) RGB: `n_images` sampled with `seed`, each in a tile of `side` x `side`, with ground-truth boxes.

    Boxes are green, difficult ones red; the text gives a box's class, or the image's labels where it has no truth.
    """
    ids = limited(dataset.ids(split), n_images, seed)
    tiles = np.zeros((-(-len(ids) // columns) * columns, side, side, 3), np.uint8)
    for tile, image_id in zip(tiles, ids, strict=False):
        sample = dataset.load(image_id)
        _draw_tile(tile, sample, dataset.truth.get(image_id) if draw_truth else None, dataset.classes)
    rows = tiles.reshape(-1, columns, side, side, 3)
    return rows.transpose(0, 2, 1, 3, 4).reshape(-1, columns * side, 3)


def _draw_tile(tile: Pixels, sample: Sample, truth: Boxes | None, classes: tuple[str, ...]) -> None:
    """Fits an image into the upper left of `tile`, in place, and draws its boxes over it."""
    h, w = sample.size_hw
    factor = len(tile) / max(h, w)
    size_hw = max(1, round(h * factor)), max(1, round(w * factor))
    shrinks = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    tile[: size_hw[0], : size_hw[1]] = cv2.resize(sample.pixels, size_hw[::-1], interpolation=shrinks)
    if truth is None:
        _write(tile, " ".join(classes[label] for label in sample.labels), (4, 14), _EASY)
        return
    for (x1, y1, x2, y2), box in zip(boxes.scale(truth.xyxy, (h, w), size_hw).round().astype(int), truth, strict=True):
        color = _DIFFICULT if box.difficult[0] else _EASY
        cv2.rectangle(tile, (int(x1), int(y1)), (int(x2) - 1, int(y2) - 1), color, 1)
        _write(tile, classes[box.labels[0]], (int(x1) + 3, int(y1) + 13), color)


def _write(tile: Pixels, text: str, at: tuple[int, int], color: tuple[int, int, int]) -> None:
    for shade, thickness in (((0, 0, 0), 3), (color, 1)):
        cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, shade, thickness, cv2.LINE_AA)


def main() -> None:
    """The command line."""
    from hydra import compose, initialize_config_dir

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the PNG file to write")
    parser.add_argument("overrides", nargs="*", help="which dataset, as for wsdet.propose: data=voc data.root=...")
    parser.add_argument("--split", choices=["train", "test"], default="train")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--side", type=int, default=256, help="of a tile, pixels")
    parser.add_argument("--no-truth", action="store_true", help="draw no boxes")
    given = parser.parse_intermixed_args()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("propose", overrides=given.overrides)
    try:
        dataset = build(cfg.data, "data")
        sheet = contact_sheet(
            dataset, given.split, given.images, given.columns, given.side, cfg.seed, draw_truth=not given.no_truth
        )
    except InputError as error:
        parser.error(str(error))
    _, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    with replacing(given.file) as beside:
        beside.write_bytes(encoded.tobytes())


if __name__ == "__main__":
    main()
