"""The frozen classifier of a run: loaded, or first trained from the class labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wsdet import check
from wsdet.training.options import ClassifierTraining
from wsdet.types import Dataset, InputError

if TYPE_CHECKING:
    from wsdet.networks.backbones import Backbone
    from wsdet.networks.classifier import Network


@dataclass(frozen=True)
class NetworkOptions:
    """Which network, and where it runs.

    Attributes:
        architecture: see `build_backbone`, as for `model_name`.
        weights: a file that wsdet or others trained, "imagenet" for the publisher's, or None for random ones.
        input_size: side of the input in pixels; None: what the network or file was made for.
        head: "pretrained" uses the outputs that the weights have; "finetune" trains outputs for the data's classes.
        activation: of the outputs, for weights that do not say.
        training: how outputs are trained.
        model_name: of a network of timm.
        device: see `Network`, as for the next two.
        precision: of the forward passes.
        incremental: whether masked inputs are computed from cached activations.

    Raises:
        InputError: a value is out of its range.
    """

    architecture: str
    weights: str | None = None
    input_size: int | None = None
    head: Literal["pretrained", "finetune"] = "pretrained"
    activation: Literal["softmax", "sigmoid"] = "softmax"
    training: ClassifierTraining = field(default_factory=ClassifierTraining)
    model_name: str | None = None
    device: str = "auto"
    precision: str = "auto"
    incremental: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        check.one_of(("pretrained", "finetune"), head=self.head)
        check.one_of(("softmax", "sigmoid"), activation=self.activation)
        if self.input_size is not None:
            check.at_least(32, input_size=self.input_size)


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

    if options.head == "finetune" and not dataset.classes:
        raise InputError(
            "network.head=finetune trains on labels, and no image has one; give labels, or network.head=pretrained "
            "with localizer=stl_wl or localizer=vote, which need none"
        )
    weights: str | Path | None = options.weights
    metadata = read_metadata(weights) if weights not in (None, "imagenet") else None
    if options.head == "finetune" and (metadata is None or metadata.classes != tuple(dataset.classes)):
        weights = trained_weights(options, dataset, train_ids, folder, workers, trainer_options, seed)
    return load_network(
        options.architecture,
        dataset.classes,
        getattr(dataset, "wnids", None),
        weights,
        options.input_size,
        options.activation,
        options.model_name,
        options.device,
        options.precision,
        options.incremental,
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
        options=options.training,
        activation=options.activation,
        workers=workers,
        trainer_options=trainer_options,
        seed=seed,
    )


def untrained(options: NetworkOptions, dataset: Dataset, seed: int) -> Backbone:
    """The network before it is trained from the labels: its own weights, a new head."""
    from wsdet.networks.backbones import build_backbone, replace_head

    backbone = build_backbone(
        options.architecture,
        input_size=options.input_size,
        weights=options.weights,
        model_name=options.model_name,
        seed=seed,
    )
    return replace_head(backbone, len(dataset.classes), seed)
