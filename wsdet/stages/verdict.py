"""How far a run's boxes can be trusted, said without ground truth, with the likely cause where they cannot.

The verdict is a number in [0, 1]: the mean average precision with which detectors find boxes again in images that they
were not trained on (`wsdet.stages.found_again`). What `wsdet.metrics.signals` measures on some images that are looked
at again (`wsdet.stages.evidence`) points to causes. docs/trust.md says how well it ranks runs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsdet.sampling import limited
from wsdet.stages.evidence import Evidence, gather
from wsdet.stages.found_again import FoundAgain, found_again
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Run
from wsdet.types import Boxes, InputError

log = logging.getLogger(__name__)

Signals = Mapping[str, float]

GOOD, BAD = 0.3, 0.1  # from which on, and below which, see docs/trust.md
_LEVELS = {  # no more than what was measured of trust allows to say
    "good": "a detector finds them again in images that it has not seen",
    "unsure": "look at them first",
    "bad": "look at them before anything else",
}
LOOKED_AT_AGAIN = 30  # images, at most: each costs two localizations
_FEWEST = 5  # images of a class to say anything of it


@dataclass(frozen=True)
class Cause:
    """Something that makes boxes go wrong, and what to try.

    Attributes:
        name: in a word.
        holds: whether signals, and the number of classes, point to it.
        text: what it says, with signals in braces.
        remedy: the next thing to try.
    """

    name: str
    holds: Callable[[Signals, int], bool]
    text: str
    remedy: str


FIXED = Cause(
    "fixed boxes",
    lambda of, n_classes: of["whole_image"] + of["center_box"] >= 0.4 or of["stable_by_chance"] >= 0.8,
    "{whole_image:.0%} of the boxes are the whole image, {center_box:.0%} its middle, "
    "{stable_by_chance:.0%} where those of other images are",
    "compare with localizer=center_box: if objects fill their images, they need no better boxes",
)
CAUSES = (
    Cause(
        "unseen class",
        lambda of, n_classes: n_classes > 1 and of["class_ranking"] < 0.7,
        "the network hardly tells images with a class from others (ranking {class_ranking:.2f}, chance is 0.5)",
        "check the labels; network.head=finetune trains outputs of its own, or take a better network=",
    ),
    Cause(
        "one class",
        lambda of, n_classes: n_classes == 1,
        "there is one class alone, so nothing is told from it",
        "add images of something else as a second class",
    ),
    Cause(
        "crowds",
        lambda of, n_classes: of["suggested_objects"] >= 1.8,
        "scores suggest {suggested_objects:.1f} objects of a class in an image",
        "detector.keep_above=0.5 trains on more of them",
    ),
    Cause(
        "small objects",
        lambda of, n_classes: of["area"] < 0.06,
        "half of the boxes are below {area:.1%} of their image",
        "tile=0.5 looks at parts of the images, too; or localizer.smallest=0.001 and localizer.n_proposals=1000",
    ),
    FIXED,
    Cause(
        "unstable",
        lambda of, n_classes: of["stable_beyond_chance"] < 0.3,
        "boxes move when images are mirrored or cut ({stable:.0%} stay, {stable_by_chance:.0%} would by chance)",
        "python -m wsdet.choose with the same data= and network= tries other localizers",
    ),
)


def verdict_of(again: FoundAgain, evidence: Evidence, classes: Sequence[str]) -> dict[str, Any]:
    """What `metrics.json` has as `verdict`: plain values, None where there is nothing to say.

    Returns:
        `trust`, its 95 % `interval` over the images, `level` (good, unsure, bad), `says`, `causes` (`name`, `text`,
        `remedy`), `signals`, `by_class` (trust, of classes with enough images), `images`.
    """
    signals = evidence.signals()
    value, (low, high) = again.mean(), again.interval()
    is_fixed = FIXED.holds(signals, len(classes))  # such boxes are found again, whatever they lie about
    level = "bad" if value < BAD else "good" if value >= GOOD and not is_fixed else "unsure"
    causes = [] if level == "good" else [one for one in CAUSES if one.holds(signals, len(classes))]
    of, enough = again.by_class(), again.n_images() >= _FEWEST
    return {
        "trust": _plain(value),
        "interval": None if math.isnan(low) else [low, high],
        "level": level,
        "says": _LEVELS[level],
        "causes": [{"name": one.name, "text": one.text.format(**signals), "remedy": one.remedy} for one in causes],
        "signals": {name: _plain(signal) for name, signal in signals.items()},
        "by_class": {name: float(of[label]) for label, name in enumerate(classes) if enough[label]},
        "images": len(again.ids),
    }


def judge(
    run: Run, recipe: Recipe, proposals: Recipe, store: Mapping[str, Boxes], n_images: int
) -> dict[str, Any] | None:
    """The verdict on a localizer's boxes of the training images; None where none is to be had.

    Args:
        run: gives images and network.
        recipe: of the localizer.
        proposals: where detectors look for its boxes.
        store: its boxes.
        n_images: maximum number of images that detectors are trained on and look at; 0: there is no verdict.
    """
    if not n_images:
        return None
    ids = limited(with_boxes(run, store), n_images, run.execution.seed)
    if not ids:
        log.info("there is no verdict: no image with a label has a box")
        return None
    log.info(
        "verdict: of %d images, does a detector trained on the boxes of one half find the other's? (verdict=0: none)",
        len(ids),
    )
    try:
        with run.timings.stage("verdict"):
            again = found_again(run, proposals, store, ids)
        with run.timings.stage("look_again"):
            evidence = gather(run, recipe, store, min(n_images, LOOKED_AT_AGAIN))
    except InputError as error:
        log.warning("there is no verdict: %s", error)
        return None
    return verdict_of(again, evidence, run.dataset.classes)


def with_boxes(run: Run, store: Mapping[str, Boxes]) -> list[str]:
    """The training images with a label in which a localizer found something."""
    return [i for i in run.train_ids if i in store and len(store[i]) and run.dataset.labels(i)]


def text_of(verdict: Mapping[str, Any], out: Path) -> str:
    """The verdict in words, one statement a line, for the end of a run in the folder `out`."""
    of, between = verdict["trust"], verdict["interval"]
    said = "-" if of is None else f"{of:.2f}" + (f" ({between[0]:.2f} to {between[1]:.2f})" if between else "")
    lines = [
        f"trust in the boxes, without ground truth: {said} of 1, {verdict['says']}",
        *(f"{one['text']}: {one['remedy']}" for one in verdict["causes"]),
        "no proof (docs/trust.md): boxes that are always wrong alike are found again, too; "
        f"thirty judged by you say more: python -m wsdet.review run={out} judge=30",
    ]
    return "\n  ".join(lines)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
