"""The frozen classifier of a run: loaded, or first trained from the class labels."""

from __future__ import annotations

import logging
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

log = logging.getLogger(__name__)

_BORROWED = 10  # outputs that a class without a counterpart follows
_BORROWED_FROM = 100  # images with the class, and as many without it


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

    Weights that wsdet trained for the same classes are used as they are. Where ImageNet knows none of several classes,
    "pretrained" becomes "finetune". One class alone trains no output, since nothing is told from it: then the network
    stays as it is, and the class follows the outputs that its images raise most.
    """
    from wsdet.networks.classifier import Network, load_network
    from wsdet.networks.imagenet_classes import has_counterpart
    from wsdet.networks.weights import read_metadata

    if options.head == "finetune" and not dataset.classes:
        raise InputError(
            "network.head=finetune trains on labels, and no image has one; give labels, or network.head=pretrained "
            "with localizer=stl_wl or localizer=vote, which need none"
        )
    classes, wnids = dataset.classes, getattr(dataset, "wnids", None)
    weights: str | Path | None = options.weights
    metadata = read_metadata(weights) if weights not in (None, "imagenet") else None
    is_trained_here = metadata is not None and bool(metadata.classes)
    is_known = is_trained_here or has_counterpart(classes, wnids)
    head = options.head
    has_negatives = options.activation == "sigmoid" and not all(dataset.labels(image_id) for image_id in train_ids)
    if head == "finetune" and len(classes) == 1 and not has_negatives and not is_trained_here:
        log.warning(
            "network.head=finetune: one class alone (%s) trains no output, so the network stays as it is; images of "
            "something else would: as a second class, or without a label and with network.activation=sigmoid",
            classes[0],
        )
        head = "pretrained"
    elif head == "pretrained" and len(classes) > 1 and not is_known:
        log.warning(
            "ImageNet knows none of the classes: outputs of their own are trained, as network.head=finetune does"
        )
        head = "finetune"
    if head == "finetune" and (metadata is None or metadata.classes != tuple(classes)):
        weights = trained_weights(options, dataset, train_ids, folder, workers, trainer_options, seed)
    network = load_network(
        options.architecture,
        classes,
        wnids,
        weights,
        options.input_size,
        options.activation,
        options.model_name,
        options.device,
        options.precision,
        options.incremental,
        need_counterpart=len(classes) != 1,
    )
    if head == "finetune" or is_trained_here or weights is None or not network.backbone.has_imagenet_outputs:
        return network
    outputs, activation = _with_borrowed(network, dataset, train_ids), network.scores.activation
    return Network(network.backbone, outputs, activation, options.device, options.precision, options.incremental)


def _with_borrowed(network: Network, dataset: Dataset, train_ids: Sequence[str]) -> list[Sequence[int]]:
    """The outputs of each class; one without a counterpart borrows those that its images raise most above others'.

    Which classes an image is like says more over a hundred images than in one.
    """
    import numpy as np

    from wsdet.data.loading import load_samples
    from wsdet.types import Sample

    without = [label for label, outputs in enumerate(network.scores.class_outputs) if not outputs]
    taken = {
        image_id
        for label in without
        for has in (True, False)
        for image_id in [one for one in train_ids if (label in dataset.labels(one)) == has][:_BORROWED_FROM]
    }
    seen = {
        image_id: network.outputs(network.logits(network.prepare(sample).input[None]).cpu().numpy()).scores[0]
        for image_id, sample in load_samples(dataset, [one for one in train_ids if one in taken])
        if isinstance(sample, Sample)
    }
    outputs: list[Sequence[int]] = list(network.scores.class_outputs)
    for label in without:
        own, others = (
            [scores for image_id, scores in seen.items() if (label in dataset.labels(image_id)) == has]
            for has in (True, False)
        )
        if own:
            raised = np.mean(own, axis=0) - (np.mean(others, axis=0) if others else 0)
            outputs[label] = tuple(sorted(np.argsort(-raised, kind="stable")[:_BORROWED].tolist()))
            log.info("%s follows %d outputs that its images raise", dataset.classes[label], len(outputs[label]))
    return outputs


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
