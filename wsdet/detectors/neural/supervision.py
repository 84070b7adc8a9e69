"""Losses for boxes that may be wrong: weights, regions without a verdict, classes that are certainly absent, RoI drop.

torchvision's losses take every target for true. Here a target, a dictionary for each image, says more:

    boxes      (n, 4) float, xyxy, of the objects
    labels     (n,) int64 from 1; 0 is the background, as in torchvision
    weights    (n,) float, of each box's positives in the losses; 1 is the usual one
    located    (n,) bool: whether a box is well enough known to learn from where it lies, not only from its class
    ignored    (m, 4) float, xyxy: nothing mostly inside one of them counts as background
    present    (k + 1,) bool: the classes of the image's labels; entry 0 is False
    unboxed    (k + 1,) bool: those of them that no box stands for
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wsdet.detectors.neural.options import WeakLosses

Target = Mapping[str, Tensor]
BETWEEN_THRESHOLDS = -2  # torchvision's Matcher: neither near a box nor far from all


class LossRules:
    """The rules of `WeakLosses`, and how far the training is.

    Args:
        options: the rules.

    Attributes:
        is_warm: whether RoI drop is under way; set by the training.
    """

    def __init__(self, options: WeakLosses) -> None:
        self.options = options
        self.is_warm = False

    def weights(self, verdicts: Verdicts, class_loss: Tensor, box_loss: Tensor) -> tuple[Tensor, Tensor]:
        """(p,) weights of the positives in the class loss and in the box loss; RoI drop leaves out some.

        Args:
            verdicts: of n anchors or proposals, p of them positive.
            class_loss: (p,) of the positives.
            box_loss: (p,) of the positives.
        """
        weights, box_weights = verdicts.weights[verdicts.positive], verdicts.box_weights[verdicts.positive]
        if self.options.roi_drop and self.is_warm:
            high = (class_loss.detach() > self.options.drop_class_loss) & (
                box_loss.detach() > self.options.drop_box_loss
            )
            weights, box_weights = weights * ~high, box_weights * ~high
        return weights, box_weights


@dataclass(frozen=True)
class Verdicts:
    """What an image's target says about each of n anchors or proposals.

    Attributes:
        labels: (n,) class of the positives, 0 for all others.
        weights: (n,) of the positives in the class losses; 1 for all others.
        box_weights: (n,) of the positives in the box losses; any for the others.
        boxes: (n, 4) box of each positive; any for the others.
        excluded: (n,) neither positive nor negative of any class.
        unknown: (n, k + 1) classes that the background may be, entry 0 being False; empty for the positives.
    """

    labels: Tensor
    weights: Tensor
    box_weights: Tensor
    boxes: Tensor
    excluded: Tensor
    unknown: Tensor

    @property
    def positive(self) -> Tensor:
        """(n,) whether each is a positive."""
        return self.labels > 0


def judge(xyxy: Tensor, matched: Tensor, target: Target, options: WeakLosses) -> Verdicts:
    """What to learn of (n, 4) anchors or proposals that were matched with the target's boxes.

    Args:
        xyxy: (n, 4) in the coordinates of the target.
        matched: (n,) row of a box, or -1 for background, or `BETWEEN_THRESHOLDS`.
        target: see this module.
        options: the rules.
    """
    is_positive, row = matched >= 0, matched.clamp(min=0)
    if len(target["boxes"]):
        labels = torch.where(is_positive, target["labels"][row], 0)
        weights = torch.where(is_positive, target["weights"][row], 1.0)
        box_weights = weights * target["located"][row]
        boxes = target["boxes"][row]
    else:
        labels, weights, boxes = torch.zeros_like(matched), torch.ones_like(matched, dtype=xyxy.dtype), xyxy
        box_weights = weights
    ignored = ~is_positive & is_covered(xyxy, target["ignored"], options.ignore_share)
    excluded = ~is_positive & (matched == BETWEEN_THRESHOLDS)
    unknown = torch.zeros(len(xyxy), len(target["present"]), dtype=torch.bool, device=xyxy.device)
    if options.negatives_by_label:
        unknown |= ignored[:, None] & target["present"]
        unknown |= ~is_positive[:, None] & target["unboxed"]
    else:
        excluded |= ignored
    return Verdicts(labels, weights, box_weights, boxes, excluded, unknown)


def is_covered(xyxy: Tensor, regions: Tensor, share: float) -> Tensor:
    """(n,) whether at least `share` of each of (n, 4) boxes' area lies inside one of (m, 4) regions."""
    if not len(regions):
        return torch.zeros(len(xyxy), dtype=torch.bool, device=xyxy.device)
    corner_1 = torch.maximum(xyxy[:, None, :2], regions[None, :, :2])
    corner_2 = torch.minimum(xyxy[:, None, 2:], regions[None, :, 2:])
    together = (corner_2 - corner_1).clamp(min=0).prod(dim=2)  # (n, m)
    area = (xyxy[:, 2:] - xyxy[:, :2]).prod(dim=1)
    return (together >= share * area[:, None]).any(dim=1) & (area > 0)


def softmax_loss(logits: Tensor, verdicts: Verdicts) -> Tensor:
    """(n,) cross-entropy of (n, k + 1) logits; of background, that it is that or one of its unknown classes."""
    if not verdicts.unknown.any():
        return F.cross_entropy(logits, verdicts.labels, reduction="none")
    allowed = verdicts.unknown.clone()
    allowed[torch.arange(len(allowed), device=allowed.device), verdicts.labels] = True
    return logits.logsumexp(dim=1) - logits.masked_fill(~allowed, -torch.inf).logsumexp(dim=1)


def box_of_class(deltas: Tensor, labels: Tensor) -> Tensor:
    """(p, 4) the part of (p, 4 * (k + 1)) box regressions that belongs to each row's class."""
    by_class: Tensor = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4)
    return by_class[torch.arange(len(labels), device=labels.device), labels]
