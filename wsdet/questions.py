"""What a localizer may ask about its image, and what a localizer is. Each question is a small frozen dataclass.

Boxes and masks in questions are in pixels of the *original* image, as everywhere; the network carries them to its
own input. A question says itself which inputs it needs and what it can share a batch with, so a new one takes its
class here and a handler in `wsdet.networks.classifier`; the engine between them knows no question by name.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np

from wsdet.tiles import Tiling
from wsdet.types import Bools, Boxes, Floats, Ints, Sample

Fill = Literal["mean", "black"]


class Question(Protocol):
    """Anything that a localizer may yield."""

    @property
    def batch_key(self) -> Hashable:
        """Questions with equal keys are answered in one batch, by the same handler."""

    def keys(self) -> list[bytes]:
        """One key for each input that the question needs, in the order of the answer's rows.

        Inputs of one image with equal keys, be it in different questions, are the same and computed once.
        """


class Localizer(Protocol):
    """A method that finds the boxes of an image by asking questions about it. It never touches a network."""

    def localize(self, sample: Sample) -> Generator[Sequence[Question], Sequence[Any], Boxes]:
        """Yields questions, receives one answer for each, returns boxes, best first.

        A class-aware method labels each box with one of `sample.labels`; a class-agnostic one with -1.
        """


class NetworkInput(NamedTuple):
    """One of the inputs that a question needs: number `row` of `question`, about the prepared image `view`."""

    view: Any
    question: Any  # a `Question`; a handler knows which ones it is given
    row: int


@dataclass(frozen=True, eq=False)
class Outputs:
    """Answer to `Whole`, `Masked`, `Cropped`, `Kept` and `Regions`: one row per input or box.

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

    batch_key: ClassVar[str] = "forward pass"

    def keys(self) -> list[bytes]:
        """One."""
        return [b"Whole"]


@dataclass(frozen=True, eq=False)
class Masked:
    """The image with a box painted over, once for each box. Answer: `Outputs`, one row per box.

    Attributes:
        xyxy: (n, 4) boxes.
        fill: "mean" paints the mean color that the network's inputs are normalized with, which is 0 after that:
            ImageNet's (0.485, 0.456, 0.406), or what a timm network says, whatever images it is trained on here;
            "black" paints black.
    """

    xyxy: Floats
    fill: Fill = "mean"

    # not with plain passes: these are composed layer by layer on a CPU, so a mixed batch is two half-empty ones
    batch_key: ClassVar[str] = "masked"

    def keys(self) -> list[bytes]:
        """One per box."""
        return [b"Masked" + self.fill.encode() + row.tobytes() for row in np.asarray(self.xyxy, np.float32)]


@dataclass(frozen=True, eq=False)
class Cropped:
    """The inside of each box, rescaled to the network's input. Answer: `Outputs`, one row per box.

    Attributes:
        xyxy: (n, 4) boxes.
    """

    xyxy: Floats

    batch_key: ClassVar[str] = "forward pass"

    def keys(self) -> list[bytes]:
        """One per box."""
        return [b"Cropped" + row.tobytes() for row in np.asarray(self.xyxy, np.float32)]


@dataclass(frozen=True, eq=False)
class Kept:
    """The image with everything outside a mask painted with the mean color. Answer: `Outputs`, one row per mask.

    Attributes:
        masks: (n, s, s) True where a pixel stays; s is the side of the network's input.
    """

    masks: Bools

    batch_key: ClassVar[str] = "forward pass"

    def keys(self) -> list[bytes]:
        """One per mask."""
        return [b"Kept" + np.packbits(mask).tobytes() for mask in self.masks]


