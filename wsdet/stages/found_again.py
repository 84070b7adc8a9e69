"""Whether boxes can be learned: detectors trained on the boxes of half of some images look for those of the others.

Boxes that lie about the same thing in every image are found again where they were not seen, boxes that lie anywhere
are not. Nothing but the boxes themselves is asked for; docs/trust.md says how well it ranks runs by ground truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsdet.localizers.instances import choose_instances
from wsdet.metrics.average_precision import Matches, average_precision, match
from wsdet.metrics.bootstrap import bootstrap_interval, nanmean
from wsdet.stages.positives import equally_weighted
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Run
from wsdet.storage.fingerprints import Fingerprints
from wsdet.types import Boxes, Doubles, InputError

_RESAMPLES = 200
_N_PROPOSALS = 300  # that detectors look at in an image
_IN_TILES = 1000  # the same where there are proposals of its tiles, too


@dataclass(frozen=True, eq=False)
class FoundAgain:
    """How the detectors' boxes fared.

    Attributes:
        ids: of the images.
        matches: for each class, against the boxes that were looked for.
    """

    ids: Sequence[str]
    matches: Sequence[Matches]

    def by_class(self, counts: Doubles | None = None) -> Doubles:
        """(k,) average precision in [0, 1], NaN for a class without boxes.

        Args:
            counts: (m,) how often each image counts; None: once.
        """
        return average_precision(self.matches, weights=counts)

    def mean(self, counts: Doubles | None = None) -> float:
        """Its mean over the classes; NaN without boxes."""
        return nanmean(self.by_class(counts))

    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of the mean over the images; NaN without any."""
        if not len(self.ids):
            return float("nan"), float("nan")
        return bootstrap_interval(self.mean, len(self.ids), _RESAMPLES)

    def n_images(self) -> Doubles:
        """(k,) images that have a box of each class."""
        return np.array([(one.n_objects > 0).sum() for one in self.matches], np.float64)


def found_again(run: Run, proposals: Recipe, store: Mapping[str, Boxes], ids: Sequence[str]) -> FoundAgain:
    """Trains an R-CNN on the boxes of every other image, and one on the rest's; each looks at what it has not seen.

    Args:
        run: gives images, network and the random seed.
        proposals: where the detectors look; where they are of tiles, the detectors look at these, too.
        store: boxes of a localizer by image id.
        ids: the images, in the order in which they are dealt out to the halves.
    """
    from wsdet.detectors.rcnn.features import Maps, RoiFeatures
    from wsdet.detectors.rcnn.map_cache import MapCache
    from wsdet.detectors.rcnn.protocol import TrainingProtocol
    from wsdet.detectors.rcnn.training import train_detectors

    where = run.propose(proposals, ids)
    wanted = equally_weighted(choose_instances(store, ids))
    tile = {key: proposals.settings[key] for key in ("tile", "tile_overlap") if key in proposals.settings}
    n_proposals = _IN_TILES if tile else _N_PROPOSALS
    features, protocol = RoiFeatures(run.network, **tile), TrainingProtocol(max_proposals=n_proposals, rounds=1)
    cache = MapCache(run.shared / "feature_maps", features, fingerprint=Fingerprints(run.dataset, labels=False))

    def maps(image_id: str) -> Maps:
        return cache.maps(image_id, lambda: features.maps(run.dataset.load(image_id)))

    found, seed = {}, run.execution.seed
    for own, others in ((ids[::2], ids[1::2]), (ids[1::2], ids[::2])):
        try:
            trained = train_detectors(
                run.dataset, own, {"boxes": wanted}, where, features, protocol, None, seed, cache, calibrated=False
            )
        except InputError:  # no box at all to learn from
            continue
        for image_id in others:
            xyxy, seen = where[image_id].xyxy[:n_proposals], maps(image_id)
            found[image_id] = trained["boxes"].select(xyxy, features.features(seen, xyxy), seen.size_hw)
    return FoundAgain(ids, match(found, wanted, ids, len(run.dataset.classes)))
