"""Which of some localizers to take for a data set, ranked without ground truth by `wsdet.stages.verdict.trust`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from wsdet.report.text_tables import Cell, table
from wsdet.sampling import limited
from wsdet.stages.evidence import Evidence, gather
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Run
from wsdet.stages.verdict import trust, trust_interval
from wsdet.types import InputError, Ints

log = logging.getLogger(__name__)

_DRAWS = 200


@dataclass(frozen=True, eq=False)
class Candidate:
    """A localizer that was tried.

    Attributes:
        name: of the network and the localizer.
        evidence: what was seen of its boxes.
        seconds: for each image of the sample, proposals and what had to be trained for it among them.
    """

    name: tuple[str, str]
    evidence: Evidence
    seconds: float

    @property
    def trust(self) -> float:
        """In [0, 1]; NaN without boxes."""
        return trust(self.evidence.of(np.arange(len(self.evidence.labels))))


def tried(run: Run, network: str, recipes: Iterable[Recipe], n_images: int) -> list[Candidate]:
    """Localizers at work on a sample of a run's training images; those that cannot be built are left out, and said.

    Args:
        run: gives images and network.
        network: its name.
        recipes: of the localizers.
        n_images: maximum number of images.
    """
    ids, candidates = limited(run.train_ids, n_images, run.execution.seed), []
    for recipe in recipes:
        start = time.perf_counter()
        try:
            store, _ = run.localize(recipe, ids)
            seconds = (time.perf_counter() - start) / max(1, len(ids))
            candidates.append(Candidate((network, recipe.name), gather(run, recipe, store, n_images), seconds))
        except InputError as error:
            log.warning("%s with %s is left out: %s", recipe.name, network, error)
    return candidates


def chances_of_being_best(candidates: Sequence[Candidate], n_draws: int = _DRAWS, seed: int = 0) -> list[float]:
    """How often each candidate has the highest trust when the images are drawn again with replacement.

    All are compared on the same draws. Equal ones share; one without boxes is never best.
    """
    ids = sorted({image_id for one in candidates for image_id in one.evidence.ids})
    rows = [_rows_by_image(one.evidence, ids) for one in candidates]
    wins, draw = np.zeros(len(candidates)), np.random.default_rng(seed)
    for _ in range(n_draws if ids else 0):
        drawn = draw.integers(len(ids), size=len(ids))
        values = np.array(
            [
                trust(one.evidence.of(np.concatenate([of_image[image] for image in drawn])))
                for one, of_image in zip(candidates, rows, strict=True)
            ]
        )
        best = np.nan_to_num(values, nan=-1) == np.nanmax(np.append(values, 0))
        wins += best / max(1, best.sum())
    return (wins / max(1, n_draws)).tolist()


def ranked(candidates: Sequence[Candidate]) -> tuple[list[tuple[Candidate, float]], str]:
    """The candidates, highest trust first, each with its chance of being the best, and the table of them."""
    pairs = zip(candidates, chances_of_being_best(candidates), strict=True)
    order = sorted(pairs, key=lambda pair: -1 if math.isnan(pair[0].trust) else pair[0].trust, reverse=True)
    cells: list[list[Cell]] = []
    for one, chance in order:
        low, high = trust_interval(one.evidence)
        between = "-" if math.isnan(low) else f"{low:.2f}-{high:.2f}"
        cells.append([*one.name, one.trust, between, f"{chance:.0%}", f"{one.seconds:.2f}"])
    return order, table(["network", "localizer", "trust", "95 %", "is best", "seconds/image"], cells)


def _rows_by_image(evidence: Evidence, ids: Sequence[str]) -> list[Ints]:
    place = {image_id: index for index, image_id in enumerate(evidence.ids)}
    none = np.zeros(0, np.int64)
    return [np.flatnonzero(evidence.images == place[one]) if one in place else none for one in ids]
