"""Refinement of a region classifier on frozen features: stages in which each learns from the boxes of the one before.

After Online Instance Classifier Refinement (Tang et al., CVPR 2017): the regions around the best boxes of a class
(IoU >= 0.5) are its positives, weighted by the box's score, the other regions of the image are background, and a linear
softmax classifier of the classes and background learns from them. Departures:

- Seeds are MIST's, several to an image and class (`wsdet.boxes.mist_seeds`).
- A seed's score is the vote of all regions (`wsdet.localizers.vote`), in which the last stage's probabilities weigh:
  what is learned moves the vote, and so keeps to places on which proposals agree.
- Multi-fold training (Cinbis et al., TPAMI 2017), so that no head labels what it learned from: each of f heads learns
  from the images of one fold alone, and an image's regions are judged by the mean of the other f - 1.
- Stages are fitted one after the other, by L-BFGS, on features that were reduced to their principal components and read
  once, into a file that is mapped into memory. A classifier of components is one of features, and is given as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsdet import boxes
from wsdet.linear_models.region_classifier import REFINED_EXPONENT, clean_heads, fold_of
from wsdet.training.options import RegionClassifierTraining
from wsdet.types import Floats, Ints

_LENGTH = 5.0  # mean length that reduced features are scaled to, for which the penalty is made
_POSITIVE_IOU = 0.5
_VOTING_IOU = 0.5
_STEPS = 25  # of L-BFGS


@dataclass(frozen=True, eq=False)
class ImageRegions:
    """The regions of one image.

    Attributes:
        image_id: of the image.
        xyxy: (n, 4) corners in pixels.
        features: (n, d) of each.
        prior_weights: (n, k) how much each is taken for an object of a class before any refinement.
        labels: of the image.
    """

    image_id: str
    xyxy: Floats
    features: Floats
    prior_weights: Floats
    labels: Sequence[int]


def refine(
    read: Callable[[], Iterator[ImageRegions]],
    n_classes: int,
    options: RegionClassifierTraining,
    folder: Path,
    seed: int,
) -> tuple[Floats, Floats]:
    """Trains refined heads.

    Args:
        read: gives the images to learn from, in the same order each time; called twice.
        n_classes: k.
        options: at least one stage.
        folder: receives the reduced features while the training is under way.
        seed: of the sampling of background.

    Returns:
        (f, d, k + 1) weights and (f, k + 1) biases of a softmax over the classes and background.
    """
    reduction = _Reduction.of(read(), options.components)
    path = folder / "regions.npy"
    try:
        images = _Images.read(read(), reduction, path)
        weights, biases = _fit_stages(images, n_classes, options, seed)
    finally:
        path.unlink(missing_ok=True)
    back = reduction.components.T @ weights  # (f, d, k + 1)
    return back.astype(np.float32), (biases - reduction.mean @ back).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Reduction:
    """Principal components: reduced features are (x - mean) @ components.T.

    Attributes:
        mean: (d,).
        components: (p, d), scaled so that reduced features have the mean length `_LENGTH`.
    """

    mean: Floats
    components: Floats

    @classmethod
    def of(cls, images: Iterable[ImageRegions], n_components: int) -> _Reduction:
        """Of a sample of the regions: every tenth of each image, thinned out to eight times the components."""
        sample = np.concatenate([image.features[::10] for image in images]).astype(np.float32)
        sample = sample[:: max(1, len(sample) // (8 * n_components))]
        mean = sample.mean(axis=0)
        sample -= mean
        # by the Gram matrix: there are fewer sampled regions than features
        values, vectors = np.linalg.eigh(sample @ sample.T)
        largest = np.argsort(-values, kind="stable")[:n_components]
        largest = largest[values[largest] > 1e-6 * max(values.max(), 1e-12)]
        components = ((vectors[:, largest].T @ sample).T / np.sqrt(values[largest])).T
        length = np.linalg.norm(sample @ components.T, axis=1).mean() if len(largest) else 1.0
        return cls(mean, (components * (_LENGTH / length)).astype(np.float32))

    def __call__(self, features: Floats) -> Floats:
        """(n, p) of (n, d) features."""
        return np.asarray((features - self.mean) @ self.components.T, np.float32)


@dataclass(frozen=True, eq=False)
class _Images:
    """All images, their reduced features in one (rows, p) float16 file.

    Attributes:
        features: the file, mapped into memory.
        images: each with its first row in the file.
    """

    features: np.memmap
    images: Sequence[tuple[ImageRegions, int]]

    @classmethod
    def read(cls, images: Iterable[ImageRegions], reduction: _Reduction, path: Path) -> _Images:
        kept, n_rows = [], 0
        none = np.zeros((0, 0), np.float32)
        with path.open("wb") as file:
            for image in images:
                file.write(np.ascontiguousarray(reduction(image.features), np.float16).tobytes())
                kept.append((ImageRegions(image.image_id, image.xyxy, none, image.prior_weights, image.labels), n_rows))
                n_rows += len(image.xyxy)
        shape = (n_rows, len(reduction.components))
        return cls(np.memmap(path, np.float16, "r", shape=shape), kept)

    def of(self, image: ImageRegions, first: int) -> Floats:
        """(n, p) reduced features of an image's regions."""
        return self.features[first : first + len(image.xyxy)].astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Examples:
    """The training examples of one image: rows of the features, the class of each (k: background), and its weight."""

    rows: Ints
    classes: Ints
    weights: Floats


