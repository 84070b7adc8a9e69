"""MaxBoxAcc and MaxBoxAccV2 (Choe et al., CVPR 2020) of a localizer that makes heat maps, such as cam.

python scripts/max_box_accuracy.py OUT localizer=cam data=voc data.root=VOCdevkit network=squeezenet1_0 ...

Takes the overrides of `python -m wsdet.localize`. Each label of each test image is one map, held against the
ground-truth boxes of its class; the threshold is the best one for the whole set, as in the paper. Writes
OUT/max_box_accuracy.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from wsdet.cli.build import build
from wsdet.cli.entry_point import compose
from wsdet.cli.factories import open_run
from wsdet.data.loading import load_samples
from wsdet.engine import Answerer, localize_all
from wsdet.metrics.max_box_accuracy import SIDE, max_box_accuracy
from wsdet.questions import Localizer, Note
from wsdet.report.text_tables import table
from wsdet.storage.files import write_json
from wsdet.types import Boxes, Dataset, Floats, InputError


def main(out: Path, overrides: Sequence[str]) -> None:
    """Prints and writes the figures."""
    cfg = compose("localize", [*overrides, f"out={out}"])
    run = open_run(cfg)
    localizer = build(cfg.localizer, "localizer")
    figures = measure(run.dataset, run.test_ids, localizer, run.network, cfg.batch_size, cfg.in_flight)
    write_json(out / "max_box_accuracy.json", figures)
    print(table(list(figures), [list(figures.values())]))


def measure(
    dataset: Dataset,
    ids: Sequence[str],
    localizer: Localizer,
    network: Answerer,
    batch_size: int = 32,
    in_flight: int = 16,
) -> dict[str, Any]:
    """`max_box_acc`, `max_box_acc_v2` and how many `maps` they are over.

    Maps are kept at the measure's own 224 x 224 pixels: 200 KB each.

    Raises:
        InputError: the localizer makes no heat map of a class that its image truly has.
    """
    maps: dict[str, Floats] = {}
    truth: dict[str, Boxes] = {}
    sizes_hw: dict[str, tuple[int, int]] = {}

    def collect(image_id: str, note: Note) -> None:
        if note.name != "heat map" or image_id not in dataset.truth:
            return
        true = dataset.truth[image_id]
        of_class = true[true.labels == note.value["label"]]
        if len(of_class):
            key, heat = f"{image_id} {note.value['label']}", np.asarray(note.value["map"], np.float32)
            maps[key] = np.asarray(cv2.resize(heat, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)
            truth[key], sizes_hw[key] = of_class, (heat.shape[0], heat.shape[1])

    done = localize_all(load_samples(dataset, ids), localizer, network, batch_size, in_flight, collect)
    for image_id, outcome in tqdm(done, desc="heat maps", total=len(ids), unit="image"):
        if isinstance(outcome, InputError):
            tqdm.write(f"{image_id}: {outcome}")
    if not maps:
        raise InputError(
            "the localizer made no heat map of a true class; take localizer=cam or another that makes some"
        )
    return {
        "max_box_acc": max_box_accuracy(maps, truth, sizes_hw, list(maps), "v1"),
        "max_box_acc_v2": max_box_accuracy(maps, truth, sizes_hw, list(maps), "v2"),
        "maps": len(maps),
    }


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except InputError as error:
        sys.exit(str(error))
