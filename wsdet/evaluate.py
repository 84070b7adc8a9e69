"""Measures boxes against the ground truth: pseudo-boxes, proposals and detections.

The functions give the parts of `metrics.json`: plain values, fractions, None where there is nothing to measure. They
count the images that have both boxes and truth. `python -m wsdet.evaluate` runs them on stores.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.storage.files import write_json
from wsdet.types import Dataset, InputError, Split

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.storage.box_store import BoxStore

from wsdet.stages.evaluate import (
    evaluate_detections,
    evaluate_localization,
    evaluate_proposals,
    ratio_of_detections,
    write_average_precision,
)

log = logging.getLogger(__name__)


def main() -> None:
    """The command `python -m wsdet.evaluate`."""
    from wsdet.cli.entry_point import entry_point

    # conf/proposals is a config group: Hydra would take the stores in proposals=[A,B] for the names of its files
    entry_point("evaluate", run, short={"proposals": "proposal_stores"})


def run(cfg: DictConfig) -> None:
    """What the program does with a composed config."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from wsdet.cli.build import build
    from wsdet.cli.planned import planned
    from wsdet.sampling import limited

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
    with planned(cfg, "evaluate", counts=(0, len(ids)), rest="evaluate"):
        _measure(cfg, stores, dataset, ids, Path(HydraConfig.get().runtime.output_dir))


def _measure(
    cfg: DictConfig, stores: Mapping[str, Mapping[str, BoxStore]], dataset: Dataset, ids: Sequence[str], folder: Path
) -> None:
    from wsdet.report import text_tables as table

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


if __name__ == "__main__":
    main()
