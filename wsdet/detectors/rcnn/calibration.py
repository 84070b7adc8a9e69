"""SVM scores as probabilities, without ground truth: what classifiers find in images that they were not trained on.

Each fold's classifiers are solved again without its images and detect there. A detection is correct if it is the first
to overlap a box of its class that the detector was to be trained on by at least 0.5, and false in an image without
that label, which is sure, or away from these boxes. So the probability is that of agreeing with pseudo-boxes of a
class in other images; where these are wrong, it is too high, where they leave objects out, too low.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

import numpy as np

from wsdet.boxes import iou, nms
from wsdet.detectors.rcnn.mining import SvmTrainer
from wsdet.linear_models.calibration import Calibration, fit_calibration
from wsdet.types import Boxes, Floats

log = logging.getLogger(__name__)

_FOLDS = 3
_IMAGES = 150  # looked at once more, with features of all their proposals
_PER_CLASS = 20  # detections of a class in an image
_CORRECT_IOU = 0.5

Example = tuple[float, int, bool]  # score, class, whether it is correct


def calibrate(
    trainer: SvmTrainer, positives: Mapping[str, Mapping[str, Boxes]], nms_iou: float
) -> dict[str, Calibration | None]:
    """The calibration of each detector of a finished training, by name; None where nothing can be told.

    Args:
        trainer: after `run`.
        positives: what it was trained on.
        nms_iou: of two detections of a class that overlap more, the lower one is dropped.
    """
    start, names, n_classes = time.perf_counter(), trainer.tasks.detectors, len(trainer.images.dataset.classes)
    examples: dict[str, list[Example]] = {name: [] for name in names}
    for image_id, xyxy, scores in trainer.held_out_scores(_FOLDS, _IMAGES):
        labels = trainer.images.dataset.labels(image_id)
        for (detector, label), of_task in zip(trainer.tasks.pairs, scores.T, strict=True):
            boxes = positives[names[detector]].get(image_id, Boxes.empty())
            own = boxes[boxes.labels == label]
            if len(own) or label not in labels:
                examples[names[detector]] += _judged(xyxy, of_task, own, label, nms_iou)
    calibrations = {name: _fitted(found, n_classes) for name, found in examples.items()}
    log.info("scores as probabilities, from images that classifiers had not seen: %.1f s", time.perf_counter() - start)
    for name in [name for name, one in calibrations.items() if one is None]:
        log.warning("detector %s: held-out images tell nothing of its scores, which become 1/(1+exp(-2 score))", name)
    return calibrations


def _judged(xyxy: Floats, scores: Floats, own: Boxes, label: int, nms_iou: float) -> list[Example]:
    """The detections of a class in an image, best first; those of a box that may be an object are left out."""
    best = np.argsort(-scores, kind="stable")[: 5 * _PER_CLASS]
    kept = best[nms(xyxy[best], scores[best], nms_iou)][:_PER_CLASS]
    overlaps = iou(xyxy[kept], own.xyxy)  # (detections, boxes)
    taken = own.difficult.copy()
    examples = []
    for row, of_row in zip(kept, overlaps, strict=True):
        nearest = int(of_row.argmax()) if len(own) else -1
        touches = nearest >= 0 and of_row[nearest] >= _CORRECT_IOU
        if touches and own.difficult[nearest]:
            continue
        examples.append((float(scores[row]), label, bool(touches and not taken[nearest])))
        if touches:
            taken[nearest] = True
    return examples


def _fitted(examples: Sequence[Example], n_classes: int) -> Calibration | None:
    scores, labels, is_correct = zip(*examples, strict=True) if examples else ((), (), ())
    arrays = np.array(scores, np.float32), np.array(labels, np.int64), np.array(is_correct, bool)
    return fit_calibration(*arrays, n_classes)
