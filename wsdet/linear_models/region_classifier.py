"""Which class each region of an image shows, and which regions count: the two linear maps of WSDDN, several times.

Of n regions with features x_i, class c is seen in region i as

    s_ic = softmax_c(x_i A + a) * softmax_i(x_i B)

and the sum over i, in [0, 1], says how surely the image has class c: so image-level labels alone supervise both maps
(Bilen and Vedaldi, "Weakly Supervised Deep Detection Networks", CVPR 2016, equations 1 to 4). Departures: the features
are averages of a frozen network's map over a grid in each region, there is no regularizer for overlapping regions, and
several such pairs of maps, heads that learned from other regions, answer together: their s_ic's geometric mean.

Refined heads, which learned from the boxes of an earlier stage (`wsdet.training.region_refinement`), say r_ic, the
probability that region i shows class c rather than another class or background. Each learned from the images of one
fold; an image is judged by those that have not learned from it.

A saved classifier is one safetensors file without any code in it; its header says what it belongs to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import log_softmax, softmax

from wsdet.storage import tensors
from wsdet.types import Floats, InputError

REFINED_EXPONENT = 1.5  # of r_ic where it weighs in a vote; docs/pseudo_boxes.md has what others give

_HEAD_EXPONENT = 0.15  # of s_ic: the heads prefer parts, the more so the weaker the network is
_FORMAT = "wsdet region classifier 3"
_ARRAYS = ("class_weights", "class_biases", "region_weights", "refined_weights", "refined_biases")


def fold_of(image_id: str, folds: int) -> int:
    """The fold that an image belongs to, whatever the other images are, in [0, folds)."""
    digest = hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big") % folds


def clean_heads(image_id: str, folds: int) -> list[int]:
    """The heads that have not learned from an image: all but that of its fold; the only one where there is one."""
    own = fold_of(image_id, folds)
    return [head for head in range(folds) if head != own or folds == 1]


@dataclass(frozen=True, eq=False)
class RegionClassifier:
    """The maps of h heads for d features and k classes.

    Attributes:
        class_weights: (h, d, k) A.
        class_biases: (h, k) a.
        region_weights: (h, d, k) B.
        classes: names of the classes.
        grid: cells along a side of a region, whose averages are the features.
        network: fingerprint of the network that gives them.
        refined_weights: (f, d, k + 1) of the refined heads, a fold each, the last column background; f is 0 when not
            given.
        refined_biases: (f, k + 1).

    Raises:
        ValueError: shapes do not fit together, or a value is not finite.
    """

    class_weights: Floats
    class_biases: Floats
    region_weights: Floats
    classes: tuple[str, ...]
    grid: int
    network: str
    refined_weights: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    refined_biases: Floats = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        h, k = len(self.class_weights), len(self.classes)
        fits = self.class_weights.ndim == 3 and self.class_weights.shape == self.region_weights.shape
        if not fits or not h or self.class_weights.shape[2] != k or self.class_biases.shape != (h, k):
            raise ValueError(
                f"weights and biases must have shapes (heads, features, {k}), (heads, {k}) and (heads, features, {k}), "
                f"got {self.class_weights.shape}, {self.class_biases.shape} and {self.region_weights.shape}"
            )
        if not len(self.refined_weights):
            object.__setattr__(self, "refined_weights", np.zeros((0, self.n_features, k + 1), np.float32))
            object.__setattr__(self, "refined_biases", np.zeros((0, k + 1), np.float32))
        f, d = len(self.refined_weights), self.class_weights.shape[1]
        if self.refined_weights.shape != (f, d, k + 1) or self.refined_biases.shape != (f, k + 1):
            raise ValueError(
                f"refined weights and biases must have shapes (folds, {d}, {k + 1}) and (folds, {k + 1}), "
                f"got {self.refined_weights.shape} and {self.refined_biases.shape}"
            )
        if not all(np.isfinite(getattr(self, name)).all() for name in _ARRAYS):
            raise ValueError("weights and biases must be finite")
        if self.grid < 1 or self.n_features % self.grid**2:
            raise ValueError(
                f"grid must be >= 1, and its square divide the {self.n_features} features, got {self.grid}"
            )

    @property
    def n_features(self) -> int:
        """How many numbers describe a region: d."""
        return int(self.class_weights.shape[1])

    def prior_weights(self, features: Floats, image_id: str) -> Floats:
        """(n, k) how much each region of an image is taken for an object of each class: s_ic^0.15 r_ic^1.5.

        Args:
            features: (n, d) of the regions.
            image_id: of the image.

        Raises:
            InputError: the features are those of another network.
        """
        weights: Floats = self.scores(features) ** np.float32(_HEAD_EXPONENT)
        if len(self.refined_weights):
            weights = weights * self.refined(features, image_id) ** np.float32(REFINED_EXPONENT)
        return weights

    def scores(self, features: Floats) -> Floats:
        """(n, k) the heads' mean s_ic of the (n, d) features of an image's regions.

        Raises:
            InputError: the features are those of another network.
        """
        self._check_features(features)
        if not len(features):  # softmax over no regions
            return np.zeros((0, len(self.classes)), np.float32)
        seen = log_softmax(features @ self.class_weights + self.class_biases[:, None], axis=2)
        counts = log_softmax(features @ self.region_weights, axis=1)
        return np.exp((seen + counts).mean(axis=0)).astype(np.float32)

    def refined(self, features: Floats, image_id: str) -> Floats:
        """(n, k) r_ic of the (n, d) features of an image's regions: the mean of the heads that did not learn from it.

        Raises:
            InputError: the features are those of another network.
        """
        self._check_features(features)
        heads = clean_heads(image_id, len(self.refined_weights))
        logits = features @ self.refined_weights[heads] + self.refined_biases[heads, None]
        return np.asarray(softmax(logits, axis=2).mean(axis=0)[:, :-1], np.float32)

    def _check_features(self, features: Floats) -> None:
        if features.shape[1] != self.n_features:
            raise InputError(
                f"the region classifier takes {self.n_features} features, this network gives "
                f"{features.shape[1]}; give the network= that it was trained with, or train one for this network"
            )

    def check(self, classes: Sequence[str], network: str) -> None:
        """Whether it fits a data set's classes and a network's fingerprint.

        Raises:
            InputError: it does not.
        """
        if network != self.network:
            raise InputError(
                f"the region classifier was trained with network {self.network}, this network is {network}; give the "
                "same network= and network.weights=, or localizer.weights=labels to train one for this network"
            )
        if tuple(classes) != self.classes:
            raise InputError(
                f"the region classifier knows the classes {', '.join(self.classes[:5])}, ..., the data has "
                f"{', '.join(classes[:5])}, ...; localizer.weights=labels trains one for these"
            )

    def save(self, path: Path | str) -> None:
        """Writes a .safetensors file."""
        header = {"format": _FORMAT, "classes": list(self.classes), "grid": self.grid, "network": self.network}
        tensors.save(Path(path), {name: getattr(self, name) for name in _ARRAYS}, header)

    @classmethod
    def load(cls, path: Path | str) -> RegionClassifier:
        """The classifier that `save` wrote. It may come from anywhere: no code in it is run.

        Raises:
            InputError: the file is missing, damaged, or no region classifier.
        """
        arrays, header = tensors.load(Path(path), _FORMAT)
        try:
            return cls(
                classes=tuple(str(name) for name in header["classes"]),
                grid=int(header["grid"]),
                network=str(header["network"]),
                **{name: arrays[name].astype(np.float32) for name in _ARRAYS},
            )
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise InputError(f"{path} is no usable region classifier: {error}; train it again") from error
