"""What a localizer may ask about its image. Each question is a small frozen dataclass; the engine answers it.

Boxes and masks in questions are in pixels of the *original* image, as everywhere; the network carries them to its
own input. Questions that a plain forward pass can answer share batches with one another and across images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from wsdet.types import Bools, Floats

Fill = Literal["mean", "black"]


@dataclass(frozen=True, eq=False)
class Outputs:
    """Answer to `Whole`, `Masked`, `Cropped` and `Kept`: one row a picture that went through the network.

    Attributes:
        logits: (n, c) outputs of the last fully connected layer, before the softmax.
        scores: (n, c) probabilities of the network's own c classes.
        class_scores: (n, k) probabilities of the dataset's k classes: the maximum over the outputs that a class
            maps to; NaN for a class that maps to none.
    """

    logits: Floats
    scores: Floats
    class_scores: Floats


@dataclass(frozen=True, eq=False)
class Whole:
    """The whole image. Answer: `Outputs` of one row."""


@dataclass(frozen=True, eq=False)
class Masked:
    """The image with a box painted over, once for each box. Answer: `Outputs`, a row a box.

    Attributes:
        xyxy: (n, 4) boxes.
        fill: "mean" paints the mean color of the training set (zero after normalization), "black" paints black.
    """

    xyxy: Floats
    fill: Fill = "mean"


@dataclass(frozen=True, eq=False)
class Cropped:
    """The inside of each box, rescaled to the network's input. Answer: `Outputs`, a row a box.

    Attributes:
        xyxy: (n, 4) boxes.
    """

    xyxy: Floats


@dataclass(frozen=True, eq=False)
class Kept:
    """The image with everything outside a mask painted with the mean color. Answer: `Outputs`, a row a mask.

    Attributes:
        masks: (n, s, s) True where a pixel stays; s is the side of the network's input.
    """

    masks: Bools


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """The last convolutional feature map of the whole image. Answer: (d, rows, columns) float32."""


@dataclass(frozen=True, eq=False)
class Note:
    """Not a question: evidence for whoever looks on, such as a region tree or a heat map. Answer: None, at once.

    Attributes:
        name: what it is.
        value: arrays and plain values, in pixels of the original image where they are places.
    """

    name: str
    value: Any


Question = Whole | Masked | Cropped | Kept | FeatureMap | Note


class Picture(NamedTuple):
    """One of the pictures that a question needs: row `row` of `question`, about the prepared image `view`."""

    view: Any
    question: Question
    row: int


def picture_keys(question: Question) -> list[bytes]:
    """One key a picture: pictures of one image with equal keys are the same picture."""
    name = type(question).__name__.encode()
    match question:
        case Masked(xyxy=xyxy, fill=fill):
            return [name + fill.encode() + row.tobytes() for row in np.asarray(xyxy, np.float32)]
        case Cropped(xyxy=xyxy):
            return [name + row.tobytes() for row in np.asarray(xyxy, np.float32)]
        case Kept(masks=masks):
            return [name + np.packbits(mask).tobytes() for mask in masks]
        case Note():
            return []
        case _:
            return [name]


def route(question: Question) -> str:
    """Questions with equal routes can be answered in one batch."""
    match question:
        case Whole() | Masked() | Cropped() | Kept() | FeatureMap():
            return "forward"
        case Note():
            return "none"
