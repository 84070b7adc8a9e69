"""The frozen classifier of a run: loaded, or first trained from the class labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wsdet.types import Dataset

if TYPE_CHECKING:
    from wsdet.networks.backbones import Backbone
    from wsdet.networks.classifier import Network


@dataclass(frozen=True)
class NetworkOptions:
    """Which network, and where it runs.

    Attributes:
        description: what `load_network` takes: architecture, weights, input_size, activation, model_name.
        head: "pretrained" uses the outputs that the weights have; "finetune" trains outputs for the data's classes.
        training: options of that training, see `wsdet.training.classifier.train_classifier`.
        device: see `Network`, as for the next two.
        precision: of the forward passes.
        incremental: whether masked inputs are computed from cached activations.
    """

    description: Mapping[str, Any]
    head: str
    training: Mapping[str, Any]
    device: str = "auto"
    precision: str = "auto"
    incremental: bool | Literal["auto"] = "auto"


def network_of(
    options: NetworkOptions,
    dataset: Dataset,
    train_ids: Sequence[str],
    folder: Path,
    workers: int,
    trainer_options: Mapping[str, Any],
    seed: int,
) -> Network:
    """The frozen classifier; with `head="finetune"` it is trained in `folder` first, unless that was done.

    Weights that wsdet trained for the same classes are used as they are.
    """
    from wsdet.networks.classifier import load_network
    from wsdet.networks.weights import read_metadata

    description = dict(options.description)
    weights = description["weights"]
    metadata = read_metadata(weights) if weights not in (None, "imagenet") else None
    if options.head == "finetune" and (metadata is None or metadata.classes != tuple(dataset.classes)):
        description["weights"] = trained_weights(options, dataset, train_ids, folder, workers, trainer_options, seed)
    return load_network(
        classes=dataset.classes,
        wnids=getattr(dataset, "wnids", None),
        device=options.device,
        precision=options.precision,
        incremental=options.incremental,
        **description,
    )


def trained_weights(
    options: NetworkOptions,
    dataset: Dataset,
    train_ids: Sequence[str],
    folder: Path,
    workers: int,
    trainer_options: Mapping[str, Any],
    seed: int,
) -> Path:
    """The weights file of the classifier trained from the labels of `train_ids`, now if it is not in `folder` yet."""
    from wsdet.training.classifier import train_classifier

    return train_classifier(
        untrained(options, dataset, seed),
        dataset,
        train_ids,
        folder,
        activation=options.description["activation"],
        workers=workers,
        trainer_options=trainer_options,
        seed=seed,
        **options.training,
    )


def untrained(options: NetworkOptions, dataset: Dataset, seed: int) -> Backbone:
    """The network before it is trained from the labels: its own weights, a new head."""
    from wsdet.networks.backbones import build_backbone, replace_head

    description = {key: value for key, value in options.description.items() if key != "activation"}
    return replace_head(build_backbone(**description, seed=seed), len(dataset.classes), seed)
