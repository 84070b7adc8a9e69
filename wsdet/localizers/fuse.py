"""Several localizers in one: boxes that they agree on, with the agreement as confidence.

Weighted boxes fusion (Solovyev et al., Image and Vision Computing 2021). Departure: the scores of different localizers
cannot be compared, so a box's vote is 1 over its rank among its member's boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsdet import boxes, check
from wsdet.localizers.dialogue import Dialogue, side_by_side
from wsdet.questions import Localizer
from wsdet.types import Boxes, Floats, InputError, Ints, Sample


class Fuse:
    """Fused boxes of other localizers.

    Best first, each box of a member joins the cluster whose fused box it overlaps most, or starts one. A cluster is
    one box; its score is the weighted share of its members' best votes: 1 where every member has its best box there,
    at most a member's share where that member is alone.

    Args:
        members: localizers by name, at least one.
        weights: how much each member's votes count, above 0; None: all the same.
        combine: a cluster's corners: "mean", weighted by the votes, or "median" of its boxes.
        iou_threshold: least overlap with a cluster's fused box to join it.
        n_boxes: best boxes of each member that count for a label.
        max_boxes: maximum number of fused boxes of a label; 0: all.

    Raises:
        InputError: an argument is outside its range.
    """

    def __init__(
        self,
        members: Mapping[str, Localizer],
        weights: Mapping[str, float] | None = None,
        combine: Literal["mean", "median"] = "mean",
        iou_threshold: float = 0.5,
        n_boxes: int = 10,
        max_boxes: int = 0,
    ) -> None:
        if not members:
            raise InputError("members must be at least one localizer, got none")
        weights = dict.fromkeys(members, 1.0) if weights is None else dict(weights)
        if set(weights) != set(members):
            raise InputError(f"weights must be one for each of {sorted(members)}, got {weights}")
        check.each(check.positive, weights=weights)
        check.one_of(("mean", "median"), combine=combine)
        check.share(iou_threshold=iou_threshold)
        check.at_least(1, n_boxes=n_boxes)
        check.at_least(0, max_boxes=max_boxes)
        self.members = dict(members)
        self.shares = np.array([weights[name] for name in members], np.float32) / np.float32(sum(weights.values()))
        self.combine = combine
        self.iou_threshold = iou_threshold
        self.n_boxes = n_boxes
        self.max_boxes = max_boxes

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """Fused boxes of each label, scored by agreement in (0, 1]; with label -1 when no member gives a label.

        A member's box without label counts for every label of the image.
        """
        found = yield from side_by_side([member.localize(sample) for member in self.members.values()])
        is_labeled = any((own.labels >= 0).any() for own in found)
        return Boxes.concatenate(
            self._fuse(found, label, sample.size_hw) for label in (sample.labels if is_labeled else (-1,))
        )

    def _fuse(self, found: Sequence[Boxes], label: int, size_hw: tuple[int, int]) -> Boxes:
        ballots = self._ballots(found, label)
        clusters: list[Ints] = []
        fused = np.zeros((0, 4), np.float32)
        for row in range(len(ballots.xyxy)):
            overlaps = boxes.iou(ballots.xyxy[row : row + 1], fused)[0]
            if len(overlaps) and overlaps.max() >= self.iou_threshold:
                best = int(overlaps.argmax())
                clusters[best] = np.append(clusters[best], row)
                fused[best] = self._combined(ballots, clusters[best])
            else:
                clusters.append(np.array([row]))
                fused = np.concatenate([fused, ballots.xyxy[row : row + 1]])
        confidences = np.array([self._confidence(ballots, cluster) for cluster in clusters], np.float32)
        order = np.argsort(-confidences, kind="stable")[: self.max_boxes or None]
        return Boxes(boxes.clip(fused[order], size_hw), confidences[order], np.full(len(order), label))

    def _ballots(self, found: Sequence[Boxes], label: int) -> _Ballots:
        """The members' best boxes for a label, highest vote first."""
        own = [each[(each.labels == label) | (each.labels == -1)] for each in found]
        ranked = [each[np.argsort(-each.scores, kind="stable")[: self.n_boxes]] for each in own]
        votes = np.concatenate([1 / np.arange(1, len(each) + 1, dtype=np.float32) for each in ranked])
        members = np.repeat(np.arange(len(ranked)), [len(each) for each in ranked])
        order = np.argsort(-votes * self.shares[members], kind="stable")
        return _Ballots(Boxes.concatenate(ranked).xyxy[order], votes[order], members[order])

    def _combined(self, ballots: _Ballots, cluster: Ints) -> Floats:
        """(4,) corners of a cluster."""
        if self.combine == "median":
            return np.median(ballots.xyxy[cluster], axis=0).astype(np.float32)
        weights = (ballots.votes * self.shares[ballots.members])[cluster]
        return (weights @ ballots.xyxy[cluster] / weights.sum()).astype(np.float32)

    def _confidence(self, ballots: _Ballots, cluster: Ints) -> float:
        """Weighted share of the members' best votes for a cluster."""
        best = np.zeros(len(self.shares), np.float32)
        np.maximum.at(best, ballots.members[cluster], ballots.votes[cluster])
        return float(best @ self.shares)


@dataclass(frozen=True, eq=False)
class _Ballots:
    """Boxes to fuse.

    Attributes:
        xyxy: (n, 4) corners.
        votes: (n,) in (0, 1], 1 for a member's best box.
        members: (n,) index of the member that each comes from.
    """

    xyxy: Floats
    votes: Floats
    members: Ints
