"""Measures boxes against the truth: pseudo-boxes, proposals and detections.

The functions give the parts of `metrics.json`: plain values, fractions, None where there is nothing to measure. They
count the images that have both boxes and truth. `python -m wsdet.evaluate` runs them on stores.
"""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wsdet.metrics import average_precision as ap
from wsdet.metrics import localization, proposals
from wsdet.metrics.bootstrap import bootstrap_interval
from wsdet.storage.files import replacing, write_json
from wsdet.types import Boxes, Dataset, InputError, Split

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.storage.box_store import BoxStore

log = logging.getLogger(__name__)

Doubles = npt.NDArray[np.float64]
MARGINS = (0.0, 0.2)


def evaluate_localization(
    boxes: Mapping[str, Boxes], dataset: Dataset, ids: Sequence[str], resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """How well pseudo-boxes find the objects of their images' labels.

    Args:
        boxes: boxes by image id, best first; labels -1 stand for every label of the image.
        dataset: where the images come from. Of its truth, the classes count that an image is labeled with.
        ids: the images; those without boxes or without truth are left out.
        resamples: draws of images behind the interval; 0 for none.
        seed: of the draws.

    Returns:
        The contract's `corloc`, `mean_iou`, `precision_at`, `recall_at`, `center_correct` and `images`, and
        `corloc_by_class`, `corloc_interval` (95 %) and `lost_corloc`.
    """
    truth = {image_id: _labeled(true, dataset.labels(image_id)) for image_id, true in _truth(dataset, boxes, ids)}
    truth = {image_id: true for image_id, true in truth.items() if len(true)}
    counted, n_classes = list(truth), len(dataset.classes)
    top = localization.top_boxes(boxes, truth, counted)
    by_class = localization.corloc(top, n_classes)
    coverage = proposals.cover(boxes, truth, counted, n_classes)
    return {
        "corloc": _mean(by_class),
        "corloc_interval": _interval(
            lambda weights: _nanmean(localization.corloc(top, n_classes, weights)), len(counted), resamples, seed
        ),
        "corloc_by_class": _by_class(by_class, dataset.classes),
        "lost_corloc": _plain(localization.lost_corloc(boxes, truth, counted)),
        "mean_iou": _plain(localization.mean_iou(top)),
        "precision_at": {str(n): _plain(proposals.precision_at(coverage, n)) for n in (1, 10)},
        "recall_at": {str(n): _plain(proposals.recall_at(coverage, n)) for n in (1, 10, 100)},
        "center_correct": {str(margin): _plain(localization.center_correct(top, margin)) for margin in MARGINS},
        "images": len(counted),
    }


def evaluate_detections(
    detections: Mapping[str, Boxes], dataset: Dataset, ids: Sequence[str], resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Average precision of scored, labeled boxes: VOC's with 11 points, and beside it all points and COCO's.

    Args:
        detections: boxes by image id, labels into `dataset.classes`.
        dataset: where the images come from.
        ids: the images; those without an entry in `detections` or without truth are left out.
        resamples: draws of images behind the interval; 0 for none.
        seed: of the draws.

    Returns:
        The contract's `map` and `ap` (by class, 11-point), and `map_interval` (95 %), `map_all_point`,
        `ap_all_point`, `coco` (`ap`, `ap_50`, `ap_75`), `images` and `detections` (how many).
    """
    truth = dict(_truth(dataset, detections, ids))
    counted, n_classes = list(truth), len(dataset.classes)
    matches = ap.match(detections, truth, counted, n_classes)
    eleven, all_points = ap.average_precision(matches, "11"), ap.average_precision(matches, "all")
    return {
        "map": _mean(eleven),
        "map_interval": _interval(
            lambda weights: _nanmean(ap.average_precision(matches, "11", weights)), len(counted), resamples, seed
        ),
        "ap": _by_class(eleven, dataset.classes),
        "map_all_point": _mean(all_points),
        "ap_all_point": _by_class(all_points, dataset.classes),
        "coco": {
            name: _plain(value)
            for name, value in ap.coco_average_precision(detections, truth, counted, n_classes).items()
        },
        "images": len(counted),
        "detections": sum(len(one.scores) for one in matches),
    }


def ratio_of_detections(
    pseudo: Mapping[str, Boxes],
    ground_truth: Mapping[str, Boxes],
    dataset: Dataset,
    ids: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The mAP of a detector trained on pseudo-boxes as a fraction of that of one trained on true boxes.

    Args:
        pseudo: the detections of the one.
        ground_truth: the detections of the other.
        dataset: where the images come from.
        ids: the images; those that lack either's entry or truth are left out.
        resamples: draws of images behind the interval, the same images for both; 0 for none.
        seed: of the draws.

    Returns:
        `ratio` and `interval` (95 %); None where the truth's detector scores nothing.
    """
    truth = dict(_truth(dataset, pseudo, [image_id for image_id in ids if image_id in ground_truth]))
    counted, n_classes = list(truth), len(dataset.classes)
    of_pseudo, of_truth = (ap.match(one, truth, counted, n_classes) for one in (pseudo, ground_truth))

    def ratio(weights: Doubles | None) -> float:
        below = _nanmean(ap.average_precision(of_truth, "11", weights))
        return _nanmean(ap.average_precision(of_pseudo, "11", weights)) / below if below > 0 else math.nan

    return {"ratio": _plain(ratio(None)), "interval": _interval(ratio, len(counted), resamples, seed)}


def evaluate_proposals(boxes: Mapping[str, Boxes], dataset: Dataset, ids: Sequence[str]) -> dict[str, Any]:
    """How well class-agnostic boxes cover the objects, as means over the classes.

    Args:
        boxes: boxes by image id, best first.
        dataset: where the images come from.
        ids: the images; those without boxes or without truth are left out.

    Returns:
        `recall_at` and `precision_at` for every number of boxes of the STL paper's Figure 3, `mabo`, `abo` by class,
        `boxes_per_image` and `images`.
    """
    truth = dict(_truth(dataset, boxes, ids))
    coverage = proposals.cover(boxes, truth, list(truth), len(dataset.classes))
    overlap = proposals.average_best_overlap(coverage)
    return {
        "recall_at": {str(n): _plain(proposals.recall_at(coverage, n)) for n in proposals.AT},
        "precision_at": {str(n): _plain(proposals.precision_at(coverage, n)) for n in proposals.AT},
        "mabo": _mean(overlap),
        "abo": _by_class(overlap, dataset.classes),
        "boxes_per_image": sum(len(boxes[image_id]) for image_id in truth) / max(len(truth), 1),
        "images": len(truth),
    }


def write_average_precision(path: Path, detectors: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes a CSV of one row a class and two columns a detector, from the `detectors` part of `metrics.json`."""
    classes = list(dict.fromkeys(name for figures in detectors.values() for name in figures["ap"]))
    kinds = {"": "ap", "_all_point": "ap_all_point"}
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", *(f"{name}{suffix}" for name in detectors for suffix in kinds)])
        for of_class in classes:
            writer.writerow(
                [of_class, *(figures[kind].get(of_class) for figures in detectors.values() for kind in kinds.values())]
            )


def main() -> None:
    """The command `python -m wsdet.evaluate`."""
    import sys

    from wsdet.cli.entry_point import entry_point

    # conf/proposals is a config group: Hydra would take the stores in proposals=[A,B] for the names of its files
    sys.argv[1:] = [re.sub("^proposals=", "proposal_stores=", argument) for argument in sys.argv[1:]]
    entry_point("evaluate", _run)


def _run(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from wsdet.cli.build import build, limited
    from wsdet.report import text_tables as table

    wanted = {"boxes": cfg.boxes, "proposals": cfg.proposal_stores, "detections": cfg.detections}
    given = {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for key, value in wanted.items()
    }
    if not any(given.values()):
        raise InputError("nothing to evaluate: give boxes=STORE, proposals=STORE or detections=STORE")
    stores = {key: _open(value) for key, value in given.items() if value}
    dataset: Dataset = build(cfg.data, "data")
    splits: list[Split] = ["train", "test"] if cfg.split is None else [cfg.split]
    ids = [image_id for split in splits for image_id in limited(dataset.ids(split), cfg.limit, cfg.seed)]
    folder = Path(HydraConfig.get().runtime.output_dir)
    metrics: dict[str, Any] = {}
    if "boxes" in stores:
        metrics["localization"] = {
            name: evaluate_localization(store, dataset, _ids_in(store, ids), cfg.resamples, cfg.seed)
            for name, store in stores["boxes"].items()
        }
        log.info("localization\n%s", table.localization_table(metrics["localization"]))
    if "proposals" in stores:
        metrics["proposals"] = {
            name: evaluate_proposals(store, dataset, _ids_in(store, ids)) for name, store in stores["proposals"].items()
        }
        log.info("proposals\n%s", table.proposals_table(metrics["proposals"]))
        _draw(folder / "proposals.png", metrics["proposals"], cfg.published, cfg.published_set)
    if "detections" in stores:
        metrics |= _detectors(stores["detections"], dataset, ids, cfg.resamples, cfg.seed)
        log.info("detectors\n%s", table.detectors_table(metrics["detectors"]))
        write_average_precision(folder / "ap.csv", metrics["detectors"])
    write_json(folder / "metrics.json", metrics)
    log.info("written to %s", folder)


def _detectors(
    stores: Mapping[str, BoxStore], dataset: Dataset, ids: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    for store in stores.values():
        _check_labels(store, len(dataset.classes))
    metrics: dict[str, Any] = {
        "detectors": {
            name: evaluate_detections(store, dataset, _ids_in(store, ids), resamples, seed)
            for name, store in stores.items()
        }
    }
    if {"pseudo", "ground_truth"} <= set(stores):
        ratio = ratio_of_detections(stores["pseudo"], stores["ground_truth"], dataset, ids, resamples, seed)
        metrics["ratio_pseudo_to_ground_truth"] = ratio["ratio"]
        metrics["ratio_interval"] = ratio["interval"]
    return metrics


def _open(given: Any) -> dict[str, BoxStore]:
    """Stores by name, from a path, a list of paths or a mapping of names to paths; a path is named by its folder."""
    from wsdet.storage.box_store import BoxStore

    if isinstance(given, Mapping):
        return {str(name): BoxStore(path) for name, path in given.items()}
    stores: dict[str, BoxStore] = {}
    for path in [given] if isinstance(given, str) else given:
        folder = Path(path)
        name = folder.name
        for parent in folder.resolve().parents:
            if name not in stores:
                break
            name = f"{parent.name}/{name}"
        stores[name] = BoxStore(folder)
    return stores


def _ids_in(store: BoxStore, ids: Iterable[str]) -> list[str]:
    """Those of `ids` that the store has.

    Raises:
        InputError: it has none of them.
    """
    there = [image_id for image_id in ids if image_id in store]
    if not there:
        raise InputError(
            f"{store.folder} has boxes of none of the dataset's images; give data= (and data.root=, limit=, seed=) "
            "as when it was made"
        )
    return there


def _check_labels(store: BoxStore, n_classes: int) -> None:
    for image_id, boxes in store.items():
        wrong = boxes.labels[(boxes.labels < 0) | (boxes.labels >= n_classes)]
        if len(wrong):
            raise InputError(
                f"{store.folder}, image {image_id!r}, has a box of class {wrong[0]}; detections need classes from 0 to "
                f"{n_classes - 1}. Give class-agnostic boxes as proposals=, and data= as when the store was made"
            )


def _draw(path: Path, ours: Mapping[str, Mapping[str, Any]], published: str | None, image_set: str) -> None:
    from wsdet.report.proposal_curves import draw_proposal_curves, our_curves, published_curves

    behind = published_curves(published, image_set) if published else None
    draw_proposal_curves(path, our_curves(ours), behind, f"published, {image_set}")


def _truth(dataset: Dataset, boxes: Mapping[str, Boxes], ids: Sequence[str]) -> Iterable[tuple[str, Boxes]]:
    """(image id, true boxes) of the images that have boxes and whose truth is there and can be read."""
    truth = dataset.truth
    for image_id in ids:
        try:
            if image_id in boxes and image_id in truth:
                yield image_id, truth[image_id]
        except InputError as error:
            log.warning("%s is not counted: %s", image_id, error)


def _labeled(true: Boxes, labels: Sequence[int]) -> Boxes:
    return true[np.isin(true.labels, labels)]


def _interval(statistic: Any, n_images: int, resamples: int, seed: int) -> list[float] | None:
    if not n_images or not resamples:
        return None
    low, high = bootstrap_interval(statistic, n_images, resamples, seed=seed)
    return None if math.isnan(low) else [low, high]


def _by_class(values: Doubles, classes: Sequence[str]) -> dict[str, float]:
    """The classes that have a value."""
    return {name: float(value) for name, value in zip(classes, values, strict=True) if not math.isnan(value)}


def _mean(values: Doubles) -> float | None:
    return _plain(_nanmean(values))


def _nanmean(values: Doubles) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else math.nan


def _plain(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else value


if __name__ == "__main__":
    main()
