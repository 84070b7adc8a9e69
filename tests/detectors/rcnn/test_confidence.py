"""Confidence follows the evidence in every class alike, and what is uncertain is treated as `weighting` says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wsdet.boxes import iou
from wsdet.detectors.positives import best_positives
from wsdet.detectors.rcnn.confidence import WEIGHTINGS, confidences, weigh
from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.detectors.rcnn.mining import SvmTrainer
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.types import Boxes

PLACES = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], np.float32)


def found(*scores: float, label: int = 0) -> Boxes:
    n = len(scores)
    return Boxes(PLACES[:n], np.array(scores), np.full(n, label))


def of(boxes_by_id: dict[str, Boxes], top_k: int = 1, others: tuple[dict[str, Boxes], ...] = ()) -> dict[str, Any]:
    best = best_positives(boxes_by_id, list(boxes_by_id), top_k)
    return {i: values.tolist() for i, values in confidences(best, boxes_by_id, others).items()}


def test_score_and_margin_decide_together() -> None:
    # scores rank c, b, a; margins 0.1 of a, 0.2 of c, 0.5 of b
    boxes = {"a": found(0.9, 0.8), "b": found(0.8, 0.3), "c": found(0.3, 0.1), "none": Boxes.empty()}
    confidence = of(boxes)
    assert confidence["b"] == pytest.approx([1.0])  # mean rank (2 + 3) / 2
    assert confidence["a"] == pytest.approx([2 / 3])  # (3 + 1) / 2
    assert confidence["c"] == pytest.approx([1 / 3])  # (1 + 2) / 2
    assert confidence["none"] == []


def test_a_box_alone_has_the_largest_margin() -> None:
    assert of({"alone": found(0.5), "other": found(0.5, 0.1)}) == {"alone": [1.0], "other": [0.5]}


def test_no_class_is_judged_by_another_s_scale() -> None:
    small = {f"s{i}": found(0.01 * i, 0.0, label=0) for i in range(1, 5)}
    large = {f"l{i}": found(100.0 * i, 0.0, label=1) for i in range(1, 5)}
    confidence = of(small | large)
    for i in range(1, 5):
        assert confidence[f"s{i}"] == confidence[f"l{i}"] == pytest.approx([i / 4])


def test_equal_evidence_is_equal_confidence() -> None:
    assert set(map(tuple, of({str(i): found(1.0) for i in range(4)}).values())) == {(0.625,)}


def test_agreement_with_other_localizers_counts() -> None:
    boxes, shift = {name: found(0.5, 0.4) for name in "abc"}, np.array([5, 0, 5, 0], np.float32)
    agnostic = {"a": Boxes(PLACES[:1]), "b": Boxes(PLACES[2:]), "c": Boxes(PLACES[:1] + shift)}
    confidence = of(boxes, others=(agnostic,))
    assert confidence["a"] > confidence["c"] > confidence["b"]
    lacking = of(boxes, others=({"a": agnostic["a"]},))
    assert lacking["a"] == [1.0]
    assert lacking["b"] == lacking["c"]
    wrong_label = {"a": Boxes(PLACES[:1], labels=np.array([7]))}
    assert len(set(map(tuple, of(boxes, others=(wrong_label,)).values()))) == 1


def test_every_one_of_the_best_k_has_its_own() -> None:
    confidence = of({"a": found(0.9, 0.5, 0.1), "b": found(0.2, 0.15)}, top_k=2)
    assert [len(values) for values in confidence.values()] == [2, 2]
    assert confidence["a"][0] > confidence["b"][0]


def test_what_the_weightings_make_of_it() -> None:
    boxes = {"sure": found(0.9), "uncertain": found(0.1), "other": found(0.4, label=1)}
    confidence = {
        "sure": np.array([1.0], np.float32),
        "uncertain": np.array([0.2], np.float32),
        "other": np.array([1.0], np.float32),
    }
    of_each = {weighting: weigh(boxes, confidence, weighting, 0.25) for weighting in WEIGHTINGS}
    assert [len(one) for one in of_each["keep"].values()] == [1, 0, 1]
    assert [one.difficult.tolist() for one in of_each["ignore"].values()] == [[False], [True], [False]]
    for weighting in ("none", "keep", "ignore"):
        assert all((one.scores == 1).all() for one in of_each[weighting].values())
    weights = {image_id: float(one.scores[0]) for image_id, one in of_each["weight"].items()}
    assert weights == pytest.approx({"sure": 1 / 0.6, "uncertain": 0.2 / 0.6, "other": 1.0})
    assert not any(one.difficult.any() for name in ("none", "keep", "weight") for one in of_each[name].values())


def test_the_threshold_itself_is_trusted() -> None:
    boxes, confidence = {"a": found(0.9)}, {"a": np.array([0.25], np.float32)}
    assert not weigh(boxes, confidence, "ignore", 0.25)["a"].difficult.any()


@pytest.mark.parametrize(("weighting", "below"), [("drop", 0.25), ("ignore", 1.5), ("ignore", -0.1)])
def test_wrong_arguments_are_named(weighting: str, below: float) -> None:
    with pytest.raises(ValueError, match=r"weighting must be|low_confidence_below must be"):
        weigh({}, {}, weighting, below)


@pytest.mark.parametrize("share_negatives", [False, True])
def test_an_ignored_region_is_neither_positive_nor_negative(squares: Any, network: Any, share_negatives: bool) -> None:
    """Exactly: every proposal below the IoU limit is a negative, none at or above it is an example of the class."""
    uncertain = {"train00", "train03"}
    confidence = {i: np.array([0.1 if i in uncertain else 1.0], np.float32) for i in squares.truth}
    positives = weigh(squares.truth, confidence, "ignore", 0.25)
    protocol = TrainingProtocol(random_negatives=100, share_negatives=share_negatives, rounds=0)
    one = SvmTrainer(
        squares, squares.ids("train"), {"pseudo": positives}, squares.proposals, RoiFeatures(network), protocol
    )
    one.run()
    targets, images, boxes = (column[: len(one.pool)] for column in (one.pool.targets, one.pool.images, one.pool.boxes))
    for index, image_id in enumerate(squares.ids("train")):
        label = squares.labels(image_id)[0]
        in_image = images == index
        assert (targets[in_image, label] > 0).sum() == (image_id not in uncertain)
        overlap = iou(squares.proposals[image_id].xyxy, squares.truth[image_id].xyxy)[:, 0]
        expected = np.where(overlap < 0.3, -1, 0)
        actual = np.zeros(len(overlap), int)
        rows = in_image & (boxes >= 0)
        actual[boxes[rows]] = targets[rows, label]
        np.testing.assert_array_equal(actual, expected)


def test_a_dropped_box_leaves_its_image_out_of_the_class(squares: Any, network: Any) -> None:
    confidence = {i: np.array([0.1 if i == "train00" else 1.0], np.float32) for i in squares.truth}
    positives = weigh(squares.truth, confidence, "keep", 0.25)
    protocol = TrainingProtocol(random_negatives=100, rounds=0)
    one = SvmTrainer(
        squares, squares.ids("train"), {"pseudo": positives}, squares.proposals, RoiFeatures(network), protocol
    )
    one.run()
    assert not one.pool.targets[: len(one.pool)][one.pool.images[: len(one.pool)] == 0, 0].any()


def test_weights_reach_the_objective(squares: Any, network: Any) -> None:
    """A box of next to no weight does not count: training is as if it were ignored."""
    protocol = TrainingProtocol(random_negatives=10, rounds=0, c=1e-3, share_negatives=False)
    base = {i: replace(boxes, scores=np.full(1, 1e-6 if i == "train00" else 1.0)) for i, boxes in squares.truth.items()}
    flagged = {i: replace(boxes, difficult=np.array([i == "train00"])) for i, boxes in squares.truth.items()}
    classifiers = []
    for positives in (base, flagged, squares.truth):
        one = SvmTrainer(
            squares, squares.ids("train"), {"pseudo": positives}, squares.proposals, RoiFeatures(network), protocol
        )
        classifiers.append(one.run().classifiers.weights[:, 0])
    assert (classifiers[0] - classifiers[1]).norm() < 0.01 * classifiers[1].norm()
    assert (classifiers[2] - classifiers[1]).norm() > 0.02 * classifiers[1].norm()


def test_a_positive_without_weight_is_an_error(squares: Any, network: Any) -> None:
    without = {i: Boxes(boxes.xyxy, labels=boxes.labels) for i, boxes in squares.truth.items()}
    with pytest.raises(ValueError, match="must be > 0"):
        SvmTrainer(
            squares, squares.ids("train"), {"p": without}, squares.proposals, RoiFeatures(network), TrainingProtocol()
        )
