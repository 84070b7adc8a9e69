"""Box regression in R-CNN's form: a class's linear map from what is seen in a box to how the box should move.

A proposal P on an object G, both as center and sides (x, y, w, h), has the targets

    ((Gx - Px) / Pw, (Gy - Py) / Ph, log(Gw / Pw), log(Gh / Ph)),

centered and whitened (eigenvalues of their covariance + 0.001). They are fitted by ridge regression with a constant
feature appended, lambda 1000 for features of mean norm 20, over the training proposals whose IoU with an object of the
class is at least 0.6 (Girshick et al. 2014, appendix C, and its published training code). The result is applied once,
to scored boxes before non-maximum suppression, and clipped to the image. Departure: the detector's own features, where
R-CNN's regression took another layer of its network than the SVMs did.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsdet.boxes import iou
from wsdet.detectors.rcnn.features import BoxFeatures, Maps
from wsdet.progress import Bar
from wsdet.types import Boxes, Floats, InputError

log = logging.getLogger(__name__)

_WHITENING = 1e-3  # added to the eigenvalues of the targets' covariance
_ROWS = 1024  # examples that wait to be summed together: a product of few rows moves more memory than it computes
_MOST = 4.0  # no side grows more than e^4-fold, which keeps boxes finite


@dataclass(frozen=True, eq=False)
class BoxShifts:
    """How each class moves a box, as linear functions of its features; zeros leave it where it is.

    Attributes:
        weights: (n_classes, 4, dim) float32.
        biases: (n_classes, 4) float32.
    """

    weights: Floats
    biases: Floats

    @classmethod
    def zeros(cls, n_classes: int, dim: int) -> BoxShifts:
        """Shifts that move nothing."""
        return cls(np.zeros((n_classes, 4, dim), np.float32), np.zeros((n_classes, 4), np.float32))


def train_box_regression(
    ids: Sequence[str],
    maps_of: Callable[[str], Maps],
    positives: Mapping[str, Mapping[str, Boxes]],
    proposals: Mapping[str, Boxes],
    features: BoxFeatures,
    n_classes: int,
    scale: float = 1.0,
    max_proposals: int = 0,
    min_iou: float = 0.6,
    ridge: float = 1000.0,
) -> dict[str, BoxShifts]:
    """The shifts of each detector, class by class in one pass over the images of the class.

    It takes (dim + 1)^2 x 8 bytes a detector, and as much again, whatever the number of images; less while a class has
    fewer examples than features.

    Args:
        ids: the images to learn from; one that cannot be read is left out.
        maps_of: gives an image's maps.
        positives: by detector's name, its labeled boxes by image id; one flagged difficult is left out.
        proposals: boxes by image id.
        features: describes boxes.
        n_classes: how many classes there are; one without an example moves nothing.
        scale: what features are multiplied with, so that `ridge` means what it means in R-CNN.
        max_proposals: maximum number of proposals of an image, the first ones; 0: all.
        min_iou: see above.
        ridge: lambda.
    """
    shifts = {name: BoxShifts.zeros(n_classes, features.dim) for name in positives}
    for label in Bar(range(n_classes), desc="box regression", unit="class"):
        sums = {name: RegressionSums(features.dim, features.network.device) for name in positives}
        for image_id in ids:
            targets = {name: _of_class(by_id.get(image_id), label) for name, by_id in positives.items()}
            if not any(len(own) for own in targets.values()):
                continue
            xyxy = proposals.get(image_id, Boxes.empty()).xyxy[: max_proposals or None]
            near = {name: iou(xyxy, own) for name, own in targets.items() if len(own)}
            rows = np.flatnonzero(np.any([overlap.max(axis=1) >= min_iou for overlap in near.values()], axis=0))
            if not len(rows):
                continue
            try:
                x = features.features(maps_of(image_id), xyxy[rows]) * scale
            except InputError:  # warned about when the detectors were trained
                continue
            for name, overlap in near.items():
                used = overlap[rows].max(axis=1) >= min_iou
                best = targets[name][overlap[rows].argmax(axis=1)]
                offsets = torch.from_numpy(offsets_to(xyxy[rows], best)[used]).to(x.device)
                sums[name].add(x[torch.from_numpy(used).to(x.device)], offsets)
        for name, of_class in sums.items():
            if of_class.n_examples:
                weights, biases = of_class.solve(ridge)
                shifts[name].weights[label] = (weights * scale).cpu().numpy()
                shifts[name].biases[label] = biases.cpu().numpy()
    return shifts


class RegressionSums:
    """What ridge regression needs to know of its examples, added up: the normal equations.

    Args:
        dim: length of an example's features.
        device: where the sums are.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self._xx = torch.zeros(0)  # (dim + 1, dim + 1) with the first example: a class without one costs nothing
        self._xt = torch.zeros(dim + 1, 4, dtype=torch.float64, device=device)
        self._tt = torch.zeros(4, 4, dtype=torch.float64, device=device)
        self._dim = dim
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self.n_examples = 0

    def add(self, x: Tensor, targets: Tensor) -> None:
        """Adds (n, dim) features and the (n, 4) targets that belong to them."""
        self.n_examples += len(x)
        self._waiting.append((x, targets))
        if sum(len(rows) for rows, _ in self._waiting) >= _ROWS:
            self._sum_up()

    def solve(self, ridge: float) -> tuple[Tensor, Tensor]:
        """(4, dim) weights and (4,) biases, float32, that give targets as they were added; there must be an example."""
        if not len(self._xx) and self.n_examples < self._dim:
            return self._solve_dual(ridge)
        self._sum_up()
        mean = self._xt[-1] / self.n_examples  # the constant feature's row: the targets' sum
        whiten, unwhiten = _whitening(self._tt / self.n_examples - mean.outer(mean))
        whitened = (self._xt - self._xx[:, -1:] * mean) @ whiten
        penalized = self._xx + ridge * torch.eye(len(self._xx), dtype=torch.float64, device=self._xx.device)
        solution = torch.cholesky_solve(whitened, torch.linalg.cholesky(penalized)) @ unwhiten
        return solution[:-1].T.float(), (solution[-1] + mean).float()

    def _solve_dual(self, ridge: float) -> tuple[Tensor, Tensor]:
        """The same by a system with a row for each example, which is smaller where these are fewer than features."""
        x, targets = (torch.cat(rows).double() for rows in zip(*self._waiting, strict=True))
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        mean = targets.mean(dim=0)
        centered = targets - mean
        whiten, unwhiten = _whitening(centered.T @ centered / len(x))
        kernel = x @ x.T + ridge * torch.eye(len(x), dtype=torch.float64, device=x.device)
        solution = x.T @ torch.cholesky_solve(centered @ whiten, torch.linalg.cholesky(kernel)) @ unwhiten
        return solution[:-1].T.float(), (solution[-1] + mean).float()

    def _sum_up(self) -> None:
        if not self._waiting:
            return
        x = torch.cat([rows for rows, _ in self._waiting])
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        targets = torch.cat([rows for _, rows in self._waiting]).double()
        together = (x.T @ x).double()
        self._xx = self._xx + together if len(self._xx) else together
        self._xt += x.T.double() @ targets
        self._tt += targets.T @ targets
        self._waiting = []


