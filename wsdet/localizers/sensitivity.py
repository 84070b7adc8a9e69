"""A box read linearly off the sensitivity map: where the score of the class hangs on the pixels.

One backward pass per image and label. Unlike the other localizers it was trained on boxes: ground truth, a few of them,
or another localizer's (`python -m wsdet.train task=box_regressor`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from wsdet import boxes
from wsdet.linear_models.box_regressor import BoxRegressor, share_inside
from wsdet.localizers.dialogue import Dialogue
from wsdet.questions import Note, PixelGradient
from wsdet.types import Boxes, Sample


class Sensitivity:
    """A box for each label of the image (label -1, the network's prediction, when it has none).

    Args:
        weights: the .safetensors file of a trained `BoxRegressor`, with its .json file beside it.

    Raises:
        InputError: there is no usable regressor in the file.
    """

    def __init__(self, weights: Path | str) -> None:
        self.regressor = BoxRegressor.load(weights)

    def check(self, classes: Sequence[str], network: str) -> None:
        """Whether the regressor fits the classes of a data set and the fingerprint of a network.

        Raises:
            InputError: it does not.
        """
        self.regressor.check(classes, network)

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """One box a label, scored by the share of the sensitivity that lies in it."""
        labels = sample.labels or (-1,)
        gradients = yield [PixelGradient(label) for label in labels]
        maps = np.stack([self.regressor.sensitivity(gradient) for gradient in gradients])
        h, w = sample.size_hw
        yield [
            Note("heat map", {"label": label, "map": cv2.resize(seen, (w, h), interpolation=cv2.INTER_LINEAR)})
            for label, seen in zip(labels, maps, strict=True)
        ]
        corners = self.regressor.predict(maps, np.array(labels))
        scores = [share_inside(seen, box) for seen, box in zip(maps, corners, strict=True)]
        return Boxes(boxes.scale(corners, (1, 1), (h, w)), np.array(scores), np.array(labels))
