"""What a neural detector is and how it is trained, as plain values that check their own ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

from wsdet import check
from wsdet.tiles import Tiling
from wsdet.training.loggers import check_logger
from wsdet.types import InputError

Kind = Literal["faster_rcnn", "retinanet", "fcos", "ssdlite"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_MOST_PIXELS = 4096  # along a side of the network's input


@dataclass(frozen=True)
class ModelOptions:
    """A detector of torchvision over the feature pyramid of a classifier.

    Attributes:
        kind: one of `KINDS`.
        strides: of the pyramid's maps, ascending, each twice the one before.
        channels: of each map; the heads normalize them in groups.
        trainable_layers: stages of the backbone that are trained, from the last.
        short_side: pixels of an image's shorter side when the detector sees it; 0 follows the network, see `fitted_to`.
        long_side: maximum of the longer side, for which the shorter one is made smaller; 0: 1.667 times the shorter.
        square: squeeze images to squares of the short side instead, as SSD does.
        score_threshold: detections scored lower are dropped.
        nms_iou: of two detections of a class that overlap more, the lower one is dropped.
        tile: side of the tiles that it is trained on and looks at beside the image, see `wsdet.tiles.Tiling`; None:
            the image alone.
        tile_overlap: see there.

    Raises:
        InputError: a value is out of its range.
    """

    kind: Kind
    strides: Sequence[int] = (8, 16, 32, 64)
    channels: int = 128
    trainable_layers: int = 3
    short_side: int = 0
    long_side: int = 0
    square: bool = False
    score_threshold: float = 0.01
    nms_iou: float = 0.5
    tile: float | None = None
    tile_overlap: float = Tiling.overlap

    def __post_init__(self) -> None:
        check.one_of(KINDS, kind=self.kind)
        strides = tuple(self.strides)
        doubles = all(b == 2 * a for a, b in pairwise(strides))
        if not 1 <= len(strides) <= 8 or strides[0] not in (4, 8, 16, 32) or not doubles:
            raise InputError(f"strides must start at 4, 8, 16 or 32 and double, got {list(self.strides)}")
        object.__setattr__(self, "strides", strides)
        check.at_least(0, trainable_layers=self.trainable_layers)
        check.within("[0, 1)", score_threshold=self.score_threshold)
        check.within("(0, 1]", nms_iou=self.nms_iou)
        check.within("[64, 4096]", channels=self.channels)
        Tiling.of(self.tile, self.tile_overlap)
        if self.channels % 32:
            raise InputError(f"channels must be a multiple of 32, got {self.channels}")
        if self.short_side:
            check.at_least(32, short_side=self.short_side)
            check.within(f"[32, {_MOST_PIXELS}]", short_side=self.short_side)
        if self.long_side:
            check.within(f"[{self.short_side}, {_MOST_PIXELS}]", long_side=self.long_side)

    @property
    def tiling(self) -> Tiling | None:
        """The tiles; None for none."""
        return Tiling.of(self.tile, self.tile_overlap)

    def fitted_to(self, input_size: int) -> ModelOptions:
        """The same with a short side: where none is given, 1.5 times the classifier's input, in steps of 32 pixels."""
        return replace(self, short_side=self.short_side or 32 * max(1, round(1.5 * input_size / 32)))

    def size_of(self, size_hw: tuple[int, int], factor: float = 1.0) -> tuple[int, int]:
        """Height and width at which an image of `size_hw` is seen; `factor` enlarges it, in training."""
        short = self.short_side * factor
        if self.square:
            return round(short), round(short)
        long = (self.long_side or self.short_side * 5 / 3) * factor
        scale = min(short / min(size_hw), long / max(size_hw))
        return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


@dataclass(frozen=True)
class WeakLosses:
    """How weak labels change the losses; see `wsdet.detectors.neural.supervision`.

    Attributes:
        ignore_share: an anchor or proposal with at least this share of its area inside an ignored region is no
            background.
        negatives_by_label: in an ignored region the classes that the image does not have stay certain negatives; and
            where a class of the image has no box, no background of the image is a negative of it.
        roi_drop: whether positives with a high class loss and a high box loss are left out, as wrong boxes' (WeakSAM,
            Zhu et al. 2024).
        drop_after: share of the training after which they are.
        drop_class_loss: the class loss above which a positive may be dropped.
        drop_box_loss: the box loss above which, too.

    Raises:
        InputError: a value is out of its range.
    """

    ignore_share: float = 0.5
    negatives_by_label: bool = False
    roi_drop: bool = False
    drop_after: float = 0.3
    drop_class_loss: float = 2.0
    drop_box_loss: float = 1.0

    def __post_init__(self) -> None:
        check.within("(0, 1]", ignore_share=self.ignore_share)
        check.share(drop_after=self.drop_after)
        check.at_least(0.0, drop_class_loss=self.drop_class_loss, drop_box_loss=self.drop_box_loss)


@dataclass(frozen=True)
class TrainingOptions:
    """How a neural detector is trained.

    Attributes:
        epochs: passes over the images, at most.
        batch_size: images in a step, and a process where several train together.
        learning_rate: of SGD at its highest; it rises over the first steps and falls to 0 as a cosine.
        warm_up: share of the steps in which it rises.
        momentum: of SGD.
        weight_decay: of weights, not of biases and normalization.
        gradient_clip: largest norm of the gradient; 0: no limit.
        precision: of Lightning's Trainer; "auto" takes bfloat16 autocast where the hardware has units for it.
        flip: share of the images that are mirrored.
        scale_jitter: images are enlarged and shrunk by up to this share.
        color_jitter: greatest change of brightness, contrast and saturation.
        average: decay of the exponential moving average of the weights, which is what comes out; 0: the last weights.
        validation: share of the images held out to stop early on their loss; 0: none.
        patience: epochs without a better validation loss after which the training stops.
        logger: of these trainings alone, where it is not "csv"; see `logger` of wsdet.train.

    Raises:
        InputError: a value is out of its range.
    """

    epochs: int = 30
    batch_size: int = 8
    learning_rate: float = 0.01
    warm_up: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    gradient_clip: float = 10.0
    precision: str = "auto"
    flip: float = 0.5
    scale_jitter: float = 0.25
    color_jitter: float = 0.1
    average: float = 0.99
    validation: float = 0.0
    patience: int = 3
    logger: Literal["csv", "tensorboard", "mlflow", "wandb"] = "csv"

    def __post_init__(self) -> None:
        check.at_least(1, epochs=self.epochs, batch_size=self.batch_size, patience=self.patience)
        check.positive(learning_rate=self.learning_rate)
        check.at_least(0.0, weight_decay=self.weight_decay, gradient_clip=self.gradient_clip)
        check.within("[0, 1)", warm_up=self.warm_up, momentum=self.momentum, scale_jitter=self.scale_jitter)
        check.within("[0, 1)", average=self.average, validation=self.validation)
        check.share(flip=self.flip, color_jitter=self.color_jitter)
        check_logger(self.logger)
