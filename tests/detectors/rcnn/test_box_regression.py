"""The regression is ridge on R-CNN's whitened targets, and moves boxes to where the objects are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from wsdet.boxes import iou
from wsdet.detectors.rcnn.box_regression import BoxShifts, RegressionSums, moved, offsets_to, train_box_regression
from wsdet.detectors.rcnn.detector import RcnnDetector
from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.detectors.rcnn.options import SvmOptions
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.training import train_detectors
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.types import Boxes, Floats, InputError, Sample


def random_boxes(rng: np.random.Generator, n: int) -> Floats:
    corner = rng.uniform(0, 60, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(8, 30, (n, 2))], axis=1).astype(np.float32)


def test_offsets_known_by_hand() -> None:
    box = np.array([[10, 10, 30, 50]], np.float32)  # 20 x 40 around (20, 30)
    wanted = np.array([[20, 10, 60, 50]], np.float32)  # 40 x 40 around (40, 30)
    np.testing.assert_allclose(offsets_to(box, wanted), [[1, 0, np.log(2), 0]], atol=1e-6)


def test_moving_by_the_offsets_gives_the_object(rng: np.random.Generator) -> None:
    boxes, objects = random_boxes(rng, 50), random_boxes(rng, 50)
    there = moved(torch.from_numpy(boxes), torch.from_numpy(offsets_to(boxes, objects)), (100, 100))
    np.testing.assert_allclose(there.numpy(), objects, atol=1e-3)


def test_a_moved_box_stays_in_the_image_and_finite() -> None:
    boxes = torch.tensor([[10.0, 10.0, 30.0, 50.0], [10.0, 10.0, 30.0, 50.0], [5.0, 5.0, 5.0, 5.0]])
    offsets = torch.tensor([[-3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1e9, 1e9], [0.0, 0.0, 1e9, 1e9]])
    there = moved(boxes, offsets, (60, 80))
    assert there.isfinite().all()
    assert there[0].tolist() == [0, 10, 0, 50]
    assert there[1].tolist() == [0, 0, 80, 60]


@pytest.mark.parametrize("ridge", [1.0, 1000.0])
@pytest.mark.parametrize(
    ("n", "dim"), [(1500, 12), (30, 40), (2, 12)]
)  # more than one batch of sums; fewer than features
def test_equals_scikit_learn_on_whitened_targets(rng: np.random.Generator, n: int, dim: int, ridge: float) -> None:
    x = rng.normal(size=(n, dim)).astype(np.float32) * 6 + 1
    targets = (x @ rng.normal(size=(dim, 4)) * 0.01 + rng.normal(size=(n, 4)) * [0.1, 0.2, 0.05, 0.1] + 0.3).astype(
        np.float32
    )
    sums = RegressionSums(dim)
    for start in range(0, n, 100):
        sums.add(torch.from_numpy(x[start : start + 100]), torch.from_numpy(targets[start : start + 100]))
    weights, biases = sums.solve(ridge)

    mean = targets.mean(axis=0)
    eigenvalues, axes = np.linalg.eigh((targets - mean).T @ (targets - mean) / n)
    whiten = axes @ np.diag(1 / np.sqrt(eigenvalues + 0.001)) @ axes.T
    unwhiten = axes @ np.diag(np.sqrt(eigenvalues + 0.001)) @ axes.T
    with_constant = np.column_stack([x, np.ones(n)])
    reference = Ridge(alpha=ridge, fit_intercept=False).fit(with_constant, (targets - mean) @ whiten)
    expected = reference.predict(with_constant) @ unwhiten + mean
    np.testing.assert_allclose(x @ weights.numpy().T + biases.numpy(), expected, atol=1e-4)


def test_one_example_is_no_error() -> None:
    sums = RegressionSums(3)
    sums.add(torch.ones(1, 3), torch.tensor([[0.5, 0.0, 0.0, 0.0]]))
    weights, biases = sums.solve(1000.0)
    torch.testing.assert_close(torch.ones(3) @ weights.T + biases, torch.tensor([0.5, 0.0, 0.0, 0.0]))


def around(squares: Any) -> dict[str, Boxes]:
    """Proposals near every square, moved and scaled at random."""
    proposals = {}
    for image_id, truth in squares.truth.items():
        rng = np.random.default_rng(int(image_id[-2:]))
        xyxy = truth.xyxy + rng.uniform(-5, 5, (60, 4)).astype(np.float32)
        proposals[image_id] = Boxes(xyxy.clip(0, 64))
    return proposals


def test_boxes_move_to_their_objects(squares: Any, network: Any) -> None:
    features, proposals = RoiFeatures(network, grid=3), around(squares)
    shifts = train_box_regression(
        squares.ids("train"),
        lambda image_id: features.maps(squares.load(image_id)),
        {"ground_truth": squares.truth},
        proposals,
        features,
        4,
        scale=50.0,
        ridge=1.0,
    )["ground_truth"]
    assert not shifts.weights[3].any()  # there is no fourth class
    before, after = [], []
    for image_id, truth in squares.truth.items():
        label = squares.labels(image_id)[0]
        xyxy = np.array(proposals[image_id].xyxy)
        x = features.features(features.maps(squares.load(image_id)), xyxy).numpy()
        offsets = torch.from_numpy(x @ shifts.weights[label].T + shifts.biases[label])
        before.append(iou(xyxy, truth.xyxy))
        after.append(iou(moved(torch.from_numpy(xyxy), offsets, (64, 64)).numpy(), truth.xyxy))
    assert np.mean(after) > np.mean(before) + 0.05


def test_difficult_boxes_far_proposals_and_broken_images_teach_nothing(squares: Any, network: Any) -> None:
    features = RoiFeatures(network, grid=1)

    def maps_of(image_id: str) -> Any:
        if image_id == "train02":
            raise InputError("no image")
        return features.maps(squares.load(image_id))

    flagged = {
        image_id: Boxes(truth.xyxy, labels=truth.labels, difficult=truth.labels == 0)
        for image_id, truth in squares.truth.items()
    }
    far = around(squares) | {i: Boxes(squares.truth[i].xyxy * 0.3) for i in flagged if squares.labels(i) == (1,)}
    ids = [i for i in squares.ids("train") if squares.labels(i) != (2,) or i == "train02"]
    shifts = train_box_regression(ids, maps_of, {"pseudo": flagged}, far, features, 3)["pseudo"]
    assert not shifts.weights.any()
    assert not shifts.biases.any()


def test_the_detector_moves_what_it_scores(network: Any) -> None:
    features = RoiFeatures(network, grid=1)
    shifts = BoxShifts.zeros(2, 3)
    shifts.weights[0, 0, 1] = 0.5  # class 0: right by half a width where the box is green
    shifts.biases[1, 3] = np.log(2)  # class 1: twice as high
    weights, biases = np.eye(3, dtype=np.float32)[:2], np.zeros(2, np.float32)
    detector = RcnnDetector(features, ("a", "b"), weights, biases, shifts=shifts)
    found = detector.select(np.array([[20, 20, 30, 40]], np.float32), torch.tensor([[0.9, 1.0, 0.0]]), (45, 64))
    by_label = {int(label): xyxy.tolist() for label, xyxy in zip(found.labels, found.xyxy, strict=True)}
    assert by_label[0] == pytest.approx([25, 20, 35, 40])
    assert by_label[1] == pytest.approx([20, 10, 30, 45])  # 50 clipped to the image
    with pytest.raises(ValueError, match="shifts must have shapes"):
        RcnnDetector(features, ("a", "b"), weights, biases, shifts=BoxShifts.zeros(2, 4))


def test_trained_with_regression_boxes_fit_closer(squares: Any, network: Any) -> None:
    proposals, features = around(squares), RoiFeatures(network)
    mean_iou = {}
    for box_regression in (False, True):
        detector = train_detectors(
            squares,
            squares.ids("train"),
            {"ground_truth": squares.truth},
            proposals,
            features,
            TrainingProtocol(c=1.0, negative_iou=0.5),
            SvmOptions(box_regression=box_regression),
        )["ground_truth"]
        assert (detector.shifts is not None) == box_regression
        overlaps = []
        for image_id, truth in squares.truth.items():
            found = detector.detect(squares.load(image_id), proposals[image_id])
            overlaps.append(iou(found.xyxy[found.labels == truth.labels[0]], truth.xyxy).mean())
        mean_iou[box_regression] = np.mean(overlaps)
    assert mean_iou[True] > mean_iou[False]


def test_shifts_are_saved_and_loaded(tmp_path: Path, rng: np.random.Generator) -> None:
    features = RoiFeatures(Network(build_backbone("tiny", 5, 64), (), device="cpu"), grid=1, scales=(1.0,))
    weights = rng.normal(size=(2, features.dim)).astype(np.float32)
    shifts = BoxShifts(
        rng.normal(size=(2, 4, features.dim)).astype(np.float32) * 0.1, rng.normal(size=(2, 4)).astype(np.float32) * 0.1
    )
    detector = RcnnDetector(features, ("a", "b"), weights, np.zeros(2, np.float32), shifts=shifts)
    detector.save(tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["box_regression"] is True
    sample = Sample("a", rng.integers(0, 256, (80, 100, 3)).astype(np.uint8))
    proposals = Boxes(random_boxes(rng, 20))
    before, after = (one.detect(sample, proposals) for one in (detector, RcnnDetector.load(tmp_path, device="cpu")))
    np.testing.assert_array_equal(before.xyxy, after.xyxy)
    assert not np.isin(before.xyxy, proposals.xyxy).all()

    said = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(said | {"box_regression": "yes"}))
    with pytest.raises(InputError, match="'box_regression' is missing or of the wrong kind"):
        RcnnDetector.load(tmp_path, device="cpu")
