"""Calibration of SVMs in images that they were not trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsdet.detectors.positives import ground_truth_positives
from wsdet.detectors.rcnn.calibration import calibrate
from wsdet.detectors.rcnn.detector import RcnnDetector
from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.detectors.rcnn.mining import SvmTrainer
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.training import train_detectors
from wsdet.linear_models.calibration import Calibration
from wsdet.types import Boxes, InputError


@pytest.fixture
def trainer(squares: Any, network: Any) -> SvmTrainer:
    truth = ground_truth_positives(squares, squares.ids("train"))
    features, protocol = RoiFeatures(network), TrainingProtocol(c=1.0)
    one = SvmTrainer(squares, squares.ids("train"), {"truth": truth}, squares.proposals, features, protocol)
    one.run()
    return one


def test_an_image_is_scored_by_classifiers_that_did_not_see_it(trainer: SvmTrainer) -> None:
    """What they say of an image does not depend on what it is taken for."""
    before = {image_id: scores for image_id, _, scores in trainer.held_out_scores(3, 100)}
    assert set(before) == set(trainer.images.ids)
    fold = np.random.default_rng(trainer.seed).permutation(len(trainer.images.ids))[::3]
    own = np.isin(trainer.pool.images[: len(trainer.pool)], fold)
    kept = trainer.pool.targets[: len(trainer.pool)].copy()
    trainer.pool.targets[: len(trainer.pool)][own] *= -1
    after = {image_id: scores for image_id, _, scores in trainer.held_out_scores(3, 100)}
    trainer.pool.targets[: len(trainer.pool)] = kept
    for index, image_id in enumerate(trainer.images.ids):
        same = np.allclose(before[image_id], after[image_id], atol=1e-3)
        assert same == (index in fold), image_id


def test_no_more_images_than_asked_for(trainer: SvmTrainer) -> None:
    assert len(list(trainer.held_out_scores(2, 5))) == 5


def test_boxes_on_squares_become_probable_and_others_do_not(squares: Any, trainer: SvmTrainer) -> None:
    truth = ground_truth_positives(squares, squares.ids("train"))
    found = calibrate(trainer, {"truth": truth}, 0.3)["truth"]
    assert found is not None
    p = found.probabilities(np.array([-1.5, 3.0], np.float32), np.zeros(2, np.int64))
    assert p[0] < 0.1
    assert p[1] > 0.5


def test_wrong_boxes_make_no_box_probable(squares: Any, network: Any) -> None:
    """Boxes anywhere are not found again in other images."""
    rng = np.random.default_rng(0)
    ids = squares.ids("train")
    corners = {i: rng.uniform(0, 30, (1, 2)) for i in ids}
    anywhere = {
        i: Boxes(np.concatenate([at, at + 12], axis=1), np.ones(1, np.float32), squares.truth[i].labels[:1])
        for i, at in corners.items()
    }
    features = RoiFeatures(network)
    wrong = train_detectors(squares, ids, {"pseudo": anywhere}, squares.proposals, features)["pseudo"]
    truth = ground_truth_positives(squares, ids)
    right = train_detectors(squares, ids, {"truth": truth}, squares.proposals, features, TrainingProtocol(c=1.0))
    best = {
        name: np.mean([one.detect(squares.load(i), squares.proposals[i]).scores[0] for i in squares.ids("train")])
        for name, one in {"wrong": wrong, "right": right["truth"]}.items()
    }
    assert best["wrong"] < best["right"]


def test_the_calibration_is_saved_and_an_earlier_detector_still_loads(network: Any, tmp_path: Path) -> None:
    features = RoiFeatures(network, grid=1)
    weights, biases = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    calibration = Calibration(3.0, (0.5, 0.0, -0.5))
    RcnnDetector(features, ("a", "b", "c"), weights, biases, calibration=calibration).save(tmp_path)
    assert RcnnDetector.load(tmp_path, features=features).calibration == calibration
    described = json.loads((tmp_path / "model.json").read_text())
    del described["calibration"]
    (tmp_path / "model.json").write_text(json.dumps(described))
    assert RcnnDetector.load(tmp_path, features=features).calibration == Calibration.fixed(3)
    (tmp_path / "model.json").write_text(json.dumps(described | {"calibration": {"slope": -1}}))
    with pytest.raises(InputError, match="'calibration' cannot be used"):
        RcnnDetector.load(tmp_path, features=features)
