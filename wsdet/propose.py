"""Class-agnostic boxes of both splits: `python -m wsdet.propose data=... proposals=NAME out=DIR`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsdet.cli.entry_point import entry_point
from wsdet.cli.factories import open_run, recipe
from wsdet.cli.planned import planned

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(cfg: DictConfig) -> None:
    """What the program does with a composed config."""
    run = open_run(cfg)
    with planned(cfg, "propose", run):
        run.propose(recipe(cfg, "proposals"), run.ids)


def main() -> None:
    """The entry point `python -m wsdet.propose`."""
    entry_point("propose", run)


if __name__ == "__main__":
    main()
