"""A student that learns from its own moving average: boxes are found anew in every step, not once for each round.

The teacher, an average of the student's weights, looks at each batch as it is; the student is to find the teacher's
boxes in the same images with their colors changed and blurred (Unbiased Teacher, Liu et al., ICLR 2021). Flips and
scales are the same for both, so boxes need no conversion. Weak labels decide what the teacher may say: nothing of a
class that the image does not have.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from wsdet.detectors.filtering import not_inside
from wsdet.detectors.neural.detector import NeuralDetector
from wsdet.detectors.neural.examples import LEAST_SIDE
from wsdet.detectors.neural.supervision import Target
from wsdet.detectors.self_training import MeanTeacher
from wsdet.training.averages import MovingAverage
from wsdet.types import Boxes

_WARM_UP = 10  # steps


@dataclass(frozen=True)
class Teaching:
    """A training by a mean teacher.

    Attributes:
        options: of the teacher.
        start: the detector that student and teacher are at first.
    """

    options: MeanTeacher
    start: NeuralDetector


class Teacher(nn.Module):
    """The moving average of a model, and what it says of images.

    Args:
        model: what it is the average of; copied.
        options: how.
    """

    def __init__(self, model: nn.Module, options: MeanTeacher) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.options = options

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode."""
        return self

    def follow(self, model: nn.Module, step: int) -> None:
        """Moves on towards the weights that `model` has after so many steps, from 1.

        In the first steps it forgets faster, as an average of few weights should.
        """
        decay = min(self.options.decay, step / (step + _WARM_UP))
        MovingAverage(decay)(list(self.model.parameters()), [one.detach() for one in model.parameters()])

    @torch.no_grad()
    def targets(self, images: Sequence[Tensor], targets: Sequence[Target]) -> list[dict[str, Tensor]]:
        """What the student is to find: see `taught`."""
        return [taught(*one, self.options) for one in zip(self.model(list(images)), targets, strict=True)]


def taught(found: Mapping[str, Tensor], target: Target, options: MeanTeacher) -> dict[str, Tensor]:
    """A target with the teacher's boxes in place of its own.

    A class of the image that the teacher is not sure of keeps the boxes that it had; of those the student learns the
    class alone, not where they lie.

    Args:
        found: torchvision's detections in an image, classes from 1.
        target: of the image, see `wsdet.detectors.neural.supervision`.
        options: of the teacher.
    """
    sure = (found["scores"] >= options.threshold) & target["present"][found["labels"]]
    sure &= (found["boxes"][:, 2:] - found["boxes"][:, :2] >= LEAST_SIDE).all(dim=1)
    boxes, labels = found["boxes"][sure], found["labels"][sure]
    on_host = Boxes(boxes.cpu().numpy(), labels=labels.cpu().numpy())
    rows = torch.from_numpy(not_inside(on_host, options.inside_share)).to(boxes.device)
    boxes, labels = boxes[rows].to(target["boxes"]), labels[rows]
    is_found = torch.zeros_like(target["present"])
    is_found[labels] = True
    kept = ~is_found[target["labels"]]
    unboxed = target["unboxed"] & ~is_found
    return dict(target) | {
        "boxes": torch.cat([boxes, target["boxes"][kept]]),
        "labels": torch.cat([labels, target["labels"][kept]]),
        "weights": torch.cat([target["weights"].new_ones(len(boxes)), target["weights"][kept]]),
        "located": torch.cat([labels > 0, torch.zeros_like(kept)[kept]]),
        "unboxed": unboxed,
    }


class StrongChanges:
    """What the student sees: colors changed by much, sometimes gray, sometimes blurred."""

    def __init__(self) -> None:
        self._change = v2.Compose(
            [
                v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
                v2.RandomGrayscale(p=0.2),
                v2.RandomApply([v2.GaussianBlur(kernel_size=9, sigma=(0.1, 2.0))], p=0.5),
            ]
        )

    def __call__(self, images: Sequence[Tensor]) -> list[Tensor]:
        """(3, h, w) uint8 images, each changed by torch's random numbers; sizes stay."""
        return [self._change(image) for image in images]
