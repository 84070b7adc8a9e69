"""Several sources in one list, each giving its boxes in turn: what one kind of box misses, another finds.

Boxes around contours (EdgeBoxes) and boxes of regions (Selective Search) miss different objects, so a small list of
each covers more than a large one of either, in less time (docs/proposals.md has the figures).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wsdet import check
from wsdet.proposals.ordering import distinct
from wsdet.types import Boxes, InputError, ProposalSource, Sample


class Interleave:
    """The boxes of several sources, so that every beginning of the list holds the same share of each source's.

    Args:
        sources: by any names, in the order in which equal places are taken.
        max_boxes: maximum number of boxes of an image; 0: all.

    Raises:
        InputError: there is no source, or `max_boxes` is below 0.
    """

    def __init__(self, sources: Mapping[str, ProposalSource], max_boxes: int = 2000) -> None:
        if not sources:
            raise InputError("sources must name at least one source of boxes, got none")
        check.at_least(0, max_boxes=max_boxes)
        self.sources = dict(sources)
        self.max_boxes = max_boxes

    def propose(self, sample: Sample) -> Boxes:
        """The joined list without repeats. Sources' scores do not compare: the score is the negative place."""
        lists = [source.propose(sample).xyxy for source in self.sources.values()]
        place = np.concatenate([(np.arange(len(xyxy)) + 0.5) / max(len(xyxy), 1) for xyxy in lists])
        xyxy = np.concatenate(lists)[np.argsort(place, kind="stable")]
        xyxy = xyxy[distinct(xyxy)][: self.max_boxes or None]
        return Boxes(xyxy, scores=-np.arange(len(xyxy), dtype=np.float32))
