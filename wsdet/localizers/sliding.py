"""Plain search over a fixed grid: the two baselines of the STL paper (Bazzani et al., WACV 2016).

The sliding window uses what the classifier says of each crop alone; the sliding occlusion what it no longer
says when the window is painted over. Neither looks at the image's own edges, so both show what segments are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np

from wsdet import boxes, check
from wsdet.localizers.dialogue import Dialogue
from wsdet.localizers.responses import response_of
from wsdet.localizers.windows import image_windows
from wsdet.questions import Cropped, Masked, Note, Outputs, Whole
from wsdet.types import Boxes, Floats, Sample


class Sliding:
    """Windows of a grid, ranked by what the network says of each.

    Args:
        by: "crop" (sliding window): the sum of the best class scores of the window's crop. "drop" (sliding occlusion):
            how much the scores of the image's best classes fall when the window is painted over with the mean color.
        class_known: rank by the score of the image's label instead, once for each label; a label that the network has
            no output for is localized by the best classes.
        top_classes: how many class scores are added up; all of a softmax's crops add up to 1, which ranks nothing.
        sides: widths and heights of the windows in relative coordinates, every width with every height.
        stride: steps between windows as a share of the image's sides.
        nms_iou: overlap above which the lesser window is dropped.
        max_boxes: maximum number of boxes of a label; 0: all.

    Raises:
        InputError: an argument is outside its range.
    """

    def __init__(
        self,
        by: Literal["crop", "drop"],
        class_known: bool = False,
        top_classes: int = 5,
        sides: Sequence[float] = (0.25, 0.5, 0.75),
        stride: float = 0.125,
        nms_iou: float = 0.5,
        max_boxes: int = 0,
    ) -> None:
        check.one_of(("crop", "drop"), by=by)
        check.each(partial(check.within, "(0, 1]"), sides=sides)
        check.within("(0, 1]", stride=stride)
        check.at_least(1, top_classes=top_classes)
        check.share(nms_iou=nms_iou)
        check.at_least(0, max_boxes=max_boxes)
        self.by = by
        self.class_known = class_known
        self.top_classes = top_classes
        self.sides = tuple(sides)
        self.stride = stride
        self.nms_iou = nms_iou
        self.max_boxes = max_boxes

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """Windows best first, for each label (class-known) or with label -1."""
        labels = sample.labels if self.class_known else (-1,)
        if not labels:
            return Boxes.empty()
        xyxy = image_windows(sample.size_hw, self.sides, self.stride)
        whole, windows = yield [Whole(), Cropped(xyxy) if self.by == "crop" else Masked(xyxy)]
        score = self._crop_scores if self.by == "crop" else self._drops
        scores = {label: score(whole, windows, label) for label in labels}
        yield [Note("windows", {"label": label, "xyxy": xyxy, "scores": scores[label]}) for label in labels]
        return Boxes.concatenate(self._best(xyxy, scores[label], label) for label in labels)

    def _crop_scores(self, whole: Outputs, cropped: Outputs, label: int) -> Floats:
        """(n,) scores of n crops, by the label or by each crop's own best classes."""
        if label >= 0 and np.isfinite(whole.class_scores[0, label]):
            return cropped.class_scores[:, label]
        return np.sort(cropped.scores, axis=1)[:, -self.top_classes :].sum(axis=1)

    def _drops(self, whole: Outputs, masked: Outputs, label: int) -> Floats:
        """(n,) drops of n masks."""
        response = response_of(label, whole, self.top_classes)
        return np.maximum(response(whole) - response(masked), 0).sum(axis=1)

    def _best(self, xyxy: Floats, scores: Floats, label: int) -> Boxes:
        kept = boxes.nms(xyxy, scores, self.nms_iou)[: self.max_boxes or None]
        return Boxes(xyxy[kept], scores[kept], np.full(len(kept), label))