@dataclass(frozen=True, eq=False)
class Regions:
    """The inside of each box as `Cropped` shows it, but read off maps of the whole image at several scales.

    Nearly the class scores of crops, at the price of about twenty passes for any number of boxes: the network sees
    a box in its surroundings, and its head gets averages over a grid of cells (`wsdet.networks.pyramid`).
    Answer: `Outputs`, one row per box.

    Attributes:
        xyxy: (n, 4) boxes.
        tiling: tiles whose own maps show the boxes that lie in them; None: the image's show all.
    """

    xyxy: Floats
    tiling: Tiling | None = None

    batch_key: ClassVar[str] = "regions"

    def keys(self) -> list[bytes]:
        """One: all boxes are read off the same maps."""
        return [f"Regions {self.tiling} ".encode() + np.asarray(self.xyxy, np.float32).tobytes()]


@dataclass(frozen=True, eq=False)
class RegionFeatures:
    """What `Regions` is read off: (n, d * grid * grid) float32, the averages of a box cell by cell in rows.

    Attributes:
        xyxy: (n, 4) boxes.
        grid: cells along a side of a box.
        tiling: as in `Regions`.
    """

    xyxy: Floats
    grid: int = 3
    tiling: Tiling | None = None

    batch_key: ClassVar[str] = "regions"

    def keys(self) -> list[bytes]:
        """One: all boxes are read off the same maps."""
        return [f"RegionFeatures {self.grid} {self.tiling} ".encode() + np.asarray(self.xyxy, np.float32).tobytes()]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """The last convolutional feature map of the whole image. Answer: (d, rows, columns) float32."""

    batch_key: ClassVar[str] = "forward pass"

    def keys(self) -> list[bytes]:
        """One."""
        return [b"FeatureMap"]


@dataclass(frozen=True, eq=False)
class Note:
    """Not a question: evidence for whoever looks on, such as a region tree or a heat map. Answer: None, at once.

    Attributes:
        name: what it is.
        value: arrays and plain values, in pixels of the original image where they are places.
    """

    name: str
    value: Any

    batch_key: ClassVar[None] = None

    def keys(self) -> list[bytes]:
        """None: nothing is computed."""
        return []


@dataclass(frozen=True, eq=False)
class PixelGradient:
    """Gradient of a class score, before the softmax, at the pixels of the network's input. Answer: (3, s, s) float32.

    The score of a class with several outputs is that of its best output.

    Attributes:
        label: dataset class; -1, or a class that the network has no output for: the network's best output.
    """

    label: int = -1

    batch_key: ClassVar[str] = "pixel gradient"

    def keys(self) -> list[bytes]:
        """One."""
        return [repr(self).encode()]


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

    @property
    def batch_key(self) -> Hashable:
        """By layer and rule: both hold for a whole backward pass."""
        return "neurons", self.layer, self.guided

    def keys(self) -> list[bytes]:
        """One."""
        return [repr(self).encode()]


@dataclass(frozen=True, eq=False)
class GuidedBackprop:
    """Guided backpropagation of single neurons to the pixels. Answer: (k, 3, s, s) float32.

    Attributes:
        neurons: (k, 3) channel, row, column in the layer's map.
        layer: as in `NeuronRank`.
    """

    neurons: Ints
    layer: str | None = None

    @property
    def batch_key(self) -> Hashable:
        """By layer: a forward pass is watched at one."""
        return "guided", self.layer

    def keys(self) -> list[bytes]:
        """One, whatever the number of neurons; none for no neurons."""
        places = np.asarray(self.neurons).tolist()
        return [f"GuidedBackprop {self.layer} {places}".encode()] if places else []


class ActivationMaps(NamedTuple):
    """Answer to `LayerMaps`.

    Attributes:
        activations: (d, rows, columns) float32.
        gradients: (d, rows, columns) of the class score with respect to them.
    """

    activations: Floats
    gradients: Floats


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """What a layer makes of the whole image, and the gradient of a class score there. Answer: `ActivationMaps`.

    Attributes:
        label: as in `PixelGradient`.
        layer: as in `NeuronRank`.
    """

    label: int = -1
    layer: str | None = None

    @property
    def batch_key(self) -> Hashable:
        """By layer: a backward pass ends at one."""
        return "layer maps", self.layer

    def keys(self) -> list[bytes]:
        """One."""
        return [repr(self).encode()]


GradientQuestion = PixelGradient | NeuronRank | GuidedBackprop | LayerMaps