def _fit_stages(images: _Images, n_classes: int, options: RegionClassifierTraining, seed: int) -> tuple[Floats, Floats]:
    """(f, p, k + 1) weights and (f, k + 1) biases for reduced features, of the last stage."""
    folds = np.array([fold_of(image.image_id, options.folds) for image, _ in images.images])
    weights = np.zeros((options.folds, images.features.shape[1], n_classes + 1), np.float32)
    biases = np.zeros((options.folds, n_classes + 1), np.float32)
    for stage in range(options.stages):
        rng = np.random.default_rng([seed, stage])
        examples = [
            _examples(image, first, _probabilities(images, image, first, weights, biases), n_classes, options, rng)
            for image, first in images.images
        ]
        new = [
            _fit(
                [one for one, of in zip(examples, folds, strict=True) if of == fold],
                images.features,
                n_classes,
                options,
            )
            for fold in range(options.folds)
        ]
        weights, biases = np.stack([one[0] for one in new]), np.stack([one[1] for one in new])
    return weights, biases


def _probabilities(images: _Images, image: ImageRegions, first: int, weights: Floats, biases: Floats) -> Floats:
    """(n, k) of an image's regions, by the heads that have not learned from it."""
    heads = clean_heads(image.image_id, len(weights))
    logits = images.of(image, first) @ weights[heads] + biases[heads, None]
    return torch.from_numpy(logits).softmax(dim=2).mean(dim=0)[:, :-1].numpy()


def _examples(
    image: ImageRegions,
    first: int,
    probabilities: Floats,
    n_classes: int,
    options: RegionClassifierTraining,
    rng: np.random.Generator,
) -> _Examples:
    n = len(image.xyxy)
    classes, weights, nearest = np.full(n, n_classes), np.zeros(n, np.float32), np.zeros(n, np.float32)
    for label in image.labels:
        prior = image.prior_weights[:, label] * probabilities[:, label] ** np.float32(REFINED_EXPONENT)
        scores = boxes.vote_scores(image.xyxy, prior, _VOTING_IOU)
        chosen = boxes.mist_seeds(image.xyxy, scores)
        overlaps = boxes.iou(image.xyxy, image.xyxy[chosen])
        closer = overlaps.max(axis=1) > nearest
        nearest = np.maximum(nearest, overlaps.max(axis=1))
        classes[closer] = np.where(nearest[closer] >= _POSITIVE_IOU, label, n_classes)
        weights[closer] = scores[chosen][overlaps.argmax(axis=1)][closer]
    positive = np.flatnonzero(classes < n_classes)
    background = rng.permutation(np.flatnonzero(classes == n_classes))[: options.background]
    weights[background] = weights.max(initial=0) if image.labels else 1.0  # where nothing is labeled, all of it is sure
    rows = np.concatenate([positive, background])
    return _Examples(first + rows, classes[rows], weights[rows])


def _fit(
    examples: Sequence[_Examples], features: np.memmap, n_classes: int, options: RegionClassifierTraining
) -> tuple[Floats, Floats]:
    """(p, k + 1) weights and (k + 1,) biases: every class that occurs weighs alike, background as all of them."""
    none = _Examples(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    rows, classes, weights = (
        np.concatenate([getattr(one, name) for one in (none, *examples)]) for name in ("rows", "classes", "weights")
    )
    totals = np.bincount(classes, weights, n_classes + 1)
    shares = 1 / np.maximum(totals, 1e-12)
    shares[:n_classes] /= max(int(np.count_nonzero(totals[:n_classes])), 1)
    x = torch.from_numpy(features[rows].astype(np.float32))
    return _softmax_regression(
        x,
        torch.from_numpy(classes),
        torch.from_numpy((weights * shares[classes]).astype(np.float32)),
        options.penalty,
        n_classes + 1,
    )


def _softmax_regression(
    x: Tensor, classes: Tensor, weights: Tensor, penalty: float, n_outputs: int
) -> tuple[Floats, Floats]:
    """(p, outputs) weights and (outputs,) biases that minimize the weighted cross-entropy and the penalty."""
    w = torch.zeros(x.shape[1], n_outputs, requires_grad=True)
    b = torch.zeros(n_outputs, requires_grad=True)
    optimizer = torch.optim.LBFGS([w, b], max_iter=_STEPS, line_search_fn="strong_wolfe")
    weights = weights / weights.sum().clamp(min=1e-12)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = weights @ F.cross_entropy(x @ w + b, classes, reduction="none") + penalty * w.square().sum()
        loss.backward()
        return loss

    if len(x):
        with torch.enable_grad():
            optimizer.step(closure)
    return w.detach().numpy(), b.detach().numpy()
