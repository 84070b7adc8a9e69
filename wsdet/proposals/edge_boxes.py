"""EdgeBoxes: boxes scored by the contours that they hold whole.

Zitnick, Dollar: Edge Boxes: Locating Object Proposals from Edges, ECCV 2014. OpenCV's implementation, with the values
of the authors' code.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from wsdet import check
from wsdet.boxes import area, clip, scale, xywh_to_xyxy
from wsdet.types import Boxes, Floats, InputError, Pixels, Sample
from wsdet.vision import opencv
from wsdet.vision.resizing import shrunk

log = logging.getLogger(__name__)

_STRONG_PERCENTILE = 98  # of the gradient's magnitude: an edge of strength 1, as sure as a learned one can be
_SMOOTHING = 2.0
_PATCH = 32  # pixels of a side of what structured forests look at
_BORDER = 5  # pixels along the image's sides where edges fade out, as in the authors' suppression
_MODEL_OPTIONS = (
    *("stride", "shrinkNumber", "patchSize", "patchInnerSize", "numberOfGradientOrientations"),
    *("selfsimilarityGridSize", "numberOfTrees", "numberOfTreesToEvaluate"),
)
_MODEL_TREES = ("childs", "featureIds", "thresholds", "edgeBoundaries", "edgeBins")


class EdgeBoxes:
    """EdgeBoxes on learned edges, or on plain gradients where no model is given.

    Args:
        model: file of structured-forest edges (`model.yml.gz` of OpenCV's extra data); None takes the image's
            gradients for edges, which costs accuracy: the paper's figures need the model.
        alpha: step of the sliding windows, as IoU between neighbors.
        beta: IoU above which a box is suppressed by a better one.
        min_score: boxes scored lower are dropped.
        min_area: smaller boxes are dropped; a fraction of the image: 1,000 pixels of 500 x 375.
        max_aspect_ratio: most elongated boxes.
        max_side: an image with a longer side is handled at this size, VOC's 500 pixels.
        max_boxes: maximum number of boxes per image.

    Raises:
        InputError: an argument is out of its range; or the model cannot be read, or OpenCV lacks its contrib modules.
    """

    def __init__(
        self,
        model: Path | str | None = None,
        alpha: float = 0.65,
        beta: float = 0.75,
        min_score: float = 0.01,
        min_area: float = 0.005,
        max_aspect_ratio: float = 3,
        max_side: int = 500,
        max_boxes: int = 2000,
    ) -> None:
        check.within("(0, 1)", alpha=alpha, beta=beta)
        check.within("[0, 1)", min_area=min_area)
        check.at_least(1.0, max_aspect_ratio=max_aspect_ratio)
        check.at_least(1, max_side=max_side, max_boxes=max_boxes)
        opencv.require("ximgproc.createEdgeBoxes", "ximgproc.createStructuredEdgeDetection")
        self.model = None if model is None else str(Path(model).expanduser())
        self.alpha = alpha
        self.beta = beta
        self.min_score = min_score
        self.min_area = min_area
        self.max_aspect_ratio = max_aspect_ratio
        self.max_side = max_side
        self.max_boxes = max_boxes
        if self.model is None:
            _say_gradients()
        else:
            _check_model(self.model)

    def propose(self, sample: Sample) -> Boxes:
        """Boxes by falling score, the share of contours that a box holds whole."""
        image = shrunk(sample.pixels, self.max_side)
        strength, normal = gradient_edges(image) if self.model is None else learned_edges(image, self.model)
        finder = cv2.ximgproc.createEdgeBoxes(
            alpha=self.alpha,
            beta=self.beta,
            minScore=self.min_score,
            maxBoxes=self.max_boxes,
            maxAspectRatio=self.max_aspect_ratio,
            minBoxArea=self.min_area * image.shape[0] * image.shape[1],
        )
        xywh, scores = (np.asarray(found, np.float32) for found in finder.getBoundingBoxes(strength, normal))
        xyxy = clip(xywh_to_xyxy(xywh.reshape(-1, 4)), image.shape[:2])
        # of an image without edges OpenCV gives a box with score 0, of a tiny one boxes outside it, and an infinite
        # score to boxes of one pixel
        scores = scores.ravel()
        kept = (scores >= self.min_score) & np.isfinite(scores) & (area(xyxy) > 0)
        return Boxes(scale(xyxy[kept], image.shape[:2], sample.size_hw), scores=scores[kept])


def gradient_edges(image: Pixels) -> tuple[Floats, Floats]:
    """Thin edges of an (h, w, 3) image from its gradients.

    Returns:
        (h, w) strength in [0, 1], 0 where a neighbor across the edge is stronger; (h, w) direction across the edge in
        radians, [0, pi).
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), _SMOOTHING)
    dx, dy = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))  # (h, w, 3)
    magnitude = np.hypot(dx, dy)
    strongest = magnitude.argmax(axis=2)[:, :, None]
    dx, dy, magnitude = (np.take_along_axis(a, strongest, axis=2)[:, :, 0] for a in (dx, dy, magnitude))
    normal = np.mod(np.arctan2(dy, dx), np.float32(np.pi)).astype(np.float32)
    normal[normal >= np.float32(np.pi)] = 0
    reference = max(float(np.percentile(magnitude, _STRONG_PERCENTILE)), 1e-6)
    return _thinned(np.minimum(magnitude / reference, 1), magnitude, normal), normal


