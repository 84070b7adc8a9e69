"""Self-Taught object Localization: merge segments that matter to the classifier (Bazzani et al., WACV 2016).

The importance of a box is the drop of the classifier's score when the box is painted over with ImageNet's mean color
(`wsdet.questions.Masked`; the paper learns the color from its training set, which is ImageNet).
Segments are merged greedily, the most similar pair first, where regions with similar large drops count as similar;
every region that ever existed is a candidate, ranked by its drop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from wsdet import boxes, check
from wsdet.localizers.dialogue import Dialogue, side_by_side
from wsdet.localizers.responses import Response, response_of
from wsdet.questions import Cropped, FeatureMap, Masked, Note, Outputs, Regions, Whole
from wsdet.types import Bools, Boxes, Floats, InputError, Pixels, Sample
from wsdet.vision import opencv
from wsdet.vision.segmentation import COLOR_SPACES, graph_segments, in_color_space, neighbors

TERMS = ("drop", "appearance", "size", "fill")


class Stl:
    """STL-CL and STL-WL.

    Args:
        drop: "class" (STL-CL): the drop of the given class, one run for each label of the image; "top" (STL-WL): the
            sum of the drops of the classes that the network predicts best for the whole image. A label that the
            network has no output for is localized as in STL-WL.
        segmentations: (color space, k) pairs, clustered separately; the paper's fast set by default.
        size: side in pixels to which the image is resized before segmenting: the network's input.
        top_classes: C_I, how many classes STL-WL looks at.
        weights: of the similarity's four terms (Eq. 4): drop, appearance, size, fill; >= 0, with sum 1. Drops above 1,
            which several sigmoid outputs can add up to, count as alike: the paper's term, made for probabilities that
            sum to 1, would call unequal ones more similar than equal ones there.
        appearance: phi's negative values count as 0, since a histogram has none (the paper does not say what it does).
             "crop": phi is the last fully connected layer of each box's own crop, as in the paper; "pyramid":
            the same layer for the box read off the maps of the whole image at several scales, about twenty passes an
            image instead of one a region; "map": the mean over the box of the whole image's feature map, one pass.
        adjacent_only: merge only regions that touch, the paper's own suggestion for speed.
        order: what ranks the regions. "drop": their own drop, as in the paper. It saturates: masking more than the
            object costs no less than masking the object. "expected_iou": how much they overlap the object on average,
            where region i is the object with a prior weight that follows from its class score, as in
            `wsdet.localizers.vote`.
        score_exponent: for "expected_iou", of class scores in the prior weights, above 0: see `Vote`.
        smallest: for "expected_iou", smaller regions than this share of the image are no candidates for the object.
        nms_iou: overlap above which the lesser candidate is dropped.
        max_boxes: maximum number of boxes of a label; 0: all.

    Raises:
        InputError: an argument is outside its range.
    """

    def __init__(
        self,
        drop: Literal["class", "top"] = "class",
        segmentations: Sequence[tuple[str, int]] = (("hsv", 50), ("hsv", 100), ("lab", 50), ("lab", 100)),
        size: int = 227,
        top_classes: int = 5,
        weights: Mapping[str, float] | None = None,
        appearance: Literal["crop", "pyramid", "map"] = "crop",
        adjacent_only: bool = False,
        order: Literal["drop", "expected_iou"] = "drop",
        score_exponent: float = 0.2,
        smallest: float = 0.0,
        nms_iou: float = 0.5,
        max_boxes: int = 0,
    ) -> None:
        weights = dict(weights) if weights is not None else dict.fromkeys(TERMS, 0.25)
        if set(weights) != set(TERMS) or min(weights.values()) < 0 or abs(sum(weights.values()) - 1) > 1e-6:
            raise InputError(f"weights must be >= 0 for each of {TERMS} and sum to 1, got {weights}")
        check.one_of(("class", "top"), drop=drop)
        check.one_of(("crop", "pyramid", "map"), appearance=appearance)
        check.one_of(("drop", "expected_iou"), order=order)
        check.positive(score_exponent=score_exponent)
        check.within("[0, 1)", smallest=smallest)
        check.at_least(1, top_classes=top_classes)
        check.at_least(0, max_boxes=max_boxes)
        check.share(nms_iou=nms_iou)
        for color_space, k in segmentations:
            check.one_of(COLOR_SPACES, **{"segmentations: a color space": color_space})
            check.at_least(1.0, **{"segmentations: k": k})
        opencv.require("ximgproc.segmentation.createGraphSegmentation")
        self.drop = drop
        self.segmentations = tuple((color_space, int(k)) for color_space, k in segmentations)
        self.size = size
        self.top_classes = top_classes
        self.weights = weights
        self.appearance = appearance
        self.adjacent_only = adjacent_only
        self.order = order
        self.score_exponent = score_exponent
        self.smallest = smallest
        self.nms_iou = nms_iou
        self.max_boxes = max_boxes

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """Boxes of each label of the image (STL-WL: of the image), scored by their drop or their expected IoU."""
        if self.appearance == "map":
            whole, feature_map = yield [Whole(), FeatureMap()]
        else:
            ((whole,), feature_map) = (yield [Whole()]), None
        frame = _Frame(sample.size_hw, self.size, None if feature_map is None else _integral(feature_map))
        resized = np.asarray(cv2.resize(sample.pixels, (self.size, self.size), interpolation=cv2.INTER_AREA), np.uint8)
        segmentations = [segments_of(resized, color_space, k) for color_space, k in self.segmentations]
        labels = sample.labels if self.drop == "class" else (-1,)
        targets = [_Target(label, response_of(label, whole, self.top_classes), whole) for label in labels]
        regions = yield from side_by_side(
            [self._cluster(segments, frame, target) for target in targets for segments in segmentations]
        )
        found, n = [], len(segmentations)
        for i, target in enumerate(targets):
            xyxy, drops = (np.concatenate(parts) for parts in zip(*regions[n * i : n * (i + 1)], strict=True))
            found.append((yield from self._ranked(xyxy, drops, frame, target)))
        return Boxes.concatenate(found)

    def _cluster(self, segments: Segments, frame: _Frame, target: _Target) -> Dialogue[tuple[Floats, Floats]]:
        """All regions of one clustering: (2k - 1, 4) boxes in the frame and their (2k - 1,) drops."""
        xyxy, sizes, adjacent = segments.xyxy.copy(), segments.sizes.copy(), segments.adjacent.copy()
        drops, phi = yield from self._look(xyxy, frame, target)
        all_xyxy, all_drops = [xyxy.copy()], [drops.copy()]
        similarity = np.stack(
            [self._similarity(i, xyxy, sizes, drops, phi, frame) for i in range(len(xyxy))]
        )  # (k, k); a merged region takes the row of the first of its two, the other's row is retired
        np.fill_diagonal(similarity, -np.inf)
        alive = np.ones(len(xyxy), bool)
        region, merges = np.arange(len(xyxy)), []  # which of all regions a row holds now
        for new in range(len(xyxy), 2 * len(xyxy) - 1):
            i, j = self._best_pair(similarity, adjacent)
            alive[j] = False
            merges.append(region[[i, j]])
            region[i] = new
            xyxy[i] = boxes.union(xyxy[i], xyxy[j])
            sizes[i] += sizes[j]
            drops[i : i + 1], phi[i : i + 1] = yield from self._look(xyxy[i : i + 1], frame, target)
            all_xyxy.append(xyxy[i : i + 1].copy())
            all_drops.append(drops[i : i + 1].copy())
            row = self._similarity(i, xyxy, sizes, drops, phi, frame)
            row[~alive] = row[i] = -np.inf
            similarity[i] = similarity[:, i] = row
            similarity[j] = similarity[:, j] = -np.inf
            adjacent[i] |= adjacent[j]
            adjacent[:, i] = adjacent[i]
        found, found_drops = np.concatenate(all_xyxy), np.concatenate(all_drops)
        tree = {"label": target.label, "xyxy": frame.to_image(found), "drops": found_drops, "merges": merges}
        yield [Note("region tree", tree)]
        return found, found_drops

    def _look(self, xyxy: Floats, frame: _Frame, target: _Target) -> Dialogue[tuple[Floats, Floats]]:
        """The (n,) drops and the (n, d) L1-normalized appearances of (n, 4) boxes in the frame."""
        in_image = frame.to_image(xyxy)
        if frame.integral is not None:
            (masked,) = yield [Masked(in_image)]
            phi = _mean_inside(frame.integral, xyxy / np.float32(frame.size))
        else:
            seen_in = Regions(in_image) if self.appearance == "pyramid" else Cropped(in_image)
            masked, seen = yield [Masked(in_image), seen_in]
            phi = seen.logits
        phi = np.maximum(phi, 0)  # histogram intersection is one of nonnegative histograms
        return target.drop(masked), phi / np.maximum(phi.sum(axis=1, keepdims=True), 1e-12)

    def _similarity(self, i: int, xyxy: Floats, sizes: Floats, drops: Floats, phi: Floats, frame: _Frame) -> Floats:
        """(k,) similarities of region i with every region (Eq. 4)."""
        image_size = frame.size**2
        terms = {
            "drop": drop_similarities(drops, i),
            "appearance": np.minimum(phi, phi[i]).sum(axis=1),
            "size": 1 - (sizes + sizes[i]) / image_size,
            "fill": 1 - (boxes.area(boxes.union(xyxy, xyxy[i])) - sizes - sizes[i]) / image_size,
        }
        return np.sum([self.weights[name] * terms[name] for name in TERMS], axis=0).astype(np.float32)

    def _best_pair(self, similarity: Floats, adjacent: Bools) -> tuple[int, int]:
        candidates = similarity
        if self.adjacent_only:
            touching = np.where(adjacent, similarity, -np.inf)
            if np.isfinite(touching).any():  # dropped segments can leave islands that touch nothing
                candidates = touching
        i, j = np.unravel_index(int(np.argmax(candidates)), candidates.shape)
        return int(min(i, j)), int(max(i, j))

    def _ranked(self, xyxy: Floats, drops: Floats, frame: _Frame, target: _Target) -> Dialogue[Boxes]:
        """The (n, 4) regions of all clusterings of one label, best first, after non-maximum suppression."""
        scores = drops
        if self.order == "expected_iou":
            xyxy = np.unique(xyxy, axis=0)
            large = boxes.area(xyxy) >= self.smallest * frame.size**2
            xyxy = xyxy[large] if large.any() else xyxy
            (inside,) = yield [Regions(frame.to_image(xyxy))]
            scores = boxes.expected_iou(xyxy, target.response(inside).sum(axis=1) ** self.score_exponent)
        kept = boxes.nms(xyxy, scores, self.nms_iou)[: self.max_boxes or None]
        return Boxes(frame.to_image(xyxy[kept]), scores[kept], np.full(len(kept), target.label))


@dataclass(frozen=True, eq=False)
class _Target:
    """What is looked for: a class (STL-CL), or whatever the network sees in the whole image (STL-WL).

    Attributes:
        label: of the boxes; -1 for none.
        response: reads the scores that are followed.
        whole: the answer for the whole image.
    """

    label: int
    response: Response
    whole: Outputs

    def drop(self, masked: Outputs) -> Floats:
        """(n,) d_CL (Eq. 2) or d_WL (Eq. 3) of n masked inputs."""
        return np.maximum(self.response(self.whole) - self.response(masked), 0).sum(axis=1)


_SIGMA = 0.8
_MIN_SIDE = 5  # pixels; a segment whose bounding box is narrower is dropped


def drop_similarities(drops: Floats, i: int) -> Floats:
    """(k,) similarities, at most 1, of region i with every region, by their drops (Eq. 4); drops above 1 are alike."""
    return 1 - np.abs(drops - drops[i]) * np.maximum(1 - np.minimum(drops, drops[i]), 0)


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments of one image.

    Attributes:
        xyxy: (k, 4) bounding boxes in the frame.
        sizes: (k,) pixel counts.
        adjacent: (k, k) whether two segments touch.
    """

    xyxy: Floats
    sizes: Floats
    adjacent: Bools


