from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsdet.detectors.rcnn import pool_classifiers
from wsdet.detectors.rcnn.examples import ExamplePool
from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.detectors.rcnn.mining import SvmTrainer
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.svm import SvmProblem
from wsdet.types import Boxes, InputError, Sample

FAST = TrainingProtocol(random_negatives=4, hard_per_image=2, hard_rows_per_image=5, rounds=1)
STL = TrainingProtocol(
    loss="hinge",
    positive_weight="balanced",
    random_negatives=1,
    random_in_positive_images=False,
    near_iou=0.0,
    near_per_image=20,
    rounds=1,
    hard_above=None,
    hard_per_image=1,
    hard_rows_per_image=0,
    mine_positive_images=False,
    negatives_per_image=30,
    evict_below=None,
    share_negatives=False,
)
RCNN = TrainingProtocol(
    loss="hinge",
    random_negatives=0,
    whole_first_image=True,
    rounds=1,
    hard_above=-1.0001,
    hard_per_image=0,
    hard_rows_per_image=0,
    retrain_after=20,
    share_negatives=False,
)


def trainer(squares: Any, network: Any, protocol: TrainingProtocol = FAST, **changed: Any) -> SvmTrainer:
    arguments: dict[str, Any] = {
        "dataset": squares,
        "ids": squares.ids("train"),
        "positives": {"ground_truth": squares.truth},
        "proposals": squares.proposals,
        "protocol": protocol,
    }
    return SvmTrainer(features=changed.pop("features", None) or RoiFeatures(network), **(arguments | changed))


def collected(squares: Any, network: Any, protocol: TrainingProtocol = FAST, **changed: Any) -> ExamplePool:
    """The examples that training starts with: those of a run without a round."""
    one = trainer(squares, network, replace(protocol, rounds=0), **changed)
    one.run()
    return one.pool


def test_positives_are_the_boxes_given(squares: Any, network: Any) -> None:
    pool = collected(squares, network)
    positive = pool.targets[: len(pool)] > 0
    assert positive.sum(axis=0).tolist() == [4, 4, 4]
    assert (positive.sum(axis=1) <= 1).all()
    # features of all classes are brought to the protocol's norm
    assert 5 < pool.x[: len(pool)].norm(dim=1).mean() < 80


def test_a_proposal_on_an_object_is_no_negative_of_its_class(squares: Any, network: Any) -> None:
    protocol = replace(FAST, random_negatives=100)
    pool = collected(squares, network, protocol)
    targets, boxes, images = (column[: len(pool)] for column in (pool.targets, pool.boxes, pool.images))
    on_the_object = boxes == 0  # the first proposal of every image
    assert on_the_object.sum() == 12
    for sign, image in zip(targets[on_the_object], images[on_the_object], strict=True):
        label = squares.labels(f"train{image:02d}")[0]
        assert sign[label] == 0
        assert (np.delete(sign, label) == -1).all()  # for the other classes it is a good one


def test_stl_takes_one_random_box_of_a_negative_image(squares: Any, network: Any) -> None:
    pool = collected(squares, network, STL)
    for image in range(12):
        label = squares.labels(f"train{image:02d}")[0]
        rows = pool.rows_of(image)
        negatives = (pool.targets[rows] < 0).sum(axis=0)
        assert np.delete(negatives, label).tolist() == [1, 1]
        assert 1 <= negatives[label] <= 20


def test_near_negatives_overlap_the_object_and_not_one_another(squares: Any, network: Any) -> None:
    from wsdet.boxes import iou

    protocol = replace(STL, near_iou=0.05, negative_iou=0.5, near_nms=0.2, near_per_image=0, random_negatives=0)
    pool = collected(squares, network, protocol)
    seen = 0
    for image, image_id in enumerate(squares.ids("train")):
        label = squares.labels(image_id)[0]
        rows = pool.rows_of(image)
        xyxy = squares.proposals[image_id].xyxy[pool.boxes[rows[pool.targets[rows, label] < 0]]]
        seen += len(xyxy)
        overlap = iou(xyxy, squares.truth[image_id].xyxy)
        assert ((overlap >= 0.05) & (overlap < 0.5)).all()
        assert (iou(xyxy, xyxy) - np.eye(len(xyxy)) <= 0.2).all()
    assert seen > 0


def test_rcnn_starts_with_all_of_the_first_image(squares: Any, network: Any) -> None:
    pool = collected(squares, network, RCNN)
    assert set(pool.images[: len(pool)][pool.boxes[: len(pool)] >= 0].tolist()) == {0}
    assert len(pool.rows_of(0)) == 41


