"""Which localizer for my data, without ground truth: `python -m wsdet.choose data=auto data.root=DIR network=NAME`."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from wsdet.cli.entry_point import compose, entry_point
from wsdet.cli.factories import open_run, recipe
from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

_OWN = ("localizers", "networks", "sample", "out")  # keys of this program, not of `localize`


def run(cfg: DictConfig) -> None:
    """What the program does with a composed config."""
    from wsdet.cli.planned import planned

    with planned(cfg, "choose"):
        _choose(cfg)


def _choose(cfg: DictConfig) -> None:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from wsdet.stages.choose import ranked, tried
    from wsdet.storage.files import write_json

    given = [one for one in HydraConfig.get().overrides.task if one.lstrip("+").partition("=")[0] not in _OWN]
    GlobalHydra.instance().clear()  # each candidate has a config of its own
    overrides = {name: _with_network(given, name, weights) for name, weights in _networks(cfg)}
    candidates = []
    for network, own in overrides.items():
        where = [*own, f"out={Path(cfg.out) / network}"]
        of_network = compose("localize", where)
        run = open_run(of_network)
        recipes = [recipe(compose("localize", [*where, f"localizer={name}"]), "localizer") for name in cfg.localizers]
        candidates += tried(run, network, recipes, recipe(of_network, "proposals"), cfg.sample)
    if not candidates:
        raise InputError(f"localizers: none of {', '.join(cfg.localizers)} can be tried; the log has the reasons")
    order, text = ranked(candidates)
    described = [
        {"network": one.name[0], "localizer": one.name[1], "trust": one.again.mean(), "is_best": chance}
        for one, chance in order
    ]
    write_json(Path(cfg.out) / "choice.json", {"candidates": described, "images": cfg.sample})
    network, localizer = order[0][0].name
    command = ["python", "-m", "wsdet.localize", *overrides[network], f"localizer={localizer}", "out=RUN"]
    log.info("ranked without ground truth, on at most %d images; docs/choose.md says how far to believe it", cfg.sample)
    log.info("%s\nnext: %s", text, shlex.join(command))


def _networks(cfg: DictConfig) -> list[tuple[str, str | None]]:
    """(name, weights) of the networks to try: those of `networks`, else the one of `network`."""
    if not cfg.networks:
        return [(cfg.names.network, None)]
    pairs = (one.partition(":") for one in cfg.networks)
    return [(name, weights or None) for name, _, weights in pairs]


def _with_network(given: list[str], name: str, weights: str | None) -> list[str]:
    """Overrides of `localize` for a network; with weights, those in place of what was given."""
    others = [one for one in given if not one.startswith("network=")]
    if weights:
        others = [one for one in others if not one.startswith("network.weights=")] + [f"network.weights={weights}"]
    return [f"network={name}", *others]


def main() -> None:
    """Entry point."""
    entry_point("choose", run)


if __name__ == "__main__":
    main()
