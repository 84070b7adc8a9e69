"""Pseudo-boxes for a data set, a report on them and exports: `python -m wsdet.localize data=... out=DIR`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from wsdet.cli.build import check_parts
from wsdet.cli.entry_point import entry_point
from wsdet.cli.factories import open_run, recipe
from wsdet.cli.planned import planned
from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.stages.pseudo_label import Exports
    from wsdet.stages.run import Run

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """What the program does with a composed config."""
    from wsdet.stages.export import check_choices
    from wsdet.stages.pseudo_label import Exports

    exports = Exports(tuple(cfg.export), cfg.min_score, cfg.top_k, cfg.images)
    for format in exports.formats:
        check_choices(format, **exports.options)
    check_parts(cfg, "localizer")
    place = Path(cfg.data.root).resolve().name if "root" in cfg.data else cfg.names.data
    title = " · ".join([place, cfg.names.network, cfg.names.localizer])
    run = open_run(cfg)
    if cfg.prepare and run.shard:
        raise InputError("prepare=true makes what all shards need: give it without shard=")
    if cfg.prepare:
        run.prepare(recipe(cfg, "localizer"), run.ids)
        return
    with planned(cfg, "localize", run):
        _localize(cfg, run, exports, title if cfg.report else "")


def _localize(cfg: DictConfig, run: Run, exports: Exports, title: str) -> None:
    from wsdet.stages.pseudo_label import pseudo_label

    if run.shard:
        run.localize(recipe(cfg, "localizer"), run.ids, run.out / "masks" / cfg.names.localizer if cfg.masks else None)
        log.info("shards write no exports and no report; the same command without shard= does, once all are through")
        return
    parts = recipe(cfg, "localizer"), recipe(cfg, "proposals")
    pseudo_label(run, parts[0], exports, cfg.masks, cfg.visualize, title, parts[1], cfg.verdict)


def main() -> None:
    """Entry point."""
    entry_point("localize", run)


if __name__ == "__main__":
    main()
