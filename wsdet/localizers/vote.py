"""Proposals in the order of their expected overlap with the object: every proposal votes for those that overlap it.

A class score alone prefers the part that tells the class best, a cat's face to the cat. Proposals crowd around whole
objects, faces and scenes alike, so a box is better judged by all of them: proposal i is the object with a prior weight
that follows from its class score f(i), p_i ~ f(i)^score_exponent, and a box is worth its expected IoU with the object.
Summed over all proposals, that pulls every box to one place in the image, and a second object's box never comes up.
Summed over the proposals that may be of the same object, IoU(b, b_i) >= voting_iou, several objects keep their boxes,
but a single one is found less often. The score is the geometric mean of both (docs/pseudo_boxes.md has the
measurements):

    E(b) = sqrt( sum_i p_i IoU(b, b_i) * sum_{i: IoU(b, b_i) >= voting_iou} p_i IoU(b, b_i) )

Weakly supervised region scores (`wsdet.linear_models.region_classifier`, trained on the data's labels) are factors of
it: p_i ~ f(i)^score_exponent s_ic^0.15 r_ic^1.5, with s_ic of its WSDDN heads and r_ic of its refined ones.

The best boxes are occluded in turn, as in self-taught localization, and the class score that is left is g(b): the less,
the more of the object the box holds. Its logarithm counts, so that the drop does not saturate:

    score(b) = E(b) (e / (e + g(b)))^occlusion_weight

Each box that is kept takes the average place of the boxes that overlap it, by their scores ("box voting", Gidaris and
Komodakis, ICCV 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsdet import boxes, check
from wsdet.linear_models.region_classifier import RegionClassifier
from wsdet.localizers.dialogue import Dialogue
from wsdet.localizers.responses import has_output, response_of
from wsdet.questions import Masked, Note, RegionFeatures, Regions, Whole
from wsdet.tiles import Tiling
from wsdet.types import Boxes, ProposalSource, Sample

_EPSILON = 1e-3  # e: a class score that is left below this is as good as none
_SAME = 0.8  # IoU of boxes that need not both be occluded


class Vote:
    """The boxes of a source in the order of their expected IoU with the object of each label.

    An image costs about twenty forward passes, and one for each box that is occluded. An image without labels is
    localized by the classes that the network predicts best for it, as in STL-WL, and so is a label that the network has
    no output for.

    Args:
        source: gives boxes, best first.
        weights: the file of a trained `RegionClassifier`; None scores by the network alone.
        n_proposals: how many of them are looked at; 0: all.
        score_exponent: of class scores in the prior weights, above 0. The better the network, the higher it may be.
        n_occluded: how many of a label's best boxes are occluded in turn; 0: none.
        occlusion_weight: how much the class score that is left then counts, the exponent above, >= 0.
        smallest: smaller boxes than this share of the image, or of a tile, are no candidates for the object, in [0, 1).
        top_classes: how many classes are localized where there is no label.
        voting_iou: least overlap with a box of what votes for it as the same object, in [0, 1]; 0: everything does.
        nms_iou: overlap above which the lesser box is dropped.
        voting_exponent: of the scores by which overlapping boxes are averaged into a kept one, >= 0: the higher, the
            more the better ones count; None: a box stays where it was proposed.
        max_boxes: maximum number of boxes of a label, 0 for all.
        tile: side of the tiles off whose maps boxes are read, see `wsdet.tiles.Tiling`; None: off the image's.
        tile_overlap: see there.

    Raises:
        InputError: there is no usable region classifier in the file; or
            an argument is outside its range.
    """

    def __init__(
        self,
        source: ProposalSource,
        weights: Path | str | None = None,
        n_proposals: int = 400,
        score_exponent: float = 0.2,
        n_occluded: int = 40,
        occlusion_weight: float = 0.1,
        smallest: float = 0.02,
        top_classes: int = 5,
        voting_iou: float = 0.0,
        nms_iou: float = 0.5,
        voting_exponent: float | None = 10.0,
        max_boxes: int = 0,
        tile: float | None = None,
        tile_overlap: float = Tiling.overlap,
    ) -> None:
        check.at_least(0, n_proposals=n_proposals, max_boxes=max_boxes, n_occluded=n_occluded)
        check.at_least(1, top_classes=top_classes)
        check.at_least(0.0, occlusion_weight=occlusion_weight)
        check.positive(score_exponent=score_exponent)
        check.within("[0, 1)", smallest=smallest)
        check.share(nms_iou=nms_iou, voting_iou=voting_iou)
        if voting_exponent is not None:
            check.at_least(0.0, voting_exponent=voting_exponent)
        self.source = source
        self.classifier = None if weights is None else RegionClassifier.load(weights)
        self.n_proposals = n_proposals
        self.score_exponent = score_exponent
        self.n_occluded = n_occluded
        self.occlusion_weight = occlusion_weight
        self.smallest = smallest
        self.top_classes = top_classes
        self.voting_iou = voting_iou
        self.nms_iou = nms_iou
        self.voting_exponent = voting_exponent
        self.max_boxes = max_boxes
        self.tiling = Tiling.of(tile, tile_overlap)

    def check(self, classes: Sequence[str], network: str) -> None:
        """Whether what was learned fits the classes of a data set and the fingerprint of a network.

        Raises:
            InputError: it does not.
        """
        if self.classifier:
            self.classifier.check(classes, network)

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """Boxes of each label, scored as above; the whole image where no proposal is large enough."""
        (h, w), xyxy = sample.size_hw, self.source.propose(sample).xyxy[: self.n_proposals or None]
        x1, y1, x2, y2 = self.tiling.windows((h, w))[-1].tolist() if self.tiling else (0, 0, w, h)
        xyxy = xyxy[boxes.area(xyxy) >= self.smallest * (x2 - x1) * (y2 - y1)]
        if not len(xyxy):
            xyxy = np.array([[0, 0, w, h]], np.float32)
        whole, inside = yield [Whole(), Regions(xyxy, self.tiling)]
        if self.classifier:
            (features,) = yield [RegionFeatures(xyxy, self.classifier.grid, self.tiling)]
            learned = self.classifier.prior_weights(features, sample.image_id)
        found = []
        for label in sample.labels or (-1,):
            response = response_of(label, whole, self.top_classes)
            prior_weights = response(inside).sum(axis=1) ** self.score_exponent
            if self.classifier and label >= 0:
                prior_weights = prior_weights * learned[:, label]
            scores = boxes.vote_scores(xyxy, prior_weights, self.voting_iou)
            # a class without an output has no score that could drop
            if self.n_occluded and self.occlusion_weight and (label < 0 or has_output(label, whole)):
                best = boxes.nms(xyxy, scores, _SAME)[: self.n_occluded]
                (occluded,) = yield [Masked(xyxy[best])]
                # left without the others: the whole score, which is above 1 where it is the sum over several classes
                left = np.full(len(xyxy), max(1.0, float(response(whole).sum())), np.float32)
                left[best] = response(occluded).sum(axis=1)
                scores = scores * (_EPSILON / (_EPSILON + left)) ** self.occlusion_weight
            yield [Note("votes", {"label": label, "xyxy": xyxy, "prior_weights": prior_weights})]
            kept = boxes.nms(xyxy, scores, self.nms_iou)[: self.max_boxes or None]
            placed = (
                xyxy[kept]
                if self.voting_exponent is None
                else boxes.voted(xyxy[kept], xyxy, scores, self.voting_exponent)
            )
            found.append(Boxes(placed, scores[kept], np.full(len(kept), label)))
        return Boxes.concatenate(found)
