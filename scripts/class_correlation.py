"""The EISS paper's class correlation: classes that look alike draw the boxes to the part that tells them apart.

python scripts/class_correlation.py OUT --tiny-imagenet FOLDER --weights FILE localizer=eiss limit=300

Two experiments. The synthetic data with class_correlation 0 (the species' bodies differ) and 1 (all bodies are alike,
only a small part tells the classes apart), a network trained from the labels of each. And Tiny ImageNet: its kinds of
cat and of dog against its single classes; overrides go to all of them. A box counts as "inside" when at
least 80 % of it lies in the object and it still covers less than half of the object: the failure that the paper calls
class correlation. Writes OUT/class_correlation.json and prints a table; the same command again goes on.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from benchmark_localizers import of_one_object

from wsdet.boxes import area, intersection, iou
from wsdet.cli.entry_point import compose
from wsdet.cli.factories import open_run, recipe
from wsdet.report.text_tables import table
from wsdet.sampling import limited
from wsdet.storage.files import write_json
from wsdet.types import Boxes, InputError

CATS, DOGS = ("n02123", "n02124"), ("n0208", "n0209", "n0210", "n0211")  # how ImageNet's ids of these kinds begin
COLUMNS = ("images", "CorLoc", "mean IoU", "box / object", "inside")


def study(overrides: Sequence[str], out: Path, families: bool) -> dict[str, dict[str, float]]:
    """Figures of the first boxes in the test images of one object, for all of them or by family of classes."""
    cfg = compose("localize", [*overrides, f"out={out}"])
    run = open_run(cfg, limit=0)
    dataset = run.dataset
    ids = limited(of_one_object(dataset, dataset.ids("test")), cfg.limit, cfg.seed)
    store, _ = run.localize(recipe(cfg, "localizer"), ids)
    groups: dict[str, list[str]] = {}
    for image_id in ids:
        family = family_of(dataset.wnids[dataset.labels(image_id)[0]]) if families else "all"  # type: ignore[attr-defined]
        groups.setdefault(family, []).append(image_id)
    return {family: figures(store, dataset.truth, of_family) for family, of_family in groups.items()}


def family_of(wnid: str) -> str:
    """The family of an ImageNet class: cats, dogs, or single."""
    return "cats" if wnid.startswith(CATS) else "dogs" if wnid.startswith(DOGS) else "single classes"


def figures(boxes: Mapping[str, Boxes], truth: Mapping[str, Boxes], ids: Sequence[str]) -> dict[str, float]:
    """How the first boxes of images lie to their one object."""
    there = [image_id for image_id in ids if image_id in boxes and len(boxes[image_id])]
    first = np.concatenate([np.zeros((0, 4), np.float32), *(boxes[image_id].xyxy[:1] for image_id in there)])
    true = np.concatenate([np.zeros((0, 4), np.float32), *(truth[image_id].xyxy for image_id in there)])
    pairs = [(first[i : i + 1], true[i : i + 1]) for i in range(len(there))]
    overlaps = np.array([iou(a, b)[0, 0] for a, b in pairs])
    shared = np.array([intersection(a, b)[0, 0] for a, b in pairs])
    inside = (shared >= 0.8 * area(first)) & (shared < 0.5 * area(true))
    return {
        "images": len(there),
        "corloc": float((overlaps > 0.5).mean()),
        "mean_iou": float(overlaps.mean()),
        "box_to_object": float(np.median(np.sqrt(area(first) / np.maximum(area(true), 1)))),
        "inside": float(inside.mean()),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("overrides", nargs="*", help="localizer=eiss, limit=N, ...")
    parser.add_argument("--tiny-imagenet", metavar="FOLDER", help="with wnids.txt; not given: the synthetic data alone")
    parser.add_argument("--weights", metavar="FILE", help="a network that was trained on it; not given: trained now")
    given = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    everywhere = ["localizer=eiss", "network=tiny", "network.activation=softmax", *given.overrides]
    synthetic = ["data=synthetic", "data.instances=1"]
    measured: dict[str, dict[str, dict[str, float]]] = {}
    try:
        for correlation in (0, 1):
            name = f"synthetic, class_correlation={correlation}"
            chosen = [*synthetic, f"data.class_correlation={correlation}", *everywhere]
            measured[name] = study(chosen, given.out / f"synthetic_{correlation}", families=False)
        if given.tiny_imagenet:
            chosen = ["data=tiny_imagenet", f"data.root={given.tiny_imagenet}", "network.input_size=64", *everywhere]
            chosen += [f"network.weights={given.weights}"] if given.weights else []
            measured["Tiny ImageNet"] = study(chosen, given.out / "tiny_imagenet", families=True)
    except InputError as error:
        parser.error(str(error))
    write_json(given.out / "class_correlation.json", measured)
    rows = [
        [f"{data}: {family}", *(int(v) if key == "images" else v for key, v in one.items())]
        for data, families in measured.items()
        for family, one in families.items()
    ]
    print(table(["data", *COLUMNS], rows))


if __name__ == "__main__":
    main()
