"""What a localizer may ask about its image. Each question is a small frozen dataclass; the engine answers it.

Boxes and masks in questions are in pixels of the *original* image, as everywhere; the network carries them to its
own input. Questions that a plain forward pass can answer share batches with one another and across images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from wsdet.types import Bools, Floats, Ints

Fill = Literal["mean", "black"]


@dataclass(frozen=True, eq=False)
class Outputs:
    """Answer to `Whole`, `Masked`, `Cropped`, `Kept` and `Regions`: one row a picture or box.

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
class Regions:
    """The inside of each box as `Cropped` shows it, but read off maps of the whole image at several scales.

    Nearly the class scores of crops, at the price of about twenty passes for any number of boxes: the network sees
    a box in its surroundings, and its head gets averages over a grid of cells (`wsdet.networks.pyramid`).
    Answer: `Outputs`, a row a box.

    Attributes:
        xyxy: (n, 4) boxes.
    """

    xyxy: Floats


@dataclass(frozen=True, eq=False)
class RegionFeatures:
    """What `Regions` is read off: (n, d * grid * grid) float32, the averages of a box cell by cell in rows.

    Attributes:
        xyxy: (n, 4) boxes.
        grid: cells along a side of a box.
    """

    xyxy: Floats
    grid: int = 3


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


@dataclass(frozen=True, eq=False)
class PixelGradient:
    """Gradient of a class score, before the softmax, at the pixels of the network's input. Answer: (3, s, s) float32.

    The score of a class with several outputs is that of its best output.

    Attributes:
        label: dataset class; -1, or a class that the network has no output for: the network's best output.
    """

    label: int = -1


class Neurons(NamedTuple):
    """Answer to `NeuronRank`, best first.

    Attributes:
        places: (k, 3) int64 channel, row, column in the layer's map.
        ranks: (k,) activation x gradient.
    """

    places: Ints
    ranks: Floats


@dataclass(frozen=True, eq=False)
class NeuronRank:
    """The neurons of a layer that a class score owes most to: highest activation x gradient. Answer: `Neurons`.

    Attributes:
        k: how many, at most.
        label: as in `PixelGradient`.
        layer: name of a module of the network; None: the one that makes the trunk's last map, before pooling.
        guided: whether the backward pass to the layer follows the rule of guided backpropagation.
    """

    k: int
    label: int = -1
    layer: str | None = None
    guided: bool = False


@dataclass(frozen=True, eq=False)
class GuidedBackprop:
    """Guided backpropagation of single neurons to the pixels. Answer: (k, 3, s, s) float32.

    Attributes:
        neurons: (k, 3) channel, row, column in the layer's map.
        layer: as in `NeuronRank`.
    """

    neurons: Ints
    layer: str | None = None


class Maps(NamedTuple):
    """Answer to `LayerMaps`.

    Attributes:
        activations: (d, rows, columns) float32.
        gradients: (d, rows, columns) of the class score with respect to them.
    """

    activations: Floats
    gradients: Floats


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """What a layer makes of the whole image, and the gradient of a class score there. Answer: `Maps`.

    Attributes:
        label: as in `PixelGradient`.
        layer: as in `NeuronRank`.
    """

    label: int = -1
    layer: str | None = None


GradientQuestion = PixelGradient | NeuronRank | GuidedBackprop | LayerMaps
Question = Whole | Masked | Cropped | Kept | Regions | RegionFeatures | FeatureMap | GradientQuestion | Note


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
        case Regions(xyxy=xyxy):
            return [name + np.asarray(xyxy, np.float32).tobytes()]
        case RegionFeatures(xyxy=xyxy, grid=grid):
            return [name + f"{grid} ".encode() + np.asarray(xyxy, np.float32).tobytes()]
        case GuidedBackprop(neurons=neurons, layer=layer):
            places = np.asarray(neurons).tolist()
            return [name + f"{layer} {places}".encode()] if places else []
        case PixelGradient() | NeuronRank() | LayerMaps():
            return [repr(question).encode()]
        case Note():
            return []
        case _:
            return [name]


def route(question: Question) -> str:
    """Questions with equal routes are answered in one batch."""
    match question:
        case Whole() | Cropped() | Kept() | FeatureMap():
            return "forward"
        case Masked():
            return "masked"  # composed by layers of their own on a CPU: mixed batches would be small ones of each kind
        case Regions() | RegionFeatures():
            return "regions"
        case PixelGradient():
            return "gradient"
        case NeuronRank(layer=layer, guided=guided):
            return f"rank {layer} {guided}"
        case GuidedBackprop(layer=layer):
            return f"guided {layer}"
        case LayerMaps(layer=layer):
            return f"maps {layer}"
        case Note():
            return "none"
