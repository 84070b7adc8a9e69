"""DAM: the neurons that a class score owes most to, mapped back into the image (CS231n reports, Stanford 2016).

Neurons of a late layer are ranked by activation x effect; guided backpropagation of each of the best shows the pixels
that feed it, whose strongest make a blob. The blobs that the classifier still knows the class in are united: their
union is a rough segmentation, its bounding box the answer.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from wsdet import boxes, check
from wsdet.localizers.dialogue import Dialogue, side_by_side
from wsdet.questions import GuidedBackprop, Kept, NeuronRank, Note, Outputs, Whole
from wsdet.types import Bools, Boxes, Floats, Pixels, Sample

_REFERENCE_SIDE = 224  # pixels; what `dilate` and `erode` are counted at


class Dam:
    """One box a class, scored by the mean class score of the blobs that it unites.

    The network's ranks for a class can be all 0: it has no output for it, or clips the output. Then the class that it
    predicts stands in, and if this has no positive rank either, the box is the whole image with score 0.

    Args:
        layer: name of the module whose neurons are ranked, such as `trunk.features.25` for the paper's 11th
            convolution of VGG-16 after its ReLU; None: the last map before pooling.
        kmax: neurons that are mapped back.
        k: blobs that are united, those of highest score.
        percentile: of the positive guided gradients; pixels from it on make the blob.
        guided_rank: whether the effect is a guided gradient, as in the authors' code; false: plain, as in the paper.
        dilate: pixels by which a blob first grows on every side, counted at an input of 224 (the authors' code: 20
            times a 4 x 4 kernel).
        erode: pixels by which it then shrinks (their code: 15 times).
        per: "label": a box for each label of the image; "top1": one for the class that the network predicts, without a
            label since that may be none of the data set's; "multi": one for each dataset class whose score is high,
            labeled with it. The last two do not look at the image's labels.
        score: of a blob: the class's "probability", or its "logit", before the softmax.
        relative: for "multi", the lowest high score as a share of the highest.

    Raises:
        InputError: an argument is outside its range.
    """

    def __init__(
        self,
        layer: str | None = None,
        kmax: int = 10,
        k: int = 5,
        percentile: float = 80.0,
        guided_rank: bool = False,
        dilate: float = 30.0,
        erode: float = 22.5,
        per: Literal["label", "top1", "multi"] = "label",
        score: Literal["probability", "logit"] = "probability",
        relative: float = 0.5,
    ) -> None:
        check.at_least(1, k=k)
        check.at_least(k, kmax=kmax)
        check.within("[0, 100)", percentile=percentile)
        check.at_least(0.0, erode=erode)
        check.at_least(float(erode), dilate=dilate)
        check.one_of(("label", "top1", "multi"), per=per)
        check.one_of(("probability", "logit"), score=score)
        check.within("(0, 1]", relative=relative)
        self.layer = layer
        self.kmax = kmax
        self.k = k
        self.percentile = percentile
        self.guided_rank = guided_rank
        self.dilate = dilate
        self.erode = erode
        self.per = per
        self.score = score
        self.relative = relative

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """One box per class, best first unless the image's labels are followed."""
        (whole,) = yield [Whole()]
        classes = self._classes(sample, whole)
        found = Boxes.concatenate((yield from side_by_side([self._locate(c, sample, whole) for c in classes])))
        if self.per == "label":
            return found
        return found[np.argsort(-found.scores, kind="stable")]

    def _classes(self, sample: Sample, whole: Outputs) -> list[int]:
        """The classes to look for, -1 for the network's own best output."""
        scores = np.nan_to_num(whole.class_scores[0], nan=0.0)
        if self.per == "label":
            return list(sample.labels) or [-1]
        if self.per == "top1" or not scores.any():
            return [-1]
        return [int(c) for c in np.flatnonzero(scores >= self.relative * scores.max())]

    def _locate(self, label: int, sample: Sample, whole: Outputs) -> Dialogue[Boxes]:
        """The box of one class, and the evidence for it as a note."""
        followed = label if label >= 0 and np.isfinite(whole.class_scores[0, label]) else -1
        (neurons,) = yield [NeuronRank(self.kmax, followed, self.layer, self.guided_rank)]
        if followed >= 0 and not (neurons.ranks > 0).any():
            followed = -1
            (neurons,) = yield [NeuronRank(self.kmax, followed, self.layer, self.guided_rank)]
        (gradients,) = yield [GuidedBackprop(neurons.places[neurons.ranks > 0], self.layer)]
        found = ((blob_of(gradient, self.percentile, self.dilate, self.erode), gradient) for gradient in gradients)
        pairs = [(blob, gradient) for blob, gradient in found if blob.any()]
        blobs = [blob for blob, _ in pairs]
        if not blobs:
            h, w = sample.size_hw
            return Boxes(np.array([[0, 0, w, h]], np.float32), labels=np.array([label]))
        (kept,) = yield [Kept(np.stack(blobs))]
        scores = self._scores(kept, whole, followed)
        best = np.argsort(-scores, kind="stable")[: self.k]
        mask = np.any([blobs[i] for i in best], axis=0)
        seen = np.stack([_resized(blob, sample.size_hw) for blob in blobs])
        guided = np.sum([pairs[i][1] for i in best], axis=0).transpose(1, 2, 0)
        yield [
            Note("guided gradients", {"label": label, "gradients": guided}),
            Note("blobs", {"label": label, "blobs": seen, "scores": scores, "united": best}),
            Note("mask", {"label": label, "mask": seen[best].any(axis=0)}),
        ]
        xyxy = boxes.clip(boxes.scale(boxes.mask_to_xyxy(mask), mask.shape, sample.size_hw), sample.size_hw)
        return Boxes(xyxy, scores[best].mean(keepdims=True), np.array([label]))

    def _scores(self, kept: Outputs, whole: Outputs, followed: int) -> Floats:
        """(n,) scores of the class in what n blobs keep."""
        if followed >= 0 and self.score == "probability":
            return kept.class_scores[:, followed]
        # of several outputs that stand for the class, the one that speaks for the whole image
        best = whole.class_scores[0, followed] if followed >= 0 else whole.scores[0].max()
        output = int(np.abs(whole.scores[0] - best).argmin())
        return kept.scores[:, output] if self.score == "probability" else kept.logits[:, output]


def blob_of(gradient: Floats, percentile: float, dilate: float, erode: float) -> Bools:
    """(s, s) the largest connected region of the pixels that feed a neuron most.

    Args:
        gradient: (3, s, s) guided gradients.
        percentile: see `Dam`, as for `dilate` and `erode`.
        dilate: see there.
        erode: see there.
    """
    mean = gradient.mean(axis=0)
    positive = mean[mean > 0]
    if not len(positive):
        return np.zeros(mean.shape, bool)
    strong = (mean >= np.percentile(positive, percentile)) & (mean > 0)
    scale = len(mean) / _REFERENCE_SIDE
    margin = round(dilate * scale)  # else what grows to the border would not shrink from it
    grown = cv2.dilate(np.pad(strong.astype(np.uint8), margin), _square(margin))
    shrunk = cv2.erode(grown, _square(round(erode * scale)))
    inside = slice(margin, margin + len(mean))
    _, regions, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(shrunk[inside, inside]))
    return np.asarray(regions == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA]))


def _square(radius: int) -> Pixels:
    """A kernel that reaches so far on every side. One pass of it does what many passes of a small one do."""
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def _resized(mask: Bools, size_hw: tuple[int, int]) -> Bools:
    """A mask of the network's input as a mask of the original image."""
    return cv2.resize(mask.astype(np.uint8), size_hw[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
