"""The heat-map baseline: layer-CAM (Jiang et al., TIP 2021), thresholded, boxed around its largest region."""

from __future__ import annotations

import cv2
import numpy as np

from wsdet import boxes, check
from wsdet.localizers.dialogue import Dialogue, side_by_side
from wsdet.questions import ActivationMaps, LayerMaps, Note
from wsdet.types import Boxes, Floats, Sample


class Cam:
    """A box for each label of the image (label -1, the network's prediction, when it has none).

    The heat map is the sum over channels of activation x positive gradient. Where a label's map is 0 everywhere,
    the class that the network predicts stands in; if this map is too, the box is the whole image with score 0.

    Args:
        layer: name of the module that is mapped; None: the last map before pooling.
        threshold: the box holds the largest connected region of heat above this share of the maximum.

    Raises:
        InputError: `threshold` is outside its range.
    """

    def __init__(self, layer: str | None = None, threshold: float = 0.2) -> None:
        check.within("[0, 1)", threshold=threshold)
        self.layer = layer
        self.threshold = threshold

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """One box a label, scored by the share of the heat that its region holds."""
        found = yield from side_by_side([self._locate(label, sample) for label in sample.labels or (-1,)])
        return Boxes.concatenate(found)

    def _locate(self, label: int, sample: Sample) -> Dialogue[Boxes]:
        (maps,) = yield [LayerMaps(label, self.layer)]
        heat = _heat(maps)
        if label >= 0 and not heat.any():
            (maps,) = yield [LayerMaps(-1, self.layer)]
            heat = _heat(maps)
        h, w = sample.size_hw
        heat = np.asarray(cv2.resize(heat, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
        yield [Note("heat map", {"label": label, "map": heat})]
        hot = (heat > self.threshold * heat.max()).astype(np.uint8)
        if not hot.any():
            return Boxes(np.array([[0, 0, w, h]], np.float32), labels=np.array([label]))
        _, regions, stats, _ = cv2.connectedComponentsWithStats(hot)
        region = regions == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])
        share = heat[region].sum(dtype=np.float64) / heat.sum(dtype=np.float64)
        return Boxes(boxes.mask_to_xyxy(region), np.array([share]), np.array([label]))


def _heat(maps: ActivationMaps) -> Floats:
    """(rows, columns) layer-CAM, >= 0."""
    weighted = (maps.activations * np.maximum(maps.gradients, 0)).sum(axis=0)
    return np.maximum(weighted, 0)
