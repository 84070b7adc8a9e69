"""What a config describes, made: objects by `_target_`, the network, plain settings.

Hydra is imported on call, so that `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.validation import check_arguments
from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.networks.backbones import Backbone
    from wsdet.networks.classifier import Network
    from wsdet.types import Dataset


def build(node: DictConfig, name: str, **arguments: Any) -> Any:
    """The object that a config node describes by `_target_`, with further keyword arguments.

    Raises:
        InputError: the class refuses its arguments; the message starts with the node's `name`, and the argument's.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    _check_arguments(OmegaConf.to_container(node, resolve=True), name)
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, InputError) and str(cause).split(" ")[0] not in node:
            raise cause from error
        if isinstance(cause, InputError):  # about an argument: it is named as on the command line
            raise InputError(f"{name}.{cause}") from error
        if isinstance(cause, (ValueError, TypeError)):
            raise InputError(f"{name}: {cause}") from error
        raise


def _check_arguments(node: Any, name: str) -> None:
    """Whether the plain values of a node and of those inside it have the types that their classes take."""
    from hydra.utils import get_object

    if not isinstance(node, dict):
        return
    for key, value in node.items():
        _check_arguments(value, f"{name}.{key}")
    if "_target_" in node:
        try:
            target = get_object(node["_target_"])
        except Exception as error:  # importing runs a stranger's module, which may raise anything
            raise InputError(f"{name}._target_ names nothing that can be imported: {error}") from error
        check_arguments(target, {key: value for key, value in node.items() if key != "_target_"}, name)


def check_parts(cfg: DictConfig, *names: str) -> None:
    """Builds parts of a config and drops them: classes refuse impossible values, here before hours of work.

    Left out is what can only be built later: a center box whose size is learnt, proposals that a localizer makes.
    Weights that are trained first are done without.

    Raises:
        InputError: a class refuses its arguments.
    """
    from omegaconf import OmegaConf

    from wsdet.storage.provenance import flatten

    for name, node in settings_of(cfg, *names).items():
        is_learnt = "width" in node and node["width"] is None and node["height"] is None
        if not is_learnt and not any("localizer" in key.split(".") for key in flatten(node)):
            untrained = node | {"weights": None} if node.get("weights") == "labels" else node
            build(OmegaConf.create(untrained), name)


def network_of(cfg: DictConfig, dataset: Dataset, train_ids: Sequence[str]) -> Network:
    """The frozen classifier that `cfg.network` describes; with `head=finetune` it is trained from the labels first.

    What was trained lies in `<out>/classifier`, or `<shared>/classifier` where there is such a setting. Weights that
    wsdet trained for the same classes are used as they are.
    """
    from wsdet.networks.classifier import load_network
    from wsdet.networks.weights import read_metadata

    options = settings_of(cfg, "network")["network"]
    head = options.pop("head")
    del options["training"]
    metadata = read_metadata(options["weights"]) if options["weights"] not in (None, "imagenet") else None
    if head == "finetune" and (metadata is None or metadata.classes != tuple(dataset.classes)):
        options["weights"] = train_classifier_of(cfg, dataset, train_ids)
    return load_network(
        classes=dataset.classes,
        wnids=getattr(dataset, "wnids", None),
        device=cfg.device,
        precision=cfg.precision,
        incremental=cfg.incremental,
        **options,
    )


def train_classifier_of(cfg: DictConfig, dataset: Dataset, train_ids: Sequence[str]) -> Path:
    """The weights file of the classifier that `cfg.network.training` describes, trained now if it is not there yet."""
    from wsdet.training.classifier import train_classifier

    settings = settings_of(cfg, "network", "trainer")
    options, training = settings["network"], settings["network"]["training"]
    return train_classifier(
        untrained_of(cfg, dataset),
        dataset,
        train_ids,
        Path(cfg.get("shared", cfg.out)) / "classifier",
        activation=options["activation"],
        workers=cfg.workers,
        trainer_options=settings["trainer"],
        seed=cfg.seed,
        **training,
    )


def untrained_of(cfg: DictConfig, dataset: Dataset) -> Backbone:
    """The network of `cfg.network` before it is trained from the labels: its own weights, a new head."""
    from wsdet.networks.backbones import build_backbone, replace_head

    options = settings_of(cfg, "network")["network"]
    backbone = build_backbone(
        options["architecture"],
        input_size=options["input_size"],
        weights=options["weights"],
        model_name=options.get("model_name"),
        seed=cfg.seed,
    )
    return replace_head(backbone, len(dataset.classes), cfg.seed)


def settings_of(cfg: DictConfig, *keys: str) -> dict[str, Any]:
    """The resolved parts `keys` of a config as plain values: what a store's boxes depend on."""
    from omegaconf import OmegaConf

    return {
        key: OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part := cfg[key]) else part
        for key in keys
    }


def limited(ids: Sequence[str], limit: int, seed: int) -> tuple[str, ...]:
    """At most `limit` of `ids` (0: all), drawn by `seed`.

    A larger limit adds images to those that a smaller one drew, so results can grow.

    Raises:
        InputError: `limit` is negative.
    """
    import numpy as np

    if limit < 0:
        raise InputError(f"limit must be 0 (all images) or more, got {limit}")
    if not limit or limit >= len(ids):
        return tuple(ids)
    return tuple(ids[i] for i in np.random.default_rng(seed).permutation(len(ids))[:limit])