def learned_edges(image: Pixels, model: str) -> tuple[Floats, Floats]:
    """Thin edges of an (h, w, 3) image from structured forests; strength and direction as of `gradient_edges`."""
    detector = _edge_detector(model)
    h, w = image.shape[:2]
    missing = max(0, _PATCH - h), max(0, _PATCH - w)  # OpenCV asks for endless memory when no patch fits
    padded = cv2.copyMakeBorder(image, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    strength = detector.detectEdges(padded.astype(np.float32) / 255)
    normal = detector.computeOrientation(strength)
    thin = detector.edgesNms(strength, normal)
    return np.ascontiguousarray(thin[:h, :w]), np.ascontiguousarray(normal[:h, :w])


def _thinned(strength: Floats, magnitude: Floats, normal: Floats) -> Floats:
    h, w = strength.shape
    ys, xs = np.indices((h, w), dtype=np.float32)
    across_x, across_y = np.cos(normal), np.sin(normal)
    thin = strength.copy()
    for side in (1, -1):
        beside = cv2.remap(
            magnitude, xs + side * across_x, ys + side * across_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        thin[magnitude < beside] = 0
    to_border = np.minimum(np.minimum(xs, w - 1 - xs), np.minimum(ys, h - 1 - ys))
    return (thin * np.minimum(to_border / _BORDER, 1)).astype(np.float32)


@lru_cache(1)  # once a process: the forests are large, and OpenCV's object cannot be handed to another process
def _edge_detector(model: str) -> Any:
    return cv2.ximgproc.createStructuredEdgeDetection(model)


@lru_cache(1)  # once a process, however often a run makes its proposals' source
def _say_gradients() -> None:
    log.info("edge_boxes: no model given, so edges are image gradients, not learned ones (proposals.model=FILE)")


def _check_model(model: str) -> None:
    """Looks into the file first: OpenCV divides by what it finds there, and dies of a zero."""
    if not Path(model).is_file():
        raise InputError(
            f"proposals.model={model} is no file; it must be OpenCV's structured-edge model (model.yml.gz)"
        )
    try:
        storage = cv2.FileStorage(model, cv2.FILE_STORAGE_READ)
        options = storage.getNode("options")
        good = not options.empty() and all(options.getNode(name).real() >= 1 for name in _MODEL_OPTIONS)
        good = good and all(storage.getNode(name).isSeq() for name in _MODEL_TREES)
    except (cv2.error, SystemError):
        good = False
    if not good:
        raise InputError(f"proposals.model={model} is not a structured-edge model that OpenCV can read (model.yml.gz)")