def _whitening(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """(4, 4) what gives targets unit covariance, and what takes that back."""
    eigenvalues, axes = torch.linalg.eigh(covariance)
    spread = (eigenvalues.clamp(min=0) + _WHITENING).sqrt()
    return axes / spread @ axes.T, axes * spread @ axes.T


def offsets_to(xyxy: Floats, objects: Floats) -> Floats:
    """(n, 4) targets of (n, 4) boxes with an area, each on the object in the same row of (n, 4) `objects`."""
    center, sides = (xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]
    wanted_center, wanted_sides = (objects[:, :2] + objects[:, 2:]) / 2, objects[:, 2:] - objects[:, :2]
    return np.concatenate([(wanted_center - center) / sides, np.log(wanted_sides / sides)], axis=1)


def moved(xyxy: Tensor, offsets: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(..., 4) boxes moved by (..., 4) offsets of the same kind as `offsets_to` gives, clipped to the image."""
    h, w = size_hw
    return moved_within(xyxy, offsets, xyxy.new_tensor([w, h, w, h]))


def moved_within(xyxy: Tensor, offsets: Tensor, limits: Tensor) -> Tensor:
    """The same in an image whose (4,) width, height, width, height are a tensor, for a graph of any image."""
    center, sides = (xyxy[..., :2] + xyxy[..., 2:]) / 2, xyxy[..., 2:] - xyxy[..., :2]
    center = center + offsets[..., :2] * sides
    half = sides * offsets[..., 2:].clamp(max=_MOST).exp() / 2
    return torch.cat([center - half, center + half], dim=-1).clamp(min=0).minimum(limits)


def _of_class(boxes: Boxes | None, label: int) -> Floats:
    """(m, 4) corners of the boxes of a class that are not difficult."""
    if boxes is None:
        return np.zeros((0, 4), np.float32)
    return boxes.xyxy[(boxes.labels == label) & ~boxes.difficult]
