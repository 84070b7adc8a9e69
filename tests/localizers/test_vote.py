"""Votes of proposals, with made-up prior weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conftest import FakeNetwork
from wsdet import boxes
from wsdet.engine import localize_all
from wsdet.localizers.vote import Vote
from wsdet.questions import Masked, NetworkInput, Regions
from wsdet.types import Boxes, Floats, InputError, Sample

# a part, the object three times over, the scene, and a crumb of it
XYXY = np.array([[10, 10, 30, 30], [5, 5, 50, 50], [6, 4, 52, 50], [4, 6, 50, 52], [0, 0, 100, 100], [0, 0, 2, 2]])
SCORES = np.array([0.9, 0.6, 0.6, 0.6, 0.3, 1.0])  # of class 0: a part tells it best


class Source:
    def __init__(self, xyxy: Floats = XYXY) -> None:
        self.xyxy = xyxy

    def propose(self, sample: Sample) -> Boxes:
        return Boxes(self.xyxy.astype(np.float32).reshape(-1, 4))


ALL_OF_IT = np.array([[35, 3, 55, 10]], np.float32)


def oracle() -> FakeNetwork:
    """A network that sees class 1 in the scene alone, and has no output for class 2.

    Of class 0 half is left in an image without `ALL_OF_IT`, and nothing without a box that holds it.
    """
    return FakeNetwork(row, unknown=[2])


def row(one: NetworkInput) -> Floats:
    seen: Any = SCORES[0]
    if isinstance(one.question, Regions):
        seen = SCORES[boxes.iou(one.question.xyxy, XYXY.astype(np.float32)).argmax(axis=1)]
    elif isinstance(one.question, Masked):
        hidden = boxes.intersection(one.question.xyxy[one.row : one.row + 1], ALL_OF_IT)[0, 0]
        seen = 0.5 * (1 - hidden / boxes.area(ALL_OF_IT)[0])
    return np.stack([seen, 1 - seen, np.zeros_like(seen)], axis=-1)


def count_hidden(network: FakeNetwork) -> int:
    return sum(isinstance(question, Masked) for question in network.questions)


def localize(vote: Vote, labels: tuple[int, ...], network: FakeNetwork | None = None) -> Boxes:
    sample = Sample("a", np.zeros((100, 100, 3), np.uint8), labels)
    ((_, outcome),) = localize_all([("a", sample)], vote, network or oracle())
    assert not isinstance(outcome, InputError)
    return outcome


def test_the_object_on_which_proposals_agree_comes_before_the_part_that_scores_best() -> None:
    found = localize(Vote(Source()), (0,))
    assert boxes.iou(found.xyxy[:1], XYXY[1:2].astype(np.float32))[0, 0] > 0.8
    assert (np.diff(found.scores) <= 0).all()
    assert not (found.xyxy == XYXY[5]).all(axis=1).any()  # the crumb is no candidate


def test_full_trust_and_nothing_to_agree_with_take_the_score() -> None:
    apart = XYXY[[0, 4]]
    found = localize(Vote(Source(apart), score_exponent=50.0), (0,))
    assert found.xyxy[0].tolist() == apart[0].tolist()


def test_scores_are_the_geometric_mean_of_the_expected_iou_with_all_and_with_what_may_be_the_same() -> None:
    overlap = boxes.iou(XYXY[:1].astype(np.float32), XYXY[1:2].astype(np.float32))[0, 0]
    assert 0 < overlap < 0.5
    of_all = np.array([0.9 + 0.6 * overlap, 0.6 + 0.9 * overlap]) / 1.5
    of_same = np.array([0.9, 0.6]) / 1.5
    for voting_iou, expected in ((0.0, of_all), (0.5, np.sqrt(of_all * of_same))):
        found = localize(Vote(Source(XYXY[:2]), score_exponent=1.0, n_occluded=0, voting_iou=voting_iou), (0,))
        np.testing.assert_allclose(found.scores, expected, rtol=1e-5)


def test_a_second_object_keeps_its_box_where_only_boxes_of_the_same_object_vote() -> None:
    corners = np.array([[0, 0], [2, 0], [0, 2], [60, 60], [20, 20], [24, 22]])  # three on one object, one on another
    xyxy = np.concatenate([corners, corners + 30], axis=1).astype(np.float32)
    rank = [
        localize(Vote(Source(xyxy), voting_iou=voting_iou, voting_exponent=None, nms_iou=0.3), (2,)).xyxy.tolist()
        for voting_iou in (0.0, 0.5)
    ]
    second = xyxy[3].tolist()
    assert rank[1].index(second) <= rank[0].index(second)


def test_of_boxes_with_equal_votes_the_one_without_which_less_is_left_comes_first() -> None:
    pair = Source(np.array([[2, 30, 12, 60], [30, 2, 60, 12]]))  # the class is seen alike in both
    by_votes = localize(Vote(pair, n_occluded=40, occlusion_weight=0.0), (0,))
    found = localize(Vote(pair, n_occluded=40, occlusion_weight=0.1), (0,))
    assert by_votes.scores[0] == by_votes.scores[1]
    assert found.xyxy[0].tolist() == [30, 2, 60, 12]
    np.testing.assert_allclose(found.scores, by_votes.scores * [1, (0.001 / 0.501) ** 0.1], rtol=1e-5)


def test_a_kept_box_is_where_those_that_overlap_it_agree() -> None:
    stays, moves = (localize(Vote(Source(), voting_exponent=voting_exponent), (0,)) for voting_exponent in (None, 0.0))
    proposed = XYXY.astype(np.float32)
    assert (boxes.iou(stays.xyxy, proposed).max(axis=1) == 1).all()
    agreeing = boxes.iou(stays.xyxy[:1], proposed[:5])[0] >= 0.5
    assert agreeing.sum() > 1
    np.testing.assert_allclose(moves.xyxy[0], proposed[:5][agreeing].mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(stays.scores, moves.scores)


def test_boxes_are_not_hidden_for_a_class_without_output_but_are_for_an_image_without_label() -> None:
    for labels, expected in (((2,), 0), ((), 3)):
        network = oracle()
        localize(Vote(Source(), n_occluded=40), labels, network)
        assert count_hidden(network) == expected


def test_a_box_that_was_hidden_in_vain_is_not_put_behind_one_that_was_not_tried() -> None:
    pair = Source(np.array([[2, 30, 12, 60], [30, 2, 60, 12]]))
    # a network that sees both of its classes everywhere, whatever is hidden, as sigmoid scores can
    sure = FakeNetwork(lambda one: np.full((2, 2) if isinstance(one.question, Regions) else 2, 0.9))
    found = localize(Vote(pair, n_occluded=1), (), sure)
    assert found.xyxy[0].tolist() == [2, 30, 12, 60]
    assert found.scores[0] == found.scores[1]


@pytest.mark.parametrize(
    ("n_occluded", "occlusion_weight", "expected"), [(2, 0.1, 2), (40, 0.1, 3), (0, 0.1, 0), (40, 0.0, 0)]
)
def test_so_many_distinct_boxes_are_hidden(n_occluded: int, occlusion_weight: float, expected: int) -> None:
    network = oracle()  # of the object's three boxes one is enough
    localize(Vote(Source(), n_occluded=n_occluded, occlusion_weight=occlusion_weight), (0,), network)
    assert count_hidden(network) == expected


def test_every_label_has_boxes_a_class_without_output_and_an_image_without_label_by_the_top_classes() -> None:
    found = localize(Vote(Source(), top_classes=1, n_occluded=0), (0, 1, 2))
    assert set(found.labels) == {0, 1, 2}
    own, unknown = (found[found.labels == label] for label in (0, 2))
    np.testing.assert_array_equal(own.xyxy, unknown.xyxy)
    weakly = localize(Vote(Source(), top_classes=1, n_occluded=0), ())
    assert set(weakly.labels) == {-1}
    np.testing.assert_array_equal(weakly.xyxy, own.xyxy)


@pytest.mark.parametrize("xyxy", [np.zeros((0, 4)), XYXY[5:]], ids=["none", "a crumb"])
def test_without_a_candidate_it_is_the_whole_image(xyxy: Floats) -> None:
    assert localize(Vote(Source(xyxy), smallest=0.02), (0,)).xyxy.tolist() == [[0, 0, 100, 100]]


def test_so_many_are_looked_at_and_kept() -> None:
    assert localize(Vote(Source(), n_proposals=1), (0,)).xyxy.tolist() == [XYXY[0].tolist()]
    assert len(localize(Vote(Source(), max_boxes=1), (0, 1))) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_proposals": -1},
        {"max_boxes": -1},
        {"top_classes": 0},
        {"score_exponent": 0},
        {"smallest": 1},
        {"voting_exponent": -1.0},
        {"nms_iou": 2},
        {"n_occluded": -1},
        {"occlusion_weight": -0.1},
    ],
)
def test_impossible_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Vote(Source(), **wrong)
