"""How well what needs no ground truth tells good boxes from bad ones.

`python scripts/verdict_study.py measure OUT SHARED [DATA ...]`: for each data set, the boxes of good and bad localizers
of at most 200 training images: how well detectors find them again (`wsdet.stages.found_again`), their CorLoc, and the
mAP, on at most 100 test images, of detectors trained on them, as a share of that from ground truth. The figures of a
data set go to OUT/DATA.json; those there are kept. `python scripts/verdict_study.py report OUT` prints the tables of
docs/trust.md.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from wsdet.cli.entry_point import compose
from wsdet.cli.factories import open_run, recipe
from wsdet.data.relabeled import Relabeled
from wsdet.detectors.positives import ground_truth_positives
from wsdet.detectors.rcnn.detector import detect_together
from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.detectors.rcnn.training import train_detectors
from wsdet.localizers.instances import choose_instances
from wsdet.metrics import localization
from wsdet.metrics.average_precision import average_precision, match
from wsdet.metrics.bootstrap import nanmean
from wsdet.report.text_tables import table
from wsdet.sampling import limited
from wsdet.stages.found_again import FoundAgain, found_again
from wsdet.stages.positives import equally_weighted
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Run
from wsdet.stages.verdict import BAD, GOOD, with_boxes
from wsdet.storage.fingerprints import Fingerprints
from wsdet.types import Boxes

log = logging.getLogger("verdict_study")

N_TRAIN, N_TEST = 200, 100
LOCALIZERS = ("center_box", "full_image", "proposals", "cam", "vote", "wsddn")
FIXED = ("center_box", "full_image", "half_box")
HALF = ["localizer=center_box", "localizer.width=0.5", "localizer.height=0.5", "names.localizer=half_box"]


def data_sets(shared: Path) -> dict[str, list[str]]:
    """Overrides by name."""
    squeezenet = [
        "network=squeezenet1_0",
        f"network.weights={shared}/weights/squeezenet1_0_deepcompression.safetensors",
    ]
    own = f"{shared}/data/own"
    built_in = ["data=synthetic", "network=tiny"]
    return {
        "raccoon": ["data=auto", f"data.root={own}/raccoon", *squeezenet],
        "fruit": ["data=auto", f"data.root={own}/fruit", *squeezenet],
        "built-in": built_in,
        "built-in-6": [*built_in, "data.instances=6"],
        "fruit-shuffled": ["data=auto", f"data.root={own}/fruit", *squeezenet],
        "voc": ["data=voc", f"data.root={shared}/data/VOCdevkit", "limit=200", *squeezenet],
    }


def measure(out: Path, shared: Path, only: Sequence[str]) -> None:
    """Makes the figures that are missing."""
    for data, overrides in data_sets(shared).items():
        path = out / f"{data}.json"
        if not path.exists() and (not only or data in only):
            path.write_text(json.dumps(figures_of(out / "runs" / data, data, overrides), indent=1), encoding="utf-8")


def figures_of(folder: Path, data: str, overrides: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each localizer and one for ground truth; where labels are shuffled, for what is made of them."""
    common = [*overrides, f"out={folder}", "workers=1", "device=cpu"]
    run = open_run(compose("localize", common))
    if data.endswith("shuffled"):
        of = dict(zip(run.train_ids, np.random.default_rng(0).permutation(len(run.train_ids)), strict=True))
        run.dataset = Relabeled(run.dataset, {i: run.dataset.labels(run.train_ids[j]) for i, j in of.items()})
    ids = limited(run.train_ids, N_TRAIN, run.execution.seed)
    proposals = recipe(compose("localize", common), "proposals")
    stores: dict[str, Mapping[str, Boxes]] = {}
    for own in [*([f"localizer={name}"] for name in LOCALIZERS), HALF]:
        of_localizer = recipe(compose("localize", [*common, *own]), "localizer")
        stores[of_localizer.name] = run.localize(of_localizer, ids)[0]
    boxes = {name: equally_weighted(choose_instances(store, ids)) for name, store in stores.items()}
    boxes["ground_truth"] = ground_truth_positives(run.dataset, ids)
    maps = detectors_map(run, proposals, boxes, ids)
    rows = []
    for name, of in boxes.items():
        chosen = limited(with_boxes(run, of), N_TRAIN, run.execution.seed)
        again = found_again(run, proposals, of, chosen)
        top = localization.top_boxes(of, run.dataset.truth, ids)
        correct = localization.corloc(top, len(run.dataset.classes))
        rows.append(described(data, name, again, correct, maps[name], maps["ground_truth"]))
        log.info("%s %s: %s", data, name, {key: value for key, value in rows[-1].items() if key != "classes"})
    return rows