@pytest.mark.parametrize("protocol", [FAST, STL, RCNN], ids=["fast", "stl", "rcnn"])
@pytest.mark.parametrize("solver", ["newton_cg", "liblinear"])
def test_every_protocol_finds_the_squares(squares: Any, network: Any, protocol: TrainingProtocol, solver: str) -> None:
    features = RoiFeatures(network)
    # twelve images ask for a larger C than a thousand
    trained = trainer(squares, network, replace(protocol, c=1.0), features=features, solver=solver).run()
    right = 0
    for image_id, boxes in squares.proposals.items():
        x = features.features(features.maps(squares.load(image_id)), boxes.xyxy)
        scores = trained.classifiers.scores(x)
        right += int(scores[:, squares.labels(image_id)[0]].argmax()) == 0
    assert right >= 11


def test_a_round_adds_what_the_detectors_take_for_objects(squares: Any, network: Any) -> None:
    protocol = replace(FAST, random_negatives=1, evict_below=None)
    start, one = trainer(squares, network, replace(protocol, rounds=0)), trainer(squares, network, protocol)
    first, before = start.run().classifiers, len(start.pool)
    one.run()
    pool, new = one.pool, slice(before, len(one.pool))
    assert 0 < len(pool) - before <= 12 * 5
    scores = first.scores(pool.x[new].float() / one.scale).numpy()
    assert ((pool.targets[new] < 0) & (scores > -1.0)).any(axis=1).all()
    pairs = list(zip(pool.images[: len(pool)], pool.boxes[: len(pool)], strict=True))
    proposals = [pair for pair in pairs if pair[1] >= 0]
    assert len(proposals) == len(set(proposals))


def test_a_full_pool_forgets_easy_negatives_and_no_positive(squares: Any, network: Any) -> None:
    one = trainer(squares, network, replace(FAST, random_negatives=2), max_rows=40)
    trained = one.run()
    assert len(one.pool) <= 40
    assert (one.pool.targets[: len(one.pool)] > 0).sum() == 12
    assert trained.classifiers.weights.isfinite().all()


def test_positives_that_do_not_fit_are_an_error(squares: Any, network: Any) -> None:
    with pytest.raises(InputError, match="max_rows"):
        trainer(squares, network, max_rows=5).run()


@pytest.mark.parametrize("protocol", [FAST, STL, RCNN], ids=["fast", "stl", "rcnn"])
def test_detectors_do_not_see_one_another(squares: Any, network: Any, protocol: TrainingProtocol) -> None:
    shifted = {i: Boxes(boxes.xyxy * 0.8, boxes.scores, boxes.labels) for i, boxes in squares.truth.items()}
    alone = trainer(squares, network, protocol, positives={"pseudo": shifted}).run()
    beside = trainer(squares, network, protocol, positives={"ground_truth": squares.truth, "pseudo": shifted}).run()
    assert beside.tasks.by_detector()[1].tolist() == [3, 4, 5]
    torch.testing.assert_close(beside.classifiers.weights[:, 3:], alone.classifiers.weights, atol=2e-3, rtol=0.02)


def test_the_seed_decides_everything(squares: Any, network: Any) -> None:
    first, again, other = (trainer(squares, network, seed=seed).run() for seed in (0, 0, 1))
    assert torch.equal(first.classifiers.weights, again.classifiers.weights)
    assert not torch.equal(first.classifiers.weights, other.classifiers.weights)


def test_the_order_of_the_images_changes_no_draw(squares: Any, network: Any) -> None:
    ids = squares.ids("train")

    def drawn(order: tuple[str, ...]) -> set[tuple[str, int]]:
        pool = collected(squares, network, ids=order)
        rows = range(len(pool))
        return {(order[pool.images[row]], int(pool.boxes[row])) for row in rows if pool.boxes[row] >= 0}

    assert drawn(ids) == drawn(ids[::-1])


def test_difficult_boxes_are_neither_positive_nor_negative(squares: Any, network: Any) -> None:
    flagged = dict(squares.truth)
    flagged["train00"] = Boxes(flagged["train00"].xyxy, labels=flagged["train00"].labels, difficult=np.array([True]))
    protocol = replace(FAST, random_negatives=100)
    pool = collected(squares, network, protocol, positives={"ground_truth": flagged})
    targets = pool.targets[: len(pool)]
    assert (targets > 0).sum(axis=0).tolist() == [3, 4, 4]
    rows = pool.rows_of(0)
    assert targets[rows[pool.boxes[rows] == 0], 0].tolist() == [0]


