"""Box regressors of one network from more and more boxes, and what each of them finds in images kept for the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wsdet import check
from wsdet.networks.classifier import Network
from wsdet.training.box_examples import (
    center_regressor,
    found_by,
    split_ids,
    training_examples,
    validation_budget,
)
from wsdet.training.box_regressor import train_box_regressor
from wsdet.training.options import BoxRegressorTraining
from wsdet.training.sensitivity_maps import SensitivityMaps
from wsdet.types import Boxes, Dataset

METHODS = ("sensitivity", "ridge", "center_box")


@dataclass(frozen=True, eq=False)
class Trained:
    """One box regressor, beside its references.

    Attributes:
        name: the number of boxes that was asked for, or "all".
        n_boxes: boxes that it learned from.
        path: its weights.
        found: for each of `METHODS`, boxes of the test images by image id: Lightning's regressor, the closed form, and
            the centered box of the average size of the same boxes.
    """

    name: str
    n_boxes: int
    path: Path
    found: dict[str, dict[str, Boxes]]


def train_box_regressors(
    dataset: Dataset,
    ids: Sequence[str],
    boxes: Mapping[str, Boxes],
    maps: SensitivityMaps,
    network: Network,
    out: Path,
    *,
    n_boxes: Sequence[int] = (0,),
    largest: bool = True,
    options: BoxRegressorTraining | None = None,
    trainer_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    batch_size: int = 32,
    in_flight: int = 16,
) -> list[Trained]:
    """Trains a regressor for each entry of `n_boxes`, in `out` / its name; what is there already is read.

    The images are split by `seed` (see `wsdet.training.box_examples`); the same ones are the test for every entry.

    Args:
        dataset: gives images and their labels.
        ids: its images; one without a label is left out.
        boxes: what is learned from, by image id: ground truth, or a localizer's boxes.
        maps: keeps the sensitivity maps, those of a part of the images until more are needed.
        network: makes the maps.
        out: folder of the trainings.
        n_boxes: how many boxes of the training part to learn from, 0 for all. A fifth as many of the validation part
            are chosen by.
        largest: see `training_examples`.
        options: of the trainings; None: `BoxRegressorTraining()`.
        trainer_options: see `train_box_regressor`.
        seed: of the split and the order in which boxes are taken.
        batch_size: images in one backward pass.
        in_flight: images under way at once.

    Raises:
        InputError: there are too few boxes, or `out` holds trainings with other settings.
    """
    options = options or BoxRegressorTraining()
    check.each(partial(check.at_least, 0), n_boxes=n_boxes)
    split = split_ids([image_id for image_id in ids if dataset.labels(image_id)], seed)
    to_learn, to_choose = (training_examples(boxes, dataset, part, largest) for part in (split.train, split.validation))
    tested = [(image_id, label) for image_id in split.test for label in dataset.labels(image_id)]
    trained = []
    for n in n_boxes:
        name = str(n) if n else "all"
        parts = to_learn.first(n, options.budget), to_choose.first(validation_budget(n), options.budget)
        wanted = [image_id for part in parts for image_id, _ in part.pairs]
        maps.fill(dataset, list(dict.fromkeys([*wanted, *split.test])), network, batch_size, in_flight)
        train, validation = (part.examples(maps) for part in parts)
        regressor, ridge = train_box_regressor(
            train,
            validation,
            out / name,
            dataset.classes,
            network.fingerprint,
            network.input_size,
            options,
            trainer_options,
        )
        regressors = dict(zip(METHODS, (regressor, ridge, center_regressor(train, regressor)), strict=True))
        found = {method: found_by(one, maps, tested) for method, one in regressors.items()}
        trained.append(Trained(name, len(train), out / name / "regressor.safetensors", found))
    return trained
