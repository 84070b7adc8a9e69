"""`TrainingProtocol`: how positives and negatives are chosen and what the SVM minimizes, as plain values.

The published protocols are YAML files under conf/detector/protocol, over the one implementation in `mining.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wsdet import check
from wsdet.detectors.rcnn.svm import SvmLoss


@dataclass(frozen=True)
class TrainingProtocol:
    """How a detector is trained. "Positive images" of a class have its label or a box of it; the rest are negative.

    A negative of a class is a proposal whose IoU with each of the class's boxes in the image is below `negative_iou`;
    in an image that has the class's label but no box of it, there is none.

    Attributes:
        loss: "squared_hinge" or "hinge".
        c: the SVM's C in liblinear's sum form; with several values, the one with the best average precision over
            `folds` folds of the images is chosen for each class.
        folds: of the cross-validation; only with several `c`.
        choose_c_each_round: whether C is chosen anew after each round of mining, not only before the first.
        positive_images: a class is trained on this many of its positive images, sampled by the seed; 0: all.
        negative_images: the same of its negative images, equally many of each other class as far as there are; 0: all.
        positive_weight: the positives' cost is `c` times this; "balanced" gives both targets the same total cost.
        bias_multiplier: see `wsdet.detectors.rcnn.svm`.
        feature_norm: features are multiplied so that their mean norm is this; `c` is tuned to it.
        max_proposals: maximum number of proposals of an image that are looked at, the best ones; 0: all.
        negative_iou: see above.
        random_negatives: proposals sampled from each image at the start.
        random_in_positive_images: whether positive images give random negatives of their class, too.
        whole_first_image: all negatives of the first image are in from the start (R-CNN).
        near_iou: at the start, positive images give the negatives with at least this IoU with a positive, in random
            order; None: they do not.
        near_nms: of two such negatives that overlap more than this, one is dropped.
        near_per_image: maximum number of them per image and class; 0: all.
        start_negatives: maximum number of negatives per class at the start, sampled by the seed; 0: all.
        rounds: passes over all images that look for hard negatives.
        hard_above: a negative is hard when its score is above this; None: the best ones are taken whatever their score.
        hard_per_image: maximum number of hard negatives per image and class in a round, those of highest score, of
            equal scores those that come first; 0: all.
        hard_rows_per_image: the same over all classes of a detector together; 0: all.
        mine_positive_images: whether positive images give hard negatives of their class, too.
        negatives_per_image: maximum number of negatives of a class from one image over all rounds; 0: all.
        retrain_after: a class is trained again within a round after this number of new negatives; 0: only at the
            round's end.
        evict_below: negatives that score below this after training are forgotten; None: never.
        share_negatives: what is picked for one class of a detector serves every class of it that it is a negative of,
            and so do the boxes of the other classes. All classes of a detector are then solved together.

    Raises:
        InputError: a value is out of its range.
    """

    loss: SvmLoss = "squared_hinge"
    c: float | Sequence[float] = 1e-3
    folds: int = 5
    choose_c_each_round: bool = False
    positive_images: int = 0
    negative_images: int = 0
    positive_weight: float | Literal["balanced"] = 2.0
    bias_multiplier: float = 10.0
    feature_norm: float = 20.0
    max_proposals: int = 1000
    negative_iou: float = 0.3
    random_negatives: int = 15
    random_in_positive_images: bool = True
    whole_first_image: bool = False
    near_iou: float | None = None
    near_nms: float = 0.7
    near_per_image: int = 0
    start_negatives: int = 0
    rounds: int = 2
    hard_above: float | None = -1.0
    hard_per_image: int = 4
    hard_rows_per_image: int = 20
    mine_positive_images: bool = True
    negatives_per_image: int = 0
    retrain_after: int = 0
    evict_below: float | None = -1.2
    share_negatives: bool = True

    def __post_init__(self) -> None:
        check.one_of(("squared_hinge", "hinge"), loss=self.loss)
        check.each(check.positive, c=self.cs)
        check.positive(bias_multiplier=self.bias_multiplier, feature_norm=self.feature_norm)
        if self.positive_weight != "balanced":
            check.positive(positive_weight=self.positive_weight)
        check.within("(0, 1]", negative_iou=self.negative_iou)
        check.share(near_nms=self.near_nms)
        if self.near_iou is not None:
            check.within(f"[0, {self.negative_iou})", near_iou=self.near_iou)
        check.at_least(2, folds=self.folds)
        check.at_least(0, **{name: getattr(self, name) for name in _COUNTS})

    @property
    def cs(self) -> tuple[float, ...]:
        """The values of C to choose from, ascending."""
        return (self.c,) if isinstance(self.c, (int, float)) else tuple(sorted(self.c))


_COUNTS = (
    "positive_images",
    "negative_images",
    "max_proposals",
    "random_negatives",
    "near_per_image",
    "start_negatives",
    "rounds",
    "hard_per_image",
    "hard_rows_per_image",
    "negatives_per_image",
    "retrain_after",
)