def test_an_image_with_a_label_and_no_box_gives_its_class_nothing(squares: Any, network: Any) -> None:
    positives = {image_id: boxes for image_id, boxes in squares.truth.items() if image_id != "train00"}
    pool = collected(squares, network, positives={"pseudo": positives})
    targets = pool.targets[pool.rows_of(0)]
    assert not targets[:, 0].any()
    assert (targets[:, 1:] == -1).all()


def test_maps_are_computed_once_with_a_cache(squares: Any, network: Any, tmp_path: Path) -> None:
    features = RoiFeatures(network)
    network.n_forward_passes = 0
    cached = trainer(squares, network, features=features, cache=MapCache(tmp_path, features)).run()
    assert network.n_forward_passes == 12 * 3
    plain = trainer(squares, network, features=features).run()
    assert torch.equal(cached.classifiers.weights, plain.classifiers.weights)


def test_a_bad_image_is_left_out(squares: Any, network: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        classes = squares.classes
        truth = squares.truth

        def labels(self, image_id: str) -> tuple[int, ...]:
            return squares.labels(image_id)

        def load(self, image_id: str) -> Sample:
            if image_id == "train03":
                raise InputError("train03 is no image")
            return squares.load(image_id)

    one = trainer(squares, network, dataset=Broken())
    one.run()
    assert 3 not in one.pool.images[: len(one.pool)]
    assert [record.message for record in caplog.records].count("train03 is left out: train03 is no image") == 1
    with pytest.raises(InputError, match="train03 is no image"):
        trainer(squares, network, dataset=Broken(), strict=True).run()


def test_no_readable_image_is_an_error(squares: Any, network: Any) -> None:
    class Broken:
        classes = squares.classes
        truth = squares.truth
        labels = staticmethod(squares.labels)

        def load(self, image_id: str) -> Sample:
            raise InputError(f"{image_id} is no image")

    with pytest.raises(InputError, match="no training image gave an example to learn from"):
        trainer(squares, network, dataset=Broken()).run()


def test_no_positive_at_all_is_an_error(squares: Any, network: Any) -> None:
    nothing: Mapping[str, Boxes] = {}
    with pytest.raises(InputError, match="no positive box"):
        trainer(squares, network, positives={"pseudo": nothing})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss": "log"}, "loss must be"),
        ({"c": []}, "c must have"),
        ({"c": -1.0}, r"c\[0\] must be"),
        ({"positive_weight": "equal"}, "positive_weight must be"),
        ({"positive_weight": 0}, "positive_weight must be"),
        ({"negative_iou": 0}, "negative_iou"),
        ({"near_iou": 0.4}, "near_iou must be"),
        ({"rounds": -1}, "rounds must be"),
        ({"folds": 1}, "folds must be"),
    ],
)
def test_wrong_rules_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingProtocol(**changed)


def test_a_class_is_trained_on_a_sample_of_its_images(squares: Any, network: Any) -> None:
    pool = collected(squares, network, replace(STL, positive_images=2, negative_images=4))
    targets, images = pool.targets[: len(pool)], pool.images[: len(pool)]
    assert (targets > 0).sum(axis=0).tolist() == [2, 2, 2]
    labels = np.array([squares.labels(image_id)[0] for image_id in squares.ids("train")])
    for task in range(3):
        negative = np.unique(images[targets[:, task] < 0])
        # two images of each other class, and the near negatives of the two positive images
        of_others = labels[negative[labels[negative] != task]].tolist()
        assert sorted(of_others) == sorted(2 * [label for label in range(3) if label != task])
        assert set(negative[labels[negative] == task]) <= set(images[targets[:, task] > 0])


def test_c_is_chosen_before_mining_and_again_after_it(
    squares: Any, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []

    def choose(problem: SvmProblem, *_: Any) -> Any:
        chosen.append(len(problem.examples))
        return np.full(problem.targets.shape[1], float(len(chosen)))

    monkeypatch.setattr(pool_classifiers, "choose_c", choose)
    once = trainer(squares, network, replace(STL, c=(0.1, 1.0))).run()
    assert len(chosen) == 3
    assert once.c.tolist() == [1, 2, 3]
    again = trainer(squares, network, replace(STL, c=(0.1, 1.0), choose_c_each_round=True)).run()
    assert len(chosen) == 9
    assert again.c.tolist() == [7, 8, 9]
    assert all(after > before for before, after in zip(chosen[3:6], chosen[6:], strict=True))  # with the hard negatives
