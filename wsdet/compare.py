"""Runs against each other: mean and spread over seeds, and paired differences.

`python -m wsdet.compare runs=[A,B]` reads the `metrics.json` and `config.yaml` of finished runs. Runs whose settings
are equal but for the seed are one group. A difference between groups is taken seed by seed, because runs of one seed
share their data, their drawn images and their random choices; its interval is Student's t over the seeds in common.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.storage.files import replacing, write_json

if TYPE_CHECKING:
    from omegaconf import DictConfig

from wsdet.stages.compare import compare, comparison_table, group_runs, read_runs, write_comparison

log = logging.getLogger(__name__)


def main() -> None:
    """The command `python -m wsdet.compare`."""
    from wsdet.cli.entry_point import entry_point

    entry_point("compare", run)


def run(cfg: DictConfig) -> None:
    """What the program does with a composed config."""
    from hydra.core.hydra_config import HydraConfig

    from wsdet.cli.planned import planned

    asked = [cfg.runs] if isinstance(cfg.runs, str) else list(cfg.runs)
    with planned(cfg, "compare"):
        _compare(asked, cfg.show, Path(HydraConfig.get().runtime.output_dir))


def _compare(asked: Sequence[str], show: Sequence[str], folder: Path) -> None:
    groups = group_runs({one: read_runs(Path(one)) for one in asked})
    comparison = compare(groups)
    text = comparison_table(comparison, show)
    for name, group in comparison["groups"].items():
        log.info("%s: seeds %s, %s", name, group["seeds"], _described(group["settings"]))
    log.info("mean ± standard deviation over seeds; difference with its 95 %% interval\n%s", text)

    with replacing(folder / "compare.md") as beside:
        beside.write_text(text + "\n", encoding="utf-8")
    write_comparison(folder / "compare.csv", comparison)
    write_json(folder / "compare.json", comparison)
    log.info("written to %s", folder)


def _described(settings: Mapping[str, Sequence[Any]], most: int = 8) -> str:
    """What differs from the first group, in a line."""
    if not settings:
        return "the settings of the first group"
    parts = [f"{key}={here} (there {there})" for key, (there, here) in list(settings.items())[:most]]
    return ", ".join(parts) + (f" and {len(settings) - most} more" if len(settings) > most else "")


if __name__ == "__main__":
    main()
