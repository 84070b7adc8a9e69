"""Proposals in the order of their expected overlap with the object: every proposal votes for those that overlap it.

A class score alone prefers the part that tells the class best, a cat's face to the cat. Proposals crowd around whole
objects, faces and scenes alike, so a box is better judged by all of them: proposal i is taken to be the object as far
as the network sees the class in it, p_i ~ f(i)^trust, and a box is worth its expected IoU with the object. Summed over
all proposals, that pulls every box to one place in the image, and a second object's box never comes up. Summed over the
proposals that may be of the same object, IoU(b, b_i) >= voting_iou, several objects keep their boxes, but a single one
is found less often. The score is the geometric mean of both (docs/pseudo_boxes.md has the measurements):

    E(b) = sqrt( sum_i p_i IoU(b, b_i) * sum_{i: IoU(b, b_i) >= voting_iou} p_i IoU(b, b_i) )

What the data's own labels teach about its regions (`wsdet.linear_models.region_classifier`) weighs as well:
p_i ~ f(i)^trust s_ic^(1/3) r_ic^2, with s_ic of its WSDDN heads and r_ic of its refined ones.

Of the best boxes it is tried, as in self-taught localization, how much of the class is left when they are hidden, g(b):
the less, the more of the object they hold. The logarithm counts, so that the drop does not saturate:

    score(b) = E(b) (e / (e + g(b)))^hiding

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
from wsdet.types import Boxes, ProposalSource, Sample

_LITTLE = 1e-3  # e: of a class; less than that left is as good as nothing
_SAME = 0.8  # IoU of boxes that need not both be hidden


class Vote:
    """The boxes of a source in the order of their expected IoU with the object of each label.

    An image costs about twenty passes, and one for each box that is hidden. An image without labels is localized by the
    classes that the network predicts best for it, as in STL-WL, and so is a label that the network has no output for.

    Args:
        source: gives boxes, best first.
        weights: the file of a trained `RegionClassifier`; None believes the network alone.
        n_proposals: how many of them are looked at; 0: all.
        trust: in the network, above 0: the exponent of its probabilities. The better the network, the more it bears.
        n_hidden: how many of a label's best boxes are hidden in turn; 0: none.
        hiding: how much it counts what is left then, the exponent above, >= 0.
        smallest: smaller boxes than this share of the image are no candidates for the object, in [0, 1).
        top_classes: how many classes are followed where there is no label.
        voting_iou: least overlap with a box of what votes for it as the same object, in [0, 1]; 0: everything does.
        nms_iou: overlap above which the lesser box is dropped.
        sharpness: how much more the better of the overlapping boxes count for a kept box's place, the exponent of their
            scores, >= 0; None: it stays where it was proposed.
        max_boxes: keep so many boxes a label, 0 for all.

    Raises:
        InputError: there is no usable region classifier in the file; or
            an argument is outside its range.
    """

    def __init__(
        self,
        source: ProposalSource,
        weights: Path | str | None = None,
        n_proposals: int = 400,
        trust: float = 0.2,
        n_hidden: int = 40,
        hiding: float = 0.1,
        smallest: float = 0.02,
        top_classes: int = 5,
        voting_iou: float = 0.0,
        nms_iou: float = 0.5,
        sharpness: float | None = 10.0,
        max_boxes: int = 0,
    ) -> None:
        check.at_least(0, n_proposals=n_proposals, max_boxes=max_boxes, n_hidden=n_hidden)
        check.at_least(1, top_classes=top_classes)
        check.at_least(0.0, hiding=hiding)
        check.positive(trust=trust)
        check.within("[0, 1)", smallest=smallest)
        check.share(nms_iou=nms_iou, voting_iou=voting_iou)
        if sharpness is not None:
            check.at_least(0.0, sharpness=sharpness)
        self.source = source
        self.classifier = None if weights is None else RegionClassifier.load(weights)
        self.n_proposals = n_proposals
        self.trust = trust
        self.n_hidden = n_hidden
        self.hiding = hiding
        self.smallest = smallest
        self.top_classes = top_classes
        self.voting_iou = voting_iou
        self.nms_iou = nms_iou
        self.sharpness = sharpness
        self.max_boxes = max_boxes

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
        xyxy = xyxy[boxes.area(xyxy) >= self.smallest * h * w]
        if not len(xyxy):
            xyxy = np.array([[0, 0, w, h]], np.float32)
        whole, inside = yield [Whole(), Regions(xyxy)]
        if self.classifier:
            (features,) = yield [RegionFeatures(xyxy, self.classifier.grid)]
            learned = self.classifier.prior_weights(features, sample.image_id)
        found = []
        for label in sample.labels or (-1,):
            response = response_of(label, whole, self.top_classes)
            belief = response(inside).sum(axis=1) ** self.trust
            if self.classifier and label >= 0:
                belief = belief * learned[:, label]
            scores = boxes.vote_scores(xyxy, belief, self.voting_iou)
            # what the network knows nothing of cannot be missed
            if self.n_hidden and self.hiding and (label < 0 or has_output(label, whole)):
                best = boxes.nms(xyxy, scores, _SAME)[: self.n_hidden]
                (hidden,) = yield [Masked(xyxy[best])]
                # of those that are not tried: everything, which is more than 1 where several classes are followed
                left = np.full(len(xyxy), max(1.0, float(response(whole).sum())), np.float32)
                left[best] = response(hidden).sum(axis=1)
                scores = scores * (_LITTLE / (_LITTLE + left)) ** self.hiding
            yield [Note("votes", {"label": label, "xyxy": xyxy, "belief": belief})]
            kept = boxes.nms(xyxy, scores, self.nms_iou)[: self.max_boxes or None]
            placed = xyxy[kept] if self.sharpness is None else boxes.voted(xyxy[kept], xyxy, scores, self.sharpness)
            found.append(Boxes(placed, scores[kept], np.full(len(kept), label)))
        return Boxes.concatenate(found)
