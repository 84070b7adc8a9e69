"""Which boxes detectors are trained on: pseudo-boxes of a localizer, of a baseline, ground truth, corrections."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from wsdet import check
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Dataset, InputError

log = logging.getLogger(__name__)

TRAIN_ON = ("pseudo", "ground_truth", "center_box")
ALONE = "_alone"  # ends the names of detectors that know a person's boxes alone, of the corrected images
CORRECTED = "corrected"  # a person's boxes in the images that they corrected, pseudo-boxes in the others
CORRECTED_ALONE = CORRECTED + ALONE  # in others any region may show the image's labels, and none shows another class


@dataclass(frozen=True)
class Positives:
    """Which boxes detectors are trained on, a detector for each entry of `train_on`.

    Attributes:
        train_on: some of pseudo, ground_truth, center_box; and corrected and corrected_alone, where there are
            corrections.
        top_k: maximum number of pseudo-boxes to train on, of each label of an image.
        keep_above: which of them stand for objects, see `wsdet.localizers.instances.choose_instances`; None: all.
        ignore_above: which further ones may.
        weighting: what becomes of low-confidence pseudo-boxes, see `wsdet.detectors.rcnn.confidence.weigh`.
        low_confidence_below: a box has low confidence below this quantile of its class's boxes.
        agree_with: folders of other localizers' boxes of these images, whose agreement adds to the confidence.

    Raises:
        InputError: a value is out of its range.
    """

    train_on: Sequence[str] = TRAIN_ON
    top_k: int = 10
    keep_above: float | None = 0.8
    ignore_above: float = 1.0
    weighting: str = "none"
    low_confidence_below: float = 0.25
    agree_with: Sequence[str] = ()

    def __post_init__(self) -> None:
        from wsdet.detectors.rcnn.confidence import WEIGHTINGS

        check.each(partial(check.one_of, (*TRAIN_ON, CORRECTED, CORRECTED_ALONE)), train_on=self.train_on)
        check.at_least(1, top_k=self.top_k)
        check.one_of(WEIGHTINGS, weighting=self.weighting)
        check.share(low_confidence_below=self.low_confidence_below, ignore_above=self.ignore_above)
        if self.keep_above is not None:
            check.share(keep_above=self.keep_above)


def possible(options: Positives, dataset: Dataset, ids: Sequence[str]) -> list[str]:
    """The entries of `train_on` that can be had: ground truth only where the data has some."""
    if "ground_truth" not in options.train_on or any(image_id in dataset.truth for image_id in ids):
        return list(options.train_on)
    log.warning("the data has no ground-truth boxes: no detector is trained on ground_truth, and no boxes are measured")
    return [name for name in options.train_on if name != "ground_truth"]


def chosen(options: Positives, boxes: Mapping[str, Boxes], ids: Sequence[str]) -> dict[str, Boxes]:
    """The boxes of a localizer that stand for objects, by image id; those that may are flagged difficult."""
    from wsdet.detectors.positives import best_positives
    from wsdet.localizers.instances import choose_instances

    if options.keep_above is None:
        return best_positives(boxes, ids, options.top_k)
    return choose_instances(boxes, ids, options.top_k, keep_above=options.keep_above, ignore_above=options.ignore_above)


def positives_of(
    options: Positives,
    train_on: Sequence[str],
    dataset: Dataset,
    ids: Sequence[str],
    localized: Mapping[str, BoxStore],
    method: str,
    corrected: Mapping[str, Mapping[str, Boxes]],
) -> dict[str, Mapping[str, Boxes]]:
    """The boxes that each detector is trained on, by its name and image id.

    Args:
        options: which of a localizer's boxes.
        train_on: the detectors' names; of those in neither `TRAIN_ON` nor `corrected`, pseudo-boxes.
        dataset: gives labels and ground truth.
        ids: the training images.
        localized: boxes by localizer.
        method: the localizer whose boxes are the pseudo-boxes.
        corrected: boxes of corrected images, by detector; one whose name ends in `ALONE` has no others.

    Raises:
        InputError: there are no boxes with a label, no corrections, or no ground truth, and these are asked for.
    """
    from wsdet.detectors.positives import ground_truth_positives
    from wsdet.detectors.rcnn.confidence import confidences, weigh

    pseudo = localized[method]
    if "pseudo" in train_on and not any((pseudo[image_id].labels >= 0).any() for image_id in ids if image_id in pseudo):
        raise InputError(
            f"localizer={method} gave no box with a label, and train_on=pseudo needs labels; take one "
            "that follows the labels, such as stl_cl, or set localizer.class_known=true where there is such a key"
        )
    if missing := [name for name in (CORRECTED, CORRECTED_ALONE) if name in train_on and name not in corrected]:
        raise InputError(
            f"train_on={missing[0]} needs corrections: python -m wsdet.improve run=RUN corrections=PATH has some"
        )
    positives: dict[str, Mapping[str, Boxes]] = {}
    known = set(ids)
    for name in train_on:
        if name == "ground_truth":
            positives[name] = ground_truth_positives(dataset, ids)
            continue
        own = {image_id: of for image_id, of in corrected.get(name, {}).items() if image_id in known}
        if name.endswith(ALONE):
            positives[name] = equally_weighted(own)
            continue
        boxes = localized["center_box"] if name == "center_box" else pseudo
        best = _of_the_labels(dataset, chosen(options, boxes, ids))
        confidence = confidences(best, boxes, [BoxStore(path) for path in options.agree_with])
        weighted = weigh(best, confidence, options.weighting, options.low_confidence_below)
        positives[name] = {**weighted, **equally_weighted(own)}
    return positives


def _of_the_labels(dataset: Dataset, boxes: Mapping[str, Boxes]) -> dict[str, Boxes]:
    """Boxes of classes that their image has: dam_multi finds others too, and a label is sure where a box is not."""
    return {image_id: of[np.isin(of.labels, dataset.labels(image_id))] for image_id, of in boxes.items()}


def equally_weighted(boxes: Mapping[str, Boxes]) -> dict[str, Boxes]:
    """The boxes as positives of weight 1, which is what their scores become."""
    return {image_id: replace(of, scores=np.ones(len(of), np.float32)) for image_id, of in boxes.items()}
