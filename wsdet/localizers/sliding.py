"""Two plain searches over a fixed grid: the baselines of the STL paper (Bazzani et al., WACV 2016).

The sliding window trusts what the classifier says of each crop alone; the sliding occlusion trusts what it no longer
says when the window is painted over. Neither looks at the picture's own edges, so both show what segments are worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsdet import boxes
from wsdet.localizers.dialogue import Dialogue
from wsdet.localizers.responses import response_of
from wsdet.localizers.windows import image_windows
from wsdet.questions import Cropped, Masked, Outputs, Whole
from wsdet.types import Boxes, Floats, Sample


class SlidingWindow:
    """Windows scored by what the network sees in their crops: the sum of the crop's own best class scores.

    Args:
        class_known: score a crop by the score of the image's label instead, once for each label; a label that the
            network has no output for is localized by the best classes.
        top_classes: how many class scores are added up; all of a softmax add up to 1, which ranks nothing.
        sides: widths and heights of the windows as shares of the image's sides, every width with every height.
        stride: steps between windows as a share of the image's sides.
        nms_iou: overlap above which the lesser window is dropped.
        max_boxes: keep so many boxes a label, 0 for all.

    Raises:
        ValueError: an argument is outside its range.
    """

    def __init__(
        self,
        class_known: bool = False,
        top_classes: int = 5,
        sides: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
        stride: float = 0.125,
        nms_iou: float = 0.5,
        max_boxes: int = 0,
    ) -> None:
        _check_grid(sides, stride, top_classes, nms_iou, max_boxes)
        self.class_known = class_known
        self.top_classes = top_classes
        self.sides = tuple(sides)
        self.stride = stride
        self.nms_iou = nms_iou
        self.max_boxes = max_boxes

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """Windows scored by their crops, for each label (class-known) or with label -1."""
        labels = sample.labels if self.class_known else (-1,)
        if not labels:
            return Boxes.empty()
        xyxy = image_windows(sample.size_hw, self.sides, self.stride)
        (cropped,) = yield [Cropped(xyxy)]
        return Boxes.concatenate(
            _best_first(xyxy, self._score(cropped, label), label, self.nms_iou, self.max_boxes) for label in labels
        )

    def _score(self, cropped: Outputs, label: int) -> Floats:
        """(n,) scores of n crops."""
        if label >= 0 and np.isfinite(cropped.class_scores[0, label]):
            return cropped.class_scores[:, label]
        return np.sort(cropped.scores, axis=1)[:, -self.top_classes :].sum(axis=1)


class SlidingOcclusion:
    """Windows scored by the drop of the network's score when they are painted over with the mean color.

    Args:
        class_known: the drop of the image's label, once for each label, instead of the drops of the best classes; a
            label that the network has no output for is localized by the best classes.
        top_classes: how many classes of the whole image count; their drops are added up.
        sides: widths and heights of the windows as shares of the image's sides, every width with every height.
        stride: steps between windows as a share of the image's sides.
        nms_iou: overlap above which the lesser window is dropped.
        max_boxes: keep so many boxes a label, 0 for all.

    Raises:
        ValueError: an argument is outside its range.
    """

    def __init__(
        self,
        class_known: bool = False,
        top_classes: int = 5,
        sides: Sequence[float] = (0.25, 0.5, 0.75),
        stride: float = 0.125,
        nms_iou: float = 0.5,
        max_boxes: int = 0,
    ) -> None:
        _check_grid(sides, stride, top_classes, nms_iou, max_boxes)
        self.class_known = class_known
        self.top_classes = top_classes
        self.sides = tuple(sides)
        self.stride = stride
        self.nms_iou = nms_iou
        self.max_boxes = max_boxes

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """Windows scored by their drops, for each label (class-known) or with label -1."""
        labels = sample.labels if self.class_known else (-1,)
        if not labels:
            return Boxes.empty()
        xyxy = image_windows(sample.size_hw, self.sides, self.stride)
        whole, masked = yield [Whole(), Masked(xyxy)]
        return Boxes.concatenate(
            _best_first(xyxy, self._drop(whole, masked, label), label, self.nms_iou, self.max_boxes) for label in labels
        )

    def _drop(self, whole: Outputs, masked: Outputs, label: int) -> Floats:
        """(n,) drops of n masks."""
        response = response_of(label, whole, self.top_classes)
        return np.maximum(response(whole) - response(masked), 0).sum(axis=1)


def _check_grid(sides: Sequence[float], stride: float, top_classes: int, nms_iou: float, max_boxes: int) -> None:
    if not len(sides) or not all(0 < side <= 1 for side in sides):
        raise ValueError(f"sides must be shares of the image's sides in (0, 1], at least one, got {list(sides)}")
    if not 0 < stride <= 1:
        raise ValueError(f"stride must be a share of the image's sides in (0, 1], got {stride}")
    if top_classes < 1:
        raise ValueError(f"top_classes must be at least 1, got {top_classes}")
    if not 0 <= nms_iou <= 1:
        raise ValueError(f"nms_iou must be in [0, 1], got {nms_iou}")
    if max_boxes < 0:
        raise ValueError(f"max_boxes must be at least 0, got {max_boxes}")


def _best_first(xyxy: Floats, scores: Floats, label: int, nms_iou: float, max_boxes: int) -> Boxes:
    kept = boxes.nms(xyxy, scores, nms_iou)[: max_boxes or None]
    return Boxes(xyxy[kept], scores[kept], np.full(len(kept), label))