def segments_of(frame: Pixels, color_space: str, k: int) -> Segments:
    """The segments of an image that are not too narrow; all of them when all are."""
    label_image = graph_segments(in_color_space(frame, color_space), _SIGMA, k, min_size=k)
    xyxy = boxes.segments_to_xyxy(label_image)
    sizes = np.bincount(label_image.ravel(), minlength=len(xyxy)).astype(np.float32)
    kept = (xyxy[:, 2:] - xyxy[:, :2]).min(axis=1) >= _MIN_SIDE
    if not kept.any():
        kept[:] = True
    adjacent = np.zeros((len(xyxy), len(xyxy)), bool)
    a, b = neighbors(label_image).T
    adjacent[a, b] = adjacent[b, a] = True
    return Segments(xyxy[kept], sizes[kept], adjacent[np.ix_(kept, kept)])


@dataclass(frozen=True, eq=False)
class _Frame:
    """The square, resized image that is segmented.

    Attributes:
        image_hw: height and width of the original image.
        size: side of the frame.
        integral: (rows + 1, columns + 1, d) summed feature map of the whole image, or None.
    """

    image_hw: tuple[int, int]
    size: int
    integral: Floats | None

    def to_image(self, xyxy: Floats) -> Floats:
        """(n, 4) boxes of the frame in pixels of the original image."""
        return boxes.scale(xyxy, (self.size, self.size), self.image_hw)


def _integral(feature_map: Floats) -> Floats:
    """(rows + 1, columns + 1, d) sums of a (d, rows, columns) map over all cells above and to the left."""
    summed = feature_map.transpose(1, 2, 0).astype(np.float64).cumsum(axis=0).cumsum(axis=1)
    return np.pad(summed, ((1, 0), (1, 0), (0, 0)))


def _mean_inside(integral: Floats, xyxy: Floats) -> Floats:
    """(n, d) mean of a summed map over each of (n, 4) boxes, in relative coordinates, widened to whole cells."""
    rows, columns = integral.shape[0] - 1, integral.shape[1] - 1
    cells = xyxy * np.array([columns, rows, columns, rows])
    x1, y1 = np.floor(cells[:, :2]).astype(int).T
    x2, y2 = np.ceil(cells[:, 2:]).astype(int).T
    total = integral[y2, x2] - integral[y1, x2] - integral[y2, x1] + integral[y1, x1]
    return (total / ((x2 - x1) * (y2 - y1))[:, None]).astype(np.float32)
