"""Sensitivity maps, and the linear map from one to a box (Ebrahimpour and Noelle, ISVC 2019, section 2).

The sensitivity map of a class is |d score / d pixel|, with the score before the softmax; one backward pass makes it.
Gradients of different images differ by orders of magnitude, so a map is divided by its root mean square. A
`BoxRegressor` takes its values, all pixels in a row, linearly to the corners of a box, in relative coordinates.

A saved regressor is one safetensors file without any code in it, `weights` and `biases`; its header says what they
belong to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np

from wsdet.storage import tensors
from wsdet.types import Floats, InputError, Ints

Channels = Literal["max", "sum"]

_FORMAT = "wsdet box regressor 3"


def sensitivity_map(gradient: Floats, channels: Channels = "max", side: int = 64) -> Floats:
    """(side', side') sensitivity of a class score to places of the image, >= 0, with root mean square 1.

    Args:
        gradient: (3, s, s) of the score at the pixels of the network's input. What is not finite counts as 0.
        channels: what is taken over the color channels.
        side: maps of larger sides are averaged down to it; smaller ones stay as they are: side' = min(side, s). A map
            without any sensitivity stays 0.
    """
    size = np.abs(np.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)).astype(np.float32)
    seen = size.max(axis=0) if channels == "max" else size.sum(axis=0)
    if len(seen) > side:
        seen = np.asarray(cv2.resize(seen, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    peak = seen.max()
    if peak <= 0:
        return seen
    seen = seen / peak  # else the squares of small gradients would vanish
    return (seen / np.sqrt(np.square(seen).mean(dtype=np.float64))).astype(np.float32)


@dataclass(frozen=True, eq=False)
class BoxRegressor:
    """A linear map from sensitivity maps to boxes.

    Attributes:
        weights: (1, 4, side, side) float32, one map for all classes; or (k, 4, side, side), one for each of them.
        biases: (1, 4) float32, one for all classes; or (k, 4), one for each of them, as with a map for each.
        classes: names of the classes that labels index.
        channels: see `sensitivity_map`.
        input_size: side of the network's input whose gradients it was learned from.
        network: fingerprint of that network.
        info: what else its file says about itself, as plain JSON values; nothing depends on it.

    Raises:
        ValueError: shapes do not fit together, a value is not finite, or `channels` is unknown.
    """

    weights: Floats
    biases: Floats
    classes: tuple[str, ...]
    channels: Channels = "max"
    input_size: int = 64
    network: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.weights.shape
        if len(shape) != 4 or shape[0] not in (1, len(self.classes)) or shape[1] != 4 or not 0 < shape[2] == shape[3]:
            raise ValueError(f"weights must have shape (1 or {len(self.classes)} classes, 4, side, side), got {shape}")
        if self.biases.shape not in {shape[:2], (len(self.classes), 4)}:
            raise ValueError(
                f"biases must have shape {shape[:2]} as weights have rows, or a row for each of {len(self.classes)} "
                f"classes, got {self.biases.shape}"
            )
        if self.weights.dtype != np.float32 or self.biases.dtype != np.float32:
            raise ValueError(f"weights and biases must be float32, got {self.weights.dtype} and {self.biases.dtype}")
        if not (np.isfinite(self.weights).all() and np.isfinite(self.biases).all()):
            raise ValueError("weights and biases must be finite")
        if self.channels not in get_args(Channels):
            raise ValueError(f"channels must be one of {', '.join(get_args(Channels))}, got {self.channels!r}")
        if self.input_size < self.side:
            raise ValueError(f"input_size must be at least the maps' side {self.side}, got {self.input_size}")

    @property
    def per_class(self) -> str:
        """What each class has of its own: "nothing", a "bias" or a "map"."""
        if len(self.weights) > 1:
            return "map"
        return "bias" if len(self.biases) > 1 else "nothing"

    @property
    def side(self) -> int:
        """Side of the maps that it takes."""
        return self.weights.shape[-1]

    def sensitivity(self, gradient: Floats) -> Floats:
        """(side, side) map of a (3, s, s) gradient.

        Raises:
            InputError: s is not the side of the network's input that it was trained with.
        """
        if gradient.shape[-1] != self.input_size:
            raise InputError(
                f"the box regressor was trained with a network input of {self.input_size} pixels, this network has "
                f"{gradient.shape[-1]}; set network.input_size={self.input_size}, or train a regressor for this network"
            )
        return sensitivity_map(gradient, self.channels, self.side)

    def predict(self, maps: Floats, labels: Ints) -> Floats:
        """(n, 4) corners in relative coordinates, in [0, 1] and at least a map's pixel apart.

        Args:
            maps: (n, side, side) sensitivity maps.
            labels: (n,) their classes. Where each class has a map or bias of its own, one of no class (-1) gets the
                mean of them all.
        """
        flat = maps.reshape(len(maps), -1)
        corners = np.empty((len(maps), 4), np.float32)
        for label in np.unique(labels):
            weights, biases = _of_label(self.weights, label), _of_label(self.biases, label)
            corners[labels == label] = flat[labels == label] @ weights.reshape(4, -1).T + biases
        return proper(corners, 1 / self.side)

    def check(self, classes: Sequence[str], network: str) -> None:
        """Whether it fits a data set and a network.

        Args:
            classes: of the data set; a map and a bias for all classes fit any.
            network: the network's fingerprint.

        Raises:
            InputError: it does not.
        """
        if network != self.network:
            raise InputError(
                f"the box regressor was trained on sensitivity maps of network {self.network}, this network is "
                f"{network}; give the same network=, network.weights= and network.input_size={self.input_size}, or "
                "train a regressor for this one"
            )
        if self.per_class != "nothing" and tuple(classes) != self.classes:
            raise InputError(
                f"the box regressor has a {self.per_class} for each of the classes {', '.join(self.classes[:5])}, ..., "
                f"the data has {', '.join(classes[:5])}, ...; train one with box_regressor.per_class=nothing, or for "
                "these classes"
            )

    def save(self, path: Path | str) -> None:
        """Writes a .safetensors file."""
        header = {
            "format": _FORMAT,
            "classes": list(self.classes),
            "channels": self.channels,
            "input_size": self.input_size,
            "network": self.network,
            "info": dict(self.info),
        }
        tensors.save(Path(path), {"weights": self.weights, "biases": self.biases}, header)

    @classmethod
    def load(cls, path: Path | str) -> BoxRegressor:
        """The regressor that `save` wrote. It may come from anywhere: no code in it is run.

        Raises:
            InputError: the file is missing, damaged, or no box regressor of this version.
        """
        arrays, header = tensors.load(Path(path), _FORMAT)
        try:
            return cls(
                arrays["weights"],
                arrays["biases"],
                tuple(str(name) for name in header["classes"]),
                header["channels"],
                int(header["input_size"]),
                str(header["network"]),
                dict(header["info"]),
            )
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise InputError(f"{path} is no usable box regressor: {error}; train it again") from error


def _of_label(values: Floats, label: int) -> Floats:
    """The entry of a label among (k, ...) `values`; the only one of (1, ...); the mean of all for no class (-1)."""
    if len(values) == 1:
        return np.asarray(values[0])
    return np.asarray(values[label] if label >= 0 else values.mean(axis=0))


def proper(corners: Floats, least: float) -> Floats:
    """(n, 4) corners as shares, put in order, moved into [0, 1] and at least `least` apart along each axis."""
    low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])
    low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    center = np.clip((low + high) / 2, least / 2, 1 - least / 2)
    narrow = high - low < least
    low, high = np.where(narrow, center - least / 2, low), np.where(narrow, center + least / 2, high)
    return np.concatenate([low, high], axis=1).astype(np.float32)


def share_inside(seen: Floats, corners: Floats) -> float:
    """Share of a (side, side) map's sensitivity that lies in a box, (4,) in relative coordinates; 0 of a map of 0."""
    total = float(seen.sum(dtype=np.float64))
    if total <= 0:
        return 0.0
    edges = np.arange(len(seen) + 1)
    x1, y1, x2, y2 = corners * len(seen)
    columns, rows = (np.diff(np.clip(edges, low, high)).astype(np.float64) for low, high in ((x1, x2), (y1, y2)))
    return float(np.clip(rows @ seen @ columns / total, 0, 1))
