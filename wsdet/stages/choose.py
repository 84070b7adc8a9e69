"""Which of some localizers to take for a data set, ranked without ground truth by `wsdet.stages.found_again`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from wsdet.report.text_tables import Cell, table
from wsdet.sampling import limited
from wsdet.stages.found_again import FoundAgain, found_again
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Run
from wsdet.types import InputError

log = logging.getLogger(__name__)

_DRAWS = 200


@dataclass(frozen=True, eq=False)
class Candidate:
    """A localizer that was tried.

    Attributes:
        name: of the network and the localizer.
        again: how its boxes were found again.
        seconds: for each image of the sample, proposals and what had to be trained for it among them.
    """

    name: tuple[str, str]
    again: FoundAgain
    seconds: float


def tried(run: Run, network: str, recipes: Iterable[Recipe], proposals: Recipe, n_images: int) -> list[Candidate]:
    """Localizers at work on a sample of a run's training images; those that cannot be built are left out, and said.

    Args:
        run: gives images and network.
        network: its name.
        recipes: of the localizers.
        proposals: where detectors look for their boxes.
        n_images: maximum number of images.
    """
    ids, candidates = limited(run.train_ids, n_images, run.execution.seed), []
    for recipe in recipes:
        start = time.perf_counter()
        try:
            store, _ = run.localize(recipe, ids)
            seconds = (time.perf_counter() - start) / max(1, len(ids))
            again = found_again(run, proposals, store, ids)
            candidates.append(Candidate((network, recipe.name), again, seconds))
        except InputError as error:
            log.warning("%s with %s is left out: %s", recipe.name, network, error)
    return candidates


def chances_of_being_best(candidates: Sequence[Candidate], n_draws: int = _DRAWS, seed: int = 0) -> list[float]:
    """How often each candidate has the highest trust when the images are drawn again with replacement.

    All are compared on the same draws. Equal ones share; one without boxes is never best.
    """
    n_images = len(candidates[0].again.ids) if candidates else 0
    wins, draw = np.zeros(len(candidates)), np.random.default_rng(seed)
    for _ in range(n_draws if n_images else 0):
        counts = np.bincount(draw.integers(n_images, size=n_images), minlength=n_images).astype(float)
        values = np.array([one.again.mean(counts) for one in candidates])
        best = np.nan_to_num(values, nan=-1) == np.nanmax(np.append(values, 0))
        wins += best / max(1, best.sum())
    return (wins / max(1, n_draws)).tolist()


def ranked(candidates: Sequence[Candidate]) -> tuple[list[tuple[Candidate, float]], str]:
    """The candidates, highest trust first, each with its chance of being the best, and the table of them."""
    pairs = zip(candidates, chances_of_being_best(candidates), strict=True)
    order = sorted(pairs, key=lambda pair: np.nan_to_num(pair[0].again.mean(), nan=-1), reverse=True)
    cells: list[list[Cell]] = []
    for one, chance in order:
        low, high = one.again.interval()
        between = "-" if np.isnan(low) else f"{low:.2f}-{high:.2f}"
        cells.append([*one.name, one.again.mean(), between, f"{chance:.0%}", f"{one.seconds:.2f}"])
    return order, table(["network", "localizer", "trust", "95 %", "is best", "seconds/image"], cells)
