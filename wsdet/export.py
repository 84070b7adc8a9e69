"""Boxes in the formats of other programs: `python -m wsdet.export boxes=RUN format=coco out=DIR`.

`python -m wsdet.export model=DIR format=onnx out=DIR` makes a file of a detector instead.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from wsdet.cli.build import build
from wsdet.cli.entry_point import entry_point
from wsdet.cli.planned import planned
from wsdet.cli.saved_parts import saved_part, saved_positives
from wsdet.sampling import limited
from wsdet.types import Dataset, InputError, Split

if TYPE_CHECKING:
    from omegaconf import DictConfig

from wsdet.stages.export import check_choices, export_store, find_store

log = logging.getLogger(__name__)


def main() -> None:
    """Entry point."""
    entry_point("export", run)


def run(cfg: DictConfig) -> None:
    """What the program does with a composed config."""
    if cfg.model is not None:
        _export_model(cfg)
        return
    options = {key: cfg[key] for key in ("min_score", "top_k", "images")}
    check_choices(cfg.format, **options)
    if not isinstance(cfg.boxes, str):
        raise InputError(f"boxes must be one store or run, or model a detector's folder, got {cfg.boxes}")
    store = find_store(Path(cfg.boxes))
    dataset = _dataset(cfg, store.folder)
    splits: list[Split] = ["train", "test"] if cfg.split is None else [cfg.split]
    ids = {split: limited(dataset.ids(split), cfg.limit, cfg.seed) for split in splits}
    counts = len(ids.get("train", ())), len(ids.get("test", ()))
    with planned(cfg, "export", counts=counts, rest="export"):
        positives = saved_positives(store.folder)
        export_store(dataset, ids, store, Path(cfg.out), cfg.format, cfg.strict, positives, **options)


def _export_model(cfg: DictConfig) -> None:
    from wsdet.stages.export_model import export_model

    if cfg.format != "onnx" or cfg.boxes is not None:
        raise InputError(f"model= is exported with format=onnx and without boxes=, got format={cfg.format}")
    dataset = _dataset(cfg, Path(cfg.model))
    ids = dataset.ids("test") or dataset.ids("train")
    with planned(cfg, "export model"):
        export_model(Path(cfg.model), dataset, ids, Path(cfg.out) / "model.onnx")


def _dataset(cfg: DictConfig, folder: Path) -> Dataset:
    dataset: Dataset = build(saved_part(folder, "data") if cfg.get("data") is None else cfg.data, "data")
    return dataset


if __name__ == "__main__":
    main()
