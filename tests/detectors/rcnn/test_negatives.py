from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wsdet.detectors.rcnn.features import Maps
from wsdet.detectors.rcnn.negatives import first_negatives, hard_negatives
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.tasks import Tasks
from wsdet.detectors.rcnn.training_images import TrainingImage
from wsdet.types import Bools

TASKS = Tasks(("one",), ((0, 0), (0, 1)))
XYXY = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]], np.float32)
SCORES = np.array([[0.5, 1.0], [0.5, 0.9], [0.7, 1.0], [0.5, 1.0]], np.float32)
NONE = np.zeros((4, 2), bool)


def image(positive: tuple[bool, bool] = (False, False)) -> TrainingImage:
    """Four proposals; the second is on an object of the second class."""
    negative = np.ones((4, 2), bool)
    negative[1, 1] = False
    return TrainingImage("one", 0, XYXY, Maps((), (10, 70)), negative, np.zeros((4, 2), np.float32), np.array(positive))


def hard(known: Bools = NONE, positive: tuple[bool, bool] = (False, False), **rules: Any) -> list[list[bool]]:
    """For each task, which proposals are taken."""
    limits = {"hard_per_image": 0, "hard_rows_per_image": 0, "share_negatives": False} | rules
    taken: list[list[bool]] = hard_negatives(
        image(positive), SCORES, known, TASKS, TrainingProtocol(**limits)
    ).T.tolist()
    return taken


def test_equal_scores_do_not_exceed_the_hard_negatives_of_an_image() -> None:
    assert hard(hard_per_image=2) == [[True, False, True, False], [True, False, True, False]]
    assert hard() == [[True, True, True, True], [True, False, True, True]]


def test_a_detector_takes_its_highest_scores_over_all_classes() -> None:
    assert hard(hard_rows_per_image=2) == [[True, False, True, False], [True, False, True, False]]
    # a proposal that one class takes serves every class that it is a negative of
    shared = hard(hard_per_image=1, share_negatives=True)
    assert shared == [[True, False, True, False], [True, False, True, False]]
    assert hard(hard_per_image=1) == [[False, False, True, False], [True, False, False, False]]


def test_only_scores_above_the_limit_are_hard() -> None:
    assert hard(hard_above=0.6) == [[False, False, True, False], [True, False, True, True]]


def test_what_a_task_has_is_not_taken_again_and_counts_to_its_limit() -> None:
    known = NONE.copy()
    known[2, 0] = True
    assert hard(known, hard_per_image=1)[0] == [True, False, False, False]
    assert hard(known, negatives_per_image=1) == [[False] * 4, [True, False, True, True]]


def test_positive_images_give_none_where_the_rules_say_so() -> None:
    assert hard(positive=(False, True), mine_positive_images=False) == [[True] * 4, [False] * 4]


@pytest.mark.parametrize("n_random", [0, 2, 9])
def test_the_sampled_proposals_are_the_same_for_every_task(n_random: int) -> None:
    chosen = first_negatives(image(), TrainingProtocol(), n_random, np.random.default_rng(0))
    assert chosen[:, 0].sum() == min(n_random, 4)
    assert (chosen[:, 1] == (chosen[:, 0] & image().negative[:, 1])).all()
