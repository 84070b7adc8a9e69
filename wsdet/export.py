"""Stage: boxes in the formats of other programs, `python -m wsdet.export boxes=STORE format=coco data=... out=DIR`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from wsdet.cli.build import build
from wsdet.cli.entry_point import entry_point
from wsdet.sampling import limited
from wsdet.types import Dataset, InputError, Split

if TYPE_CHECKING:
    from omegaconf import DictConfig

from wsdet.stages.export import check_choices, export_store, find_store

log = logging.getLogger(__name__)


def main() -> None:
    """Entry point."""
    entry_point("export", _run)


def _run(cfg: DictConfig) -> None:
    options = {key: cfg[key] for key in ("min_score", "top_k", "images")}
    check_choices(cfg.format, **options)
    if not isinstance(cfg.boxes, str):
        raise InputError(f"boxes must be one store or run, got {cfg.boxes}")
    store = find_store(Path(cfg.boxes))
    dataset: Dataset = build(cfg.data, "data")
    splits: list[Split] = ["train", "test"] if cfg.split is None else [cfg.split]
    ids = {split: limited(dataset.ids(split), cfg.limit, cfg.seed) for split in splits}
    export_store(dataset, ids, store, Path(cfg.out), cfg.format, cfg.strict, **options)


if __name__ == "__main__":
    main()
