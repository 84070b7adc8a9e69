"""Self-Taught Localization as the paper tells it: one image, one mask or crop at a time. Written for reading.

Bazzani et al., WACV 2016, Sections 3.1 and 3.2. It shares with `wsdet.localizers.stl` the segmentation, the network and
the functions on boxes; the questions, the batches, the shared inputs and the incremental passes it does without.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
import torch

from wsdet import boxes
from wsdet.networks.classifier import Network
from wsdet.types import Boxes, Floats, Sample
from wsdet.vision.segmentation import graph_segments, in_color_space


@dataclass(frozen=True, eq=False)
class Region:
    """A segment, or several merged.

    Attributes:
        xyxy: (4,) bounding box in the frame.
        n_pixels: how many belong to it.
        drop: of the score when its box is masked.
        phi: (c,) its appearance, L1-normalized.
    """

    xyxy: Floats
    n_pixels: np.float32
    drop: np.float32
    phi: Floats


class SequentialStl:
    """STL-CL, or with `top_classes` STL-WL, with the paper's defaults of `wsdet.localizers.stl.Stl`.

    Attributes:
        passes: through the network so far.
    """

    def __init__(
        self,
        network: Network,
        segmentations: tuple[tuple[str, int], ...] = (("hsv", 50), ("hsv", 100), ("lab", 50), ("lab", 100)),
        top_classes: int = 0,
    ) -> None:
        self.network = network
        self.size = network.input_size
        self.segmentations = segmentations
        self.top_classes = top_classes
        self.passes = 0

    def localize(self, sample: Sample) -> Boxes:
        """Boxes of each label (STL-WL: of the image), scored by their drop, best first."""
        prepare = self.network.preprocessor
        self.image = prepare.image(sample.pixels)  # (3, h, w)
        self.input = prepare.resized(self.image[None].float(), (self.size, self.size))  # (1, 3, s, s)
        self.image_hw = sample.size_hw
        frame = np.asarray(cv2.resize(sample.pixels, (self.size, self.size), interpolation=cv2.INTER_AREA), np.uint8)
        self.whole = self.network.outputs(self.pass_through(self.input))
        found = []
        for label in [-1] if self.top_classes else sample.labels:
            regions = [
                region for color_space, k in self.segmentations for region in self.cluster(frame, color_space, k, label)
            ]
            xyxy, drops = np.stack([r.xyxy for r in regions]), np.array([r.drop for r in regions])
            kept = boxes.nms(xyxy, drops, 0.5)
            found.append(Boxes(self.to_image(xyxy[kept]), drops[kept], np.full(len(kept), label)))
        return Boxes.concatenate(found)

    def cluster(self, frame: np.ndarray, color_space: str, k: int, label: int) -> list[Region]:
        """The segments, then each region that merging the two most similar ones makes, to the whole image."""
        segments = graph_segments(in_color_space(frame, color_space), 0.8, k, min_size=k)
        xyxy = boxes.segments_to_xyxy(segments)
        wide = np.flatnonzero((xyxy[:, 2:] - xyxy[:, :2]).min(axis=1) >= 5)
        kept = wide if len(wide) else np.arange(len(xyxy))
        alive = {i: self.look(xyxy[s], np.float32((segments == s).sum()), label) for i, s in enumerate(kept)}
        every = list(alive.values())
        similarities = {(i, j): self.similarity(alive[i], alive[j]) for i, j in combinations(alive, 2)}
        while similarities:
            i, j = max(similarities, key=lambda pair: (similarities[pair], -pair[0], -pair[1]))
            a, b = alive.pop(i), alive.pop(j)
            merged = self.look(boxes.union(a.xyxy, b.xyxy), a.n_pixels + b.n_pixels, label)
            every.append(merged)
            similarities = {pair: s for pair, s in similarities.items() if not {i, j} & set(pair)}
            similarities |= {(min(i, m), max(i, m)): self.similarity(merged, other) for m, other in alive.items()}
            alive[i] = merged
        return every

    def look(self, xyxy: Floats, n_pixels: np.float32, label: int) -> Region:
        """Masks the box and crops it: two passes."""
        x1, y1, x2, y2 = xyxy.astype(int)
        masked = self.input.clone()
        masked[:, :, y1:y2, x1:x2] = 0  # the mean color, after normalization
        crop = self.network.preprocessor.crops(self.image, torch.from_numpy(self.to_image(xyxy[None])))
        phi = np.maximum(self.pass_through(crop)[0], 0)
        return Region(xyxy, n_pixels, self.drop(self.pass_through(masked), label), phi / np.maximum(phi.sum(), 1e-12))

    def drop(self, logits: Floats, label: int) -> np.float32:
        """d_CL (Eq. 2) of a label, d_WL (Eq. 3) of -1 or of a label that the network does not know."""
        masked = self.network.outputs(logits)
        if label >= 0 and np.isfinite(self.whole.class_scores[0, label]):
            return np.maximum(self.whole.class_scores[0, label] - masked.class_scores[0, label], 0)
        top = np.argsort(-self.whole.scores[0], kind="stable")[: self.top_classes or 5]
        return np.maximum(self.whole.scores[0, top] - masked.scores[0, top], 0).sum()

    def similarity(self, a: Region, b: Region) -> float:
        """Equation 4, with equal weights."""
        image_size = np.float32(self.size**2)
        drop = 1 - abs(a.drop - b.drop) * max(1 - a.drop, 1 - b.drop)
        appearance = np.minimum(a.phi, b.phi).sum()
        size = 1 - (a.n_pixels + b.n_pixels) / image_size
        union = boxes.area(boxes.union(a.xyxy, b.xyxy)[None])[0]
        fill = 1 - (union - a.n_pixels - b.n_pixels) / image_size
        return float(
            np.float32(0.25) * drop + np.float32(0.25) * appearance + np.float32(0.25) * size + np.float32(0.25) * fill
        )

    def pass_through(self, input: torch.Tensor) -> Floats:
        """(1, c) logits of a (1, 3, s, s) input."""
        self.passes += 1
        return self.network.logits(input).cpu().numpy()

    def to_image(self, xyxy: Floats) -> Floats:
        """(n, 4) boxes of the frame in pixels of the original image."""
        return boxes.scale(xyxy, (self.size, self.size), self.image_hw)
