"""Pseudo-boxes for a data set, a report on them and exports: `python -m wsdet.localize data=... out=DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsdet.cli.build import check_parts
from wsdet.cli.entry_point import entry_point
from wsdet.cli.factories import open_run, recipe

if TYPE_CHECKING:
    from omegaconf import DictConfig


def _run(cfg: DictConfig) -> None:
    from wsdet.stages.export import check_choices
    from wsdet.stages.pseudo_label import Exports, pseudo_label

    exports = Exports(tuple(cfg.export), cfg.min_score, cfg.top_k, cfg.images)
    for format in exports.formats:
        check_choices(format, **exports.options)
    check_parts(cfg, "localizer")
    place = Path(cfg.data.root).resolve().name if "root" in cfg.data else cfg.names.data
    title = " · ".join([place, cfg.names.network, cfg.names.localizer])
    pseudo_label(
        open_run(cfg), recipe(cfg, "localizer"), exports, cfg.masks, cfg.visualize, title if cfg.report else ""
    )


def main() -> None:
    """Entry point."""
    entry_point("localize", _run)


if __name__ == "__main__":
    main()