def described(
    data: str, name: str, again: FoundAgain, correct: np.ndarray, ap: np.ndarray, true_ap: np.ndarray
) -> dict[str, Any]:
    """A row: the figures of a localizer, and of its classes."""
    return {
        "data": data,
        "localizer": name,
        "trust": again.mean(),
        "corloc": nanmean(correct),
        "map": nanmean(ap),
        "ratio": nanmean(ap) / nanmean(true_ap),
        "classes": np.stack([again.by_class(), again.n_images(), correct, ap, true_ap]).T.tolist(),
    }


def detectors_map(
    run: Run, proposals: Recipe, boxes: Mapping[str, Mapping[str, Boxes]], ids: Sequence[str]
) -> dict[str, np.ndarray]:
    """(k,) average precision on test images of an R-CNN trained on each kind of boxes."""
    tested = limited(run.test_ids, N_TEST, run.execution.seed)
    where = run.propose(proposals, [*ids, *tested])
    features = RoiFeatures(run.network)
    cache = MapCache(run.shared / "feature_maps", features, fingerprint=Fingerprints(run.dataset, labels=False))
    detectors = train_detectors(run.dataset, ids, boxes, where, features, cache=cache, calibrated=False)
    found: dict[str, dict[str, Boxes]] = {name: {} for name in detectors}
    for image_id in tested:
        for name, of in detect_together(detectors, run.dataset.load(image_id), where[image_id]).items():
            found[name][image_id] = of
    n_classes = len(run.dataset.classes)
    return {name: average_precision(match(of, run.dataset.truth, tested, n_classes)) for name, of in found.items()}


def report(out: Path) -> None:
    """Prints every row, and how well trust ranks them."""
    rows = [row for path in sorted(out.glob("*.json")) for row in json.loads(path.read_text(encoding="utf-8"))]
    shown = ("data", "localizer", "trust", "corloc", "map", "ratio")
    print(table(list(shown), [[row[key] for key in shown] for row in rows]))
    found = [row for row in rows if row["localizer"] != "ground_truth"]
    following = [row for row in found if row["localizer"] not in FIXED]
    for name in ("corloc", "map", "ratio"):
        print(f"\nSpearman of trust and {name}: {rank(found, name):.2f}, {len(found)} rows")
        print(f"of boxes that follow the image: {rank(following, name):.2f}, {len(following)} rows")
    clear = [row for row in found if not 0.3 <= row["ratio"] <= 0.7]
    good = [row["ratio"] > 0.7 for row in clear]
    if any(good) and not all(good):
        area = roc_auc_score(good, [row["trust"] for row in clear])
        print(f"\nAUC of ratio > 0.7 from < 0.3: {area:.2f}, {len(clear)} rows")
    for level, between in {"good": (GOOD, 2), "unsure": (BAD, GOOD), "bad": (-1, BAD)}.items():
        ratios = sorted(round(row["ratio"], 2) for row in found if between[0] <= row["trust"] < between[1])
        print(f"{level}: ratios {ratios}")
    ranks = []
    for data in dict.fromkeys(row["data"] for row in found):
        own = [row for row in found if row["data"] == data]
        best = max(own, key=lambda row: row["trust"])
        highest = max(row["corloc"] for row in own)
        ranks.append([data, rank(own, "corloc"), rank(own, "map"), best["localizer"], best["corloc"], highest])
    print("\n" + table(["data", "Spearman, CorLoc", "mAP", "chosen", "its CorLoc", "best CorLoc"], ranks))
    for data in dict.fromkeys(row["data"] for row in found):
        own = [one for row in found if row["data"] == data for one in row["classes"] if one[1] >= 5]
        own = [one for one in own if np.isfinite(one[0]) and np.isfinite(one[2])]
        if len(own) > 20:
            print(f"{data}, classes: Spearman with CorLoc {spearmanr([o[0] for o in own], [o[2] for o in own])[0]:.2f}")


def rank(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    """Rank correlation of trust and a figure."""
    return float(spearmanr([row["trust"] for row in rows], [row[name] for row in rows]).statistic)


def main() -> None:
    """The command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    if sys.argv[1] == "measure":
        measure(out, Path(sys.argv[3]), sys.argv[4:])
    else:
        report(out)


if __name__ == "__main__":
    main()
