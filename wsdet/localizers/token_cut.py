"""Objects without classes: normalized cuts of the network's last feature map (TokenCut, Wang et al., CVPR 2022).

The positions of the map are the nodes of a graph; two are joined where their features are alike, E_ij = 1 where
cos(f_i, f_j) >= threshold and a small number elsewhere. The normalized cut (Shi and Malik, PAMI 2000) of the graph is
the second smallest solution y of

    (D - E) y = lambda D y,

split at its mean. The side that holds the largest |y| is the object's, and its connected part around that position the
object. For more objects the positions of those found are taken out of the graph, and it is cut again (as in MaskCut,
Wang et al., CVPR 2023).

The paper reads the keys of the last attention of a self-supervised transformer; this reads the last map of any network.
Features after a ReLU all point one way, so their mean over the image is taken off first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from scipy.linalg import eigh

from wsdet import boxes, check
from wsdet.localizers.dialogue import Dialogue
from wsdet.questions import FeatureMap, Note
from wsdet.types import Bools, Boxes, Floats, InputError, Sample

_JOINED_A_LITTLE = 1e-5  # of positions that are not alike: keeps the graph in one piece
_SAME = 0.9  # IoU of boxes that are taken for one


class TokenCut:
    """Boxes without labels, one for each cut, at one pass per image.

    Args:
        thresholds: least cosines of features that are alike, in [-1, 1]; each gives cuts of its own.
        n_objects: maximum number of cuts for each threshold.

    Raises:
        InputError: an argument is outside its range.
    """

    def __init__(self, thresholds: Sequence[float] = (0.2,), n_objects: int = 3) -> None:
        if not thresholds:
            raise InputError("thresholds must name at least one cosine, such as [0.2], got none")
        for threshold in thresholds:
            check.within("[-1, 1]", thresholds=threshold)
        check.at_least(1, n_objects=n_objects)
        self.thresholds = tuple(float(threshold) for threshold in thresholds)
        self.n_objects = n_objects

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """Boxes with label -1, best first; the score says how much more an object is like itself than like the rest."""
        (feature_map,) = yield [FeatureMap()]
        similarity = _similarity(feature_map)
        hw: tuple[int, int] = feature_map.shape[1:]
        found = []
        for threshold in self.thresholds:
            for mask in _objects(similarity, hw, threshold, self.n_objects):
                found.append((boxes.mask_to_xyxy(mask), _contrast(similarity, mask.ravel())))
                yield [Note("cut", {"threshold": threshold, "mask": mask})]
        h, w = sample.size_hw
        if not found:
            return Boxes(np.array([[0, 0, w, h]], np.float32))
        xyxy = boxes.scale(np.concatenate([box for box, _ in found]), hw, (h, w))
        scores = np.array([contrast for _, contrast in found], np.float32)
        return Boxes(xyxy, scores)[boxes.nms(xyxy, scores, _SAME)]


def _similarity(feature_map: Floats) -> Floats:
    """(n, n) cosines of the features at n positions, less their mean."""
    features = feature_map.reshape(len(feature_map), -1).T.astype(np.float64)
    features = features - features.mean(axis=0)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 1e-9 * (1 + lengths.max()))
    return unit @ unit.T


def _objects(similarity: Floats, hw: tuple[int, int], threshold: float, n_objects: int) -> Iterator[Bools]:
    """(rows, columns) of each object, from the clearest cut on."""
    left = np.diag(similarity) > 0.5  # a position without a feature is no node
    for _ in range(n_objects):
        nodes = np.flatnonzero(left)
        if len(nodes) < 3:
            return
        graph = np.where(similarity[np.ix_(nodes, nodes)] >= threshold, 1.0, _JOINED_A_LITTLE)
        _, vectors = eigh(np.diag(graph.sum(axis=1)) - graph, np.diag(graph.sum(axis=1)), subset_by_index=[1, 1])
        y = vectors[:, 0]
        seed = int(np.abs(y).argmax())
        side = (y > y.mean()) == (y[seed] > y.mean())
        if side.all():
            return
        mask = np.zeros(hw, np.uint8)
        mask.reshape(-1)[nodes[side]] = 1
        _, parts = cv2.connectedComponents(mask, connectivity=4)
        found = parts == parts.reshape(-1)[nodes[seed]]
        yield found
        left &= ~found.ravel()


def _contrast(similarity: Floats, inside: Bools) -> float:
    """Mean cosine within an object less that to the rest, in [-2, 2]."""
    within = similarity[np.ix_(inside, inside)].mean()
    across = similarity[np.ix_(inside, ~inside)].mean() if not inside.all() else 0.0
    return float(within - across)
