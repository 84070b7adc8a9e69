"""What can be set about trainings: each class owns its defaults and ranges, and is what a config's node describes.

To add a hyperparameter, give it a line with its check here and a line in the class's YAML files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from wsdet import check
from wsdet.linear_models.box_regressor import Channels

Budget = Literal["class", "total"]
PerClass = Literal["nothing", "bias", "map"]
RegressionLoss = Literal["squared", "overlap"]

PENALTIES = tuple(10.0 ** (power / 2) for power in range(-12, 3))


@dataclass(frozen=True)
class ClassifierTraining:
    """Training of a classifier from class labels.

    Attributes:
        head_only: train the last layer alone, on the fixed features of the rest.
        epochs: passes over the images.
        batch_size: images of a step, and of a process where several train together.
        learning_rate: of AdamW at its highest; it rises over the first tenth of the steps and falls to 0 as a cosine.
        weight_decay: of AdamW, on weights but not on biases and normalization.
        min_crop: least side of a random crop, relative to the image's, in (0, 1].
        jitter: greatest change of brightness, contrast and saturation, in [0, 1].
        masked: share of the training inputs with a random box painted over.
        validation: share of the images to measure on instead of learning from, in [0, 1); 0 measures nothing.

    Raises:
        InputError: a value is out of its range.
    """

    head_only: bool = False
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    min_crop: float = 0.5
    jitter: float = 0.3
    masked: float = 0.5
    validation: float = 0.1

    def __post_init__(self) -> None:
        check.at_least(1, epochs=self.epochs, batch_size=self.batch_size)
        check.positive(learning_rate=self.learning_rate)
        check.at_least(0.0, weight_decay=self.weight_decay)
        check.within("(0, 1]", min_crop=self.min_crop)
        check.share(jitter=self.jitter, masked=self.masked)
        check.within("[0, 1)", validation=self.validation)


@dataclass(frozen=True)
class RegionClassifierTraining:
    """Training of a region classifier from class labels: WSDDN's heads, then refined ones.

    Attributes:
        heads: pairs of linear classifiers that are trained side by side.
        share: of an image's regions that a head sees in a step, in (0, 1].
        epochs: passes over the images.
        batch_size: images of a step.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        stages: how often refined heads are trained, each time on the boxes of the stage before; 0: never.
        folds: parts of the images; a refined head learns from one part and labels the others. 1: it labels its own.
        components: principal components that features are reduced to for refined heads.
        background: regions of an image that are examples of background, sampled.
        penalty: of refined heads' squared weights, beside a mean cross-entropy.

    Raises:
        InputError: a value is out of its range.
    """

    heads: int = 5
    share: float = 0.25
    epochs: int = 5
    batch_size: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    stages: int = 2
    folds: int = 3
    components: int = 256
    background: int = 64
    penalty: float = 1e-3

    def __post_init__(self) -> None:
        check.at_least(1, heads=self.heads, epochs=self.epochs, batch_size=self.batch_size)
        check.at_least(1, folds=self.folds, components=self.components, background=self.background)
        check.at_least(0, stages=self.stages)
        check.within("(0, 1]", share=self.share)
        check.positive(learning_rate=self.learning_rate, penalty=self.penalty)
        check.at_least(0.0, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class BoxRegressorTraining:
    """Training of a linear map from sensitivity maps to boxes; see `wsdet.training.box_regressor`.

    Attributes:
        budget: whether a number of boxes counts those of each class, or all together.
        map_side: side that larger sensitivity maps are averaged down to.
        channels: what is taken over the color channels of a gradient.
        per_class: what each class has of its own: "nothing", a "bias", or a "map", for which it needs two examples,
            mirrored ones counted; "auto": what does best on the validation examples.
        loss: what Lightning minimizes.
        mirror: each example counts a second time, mirrored left to right.
        penalties: of ridge regression, to choose from.
        epochs: maximum number of them, ten L-BFGS steps each.
        patience: epochs without a smaller validation error after which the training stops.

    Raises:
        InputError: a value is out of its range.
    """

    budget: Budget = "class"
    map_side: int = 16
    channels: Channels = "max"
    per_class: PerClass | Literal["auto"] = "auto"
    loss: RegressionLoss = "squared"
    mirror: bool = True
    penalties: Sequence[float] = PENALTIES
    epochs: int = 50
    patience: int = 3

    def __post_init__(self) -> None:
        check.one_of(get_args(Budget), budget=self.budget)
        check.one_of(get_args(Channels), channels=self.channels)
        check.one_of((*get_args(PerClass), "auto"), per_class=self.per_class)
        check.one_of(get_args(RegressionLoss), loss=self.loss)
        check.each(check.positive, penalties=self.penalties)
        check.at_least(1, map_side=self.map_side, epochs=self.epochs, patience=self.patience)
