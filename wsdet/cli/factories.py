"""From a program's config to what its stages take: a `Run`, recipes, typed options. Below this there is no config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.build import as_yaml, build, settings_of
from wsdet.cli.entry_point import shard_of
from wsdet.tiles import Tiling
from wsdet.types import Dataset

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.data.background import WithBackground
    from wsdet.stages.experiment import Experiment
    from wsdet.stages.network import NetworkOptions
    from wsdet.stages.positives import Positives
    from wsdet.stages.recipe import Recipe
    from wsdet.stages.run import Run


def open_run(cfg: DictConfig, limit: int | None = None) -> Run:
    """The run of a program's config: its images, its folders, its network once it is asked for.

    Args:
        cfg: of the program.
        limit: maximum number of images of a split, in place of the config's.
    """
    from wsdet.sampling import limited
    from wsdet.stages.run import SPLITS, Execution, Run

    data = settings_of(cfg, "data")["data"]
    dataset: Dataset = build(cfg.data, "data")
    limit = cfg.limit if limit is None else limit
    ids = {split: limited(dataset.ids(split), limit, cfg.seed) for split in SPLITS}
    if cfg.get("background"):
        dataset = _with_background(cfg, dataset)
        data["background"] = cfg.background
        ids["train"] += limited(dataset.background_ids, limit, cfg.seed)
    return Run(
        dataset,
        data,
        ids,
        Path(cfg.out),
        network_options(cfg),
        Execution(**{field.name: cfg[field.name] for field in fields(Execution)}),
        shared=Path(cfg.get("shared", cfg.out)),
        runner=build(cfg.runner, "runner"),
        trainer=settings_of(cfg, "trainer")["trainer"],
        region_classifier=build(cfg.region_classifier, "region_classifier") if "region_classifier" in cfg else None,
        proposals=recipe(cfg, "proposals") if "proposals" in cfg else None,
        config=as_yaml(cfg),
        shard=shard_of(cfg),
    )


def _with_background(cfg: DictConfig, dataset: Dataset) -> WithBackground:
    """The data with the negatives of `cfg.background`: a folder's images, or painted ones."""
    from wsdet.data.background import WithBackground, write_textures

    if cfg.background != "textures":
        return WithBackground(dataset, cfg.background)
    return WithBackground(dataset, write_textures(Path(cfg.get("shared", cfg.out)) / "textures", cfg.seed))


def network_options(cfg: DictConfig) -> NetworkOptions:
    """The options of the network that a config describes."""
    options: NetworkOptions = build(
        cfg.network, "network", device=cfg.device, precision=cfg.precision, incremental=cfg.incremental
    )
    return options


def recipe(cfg: DictConfig, kind: str) -> Recipe:
    """The recipe of the part `kind` of a config, by the name that was chosen for it; in tiles where there are any."""
    from wsdet.stages.recipe import Recipe, in_tiles

    settings, tiling = settings_of(cfg, kind)[kind], tiling_of(cfg)
    return Recipe(cfg.names[kind], in_tiles(settings, tiling) if tiling else settings, kind, build)


def tiling_of(cfg: DictConfig) -> Tiling | None:
    """The tiles that images are cut into; None for none."""
    return Tiling.of(cfg.get("tile"), cfg.get("tile_overlap", Tiling.overlap))


def experiment_of(cfg: DictConfig) -> Experiment:
    """What `python -m wsdet.train` does beside the run itself."""
    from wsdet.stages.experiment import Experiment

    detector, positives = detector_and_positives(cfg)
    parts = [cfg.names[of] for of in ("data", "network", "localizer", "proposals")]
    return Experiment(
        recipe(cfg, "localizer"),
        recipe(cfg, "proposals"),
        detector,
        positives,
        settings_of(cfg, *cfg),
        cfg.visualize,
        title=" · ".join([*parts, f"seed {cfg.seed}"]) if cfg.report else "",
        verdict=cfg.verdict,
        self_training=build(cfg.self_training, "self_training"),
    )


def detector_and_positives(cfg: DictConfig) -> tuple[Recipe, Positives]:
    """The kind of detector of `cfg.detector`, and the boxes that it is trained on."""
    from wsdet.stages.positives import Positives
    from wsdet.stages.recipe import Recipe

    settings: Mapping[str, Any] = settings_of(cfg, "detector")["detector"]
    names = {field.name for field in fields(Positives)}
    own = {key: value for key, value in settings.items() if key not in names}
    chosen = {key: value for key, value in settings.items() if key in names}
    positives = build({"_target_": "wsdet.stages.positives.Positives", **chosen}, "detector")
    return Recipe("detector", own, "detector", build), positives
