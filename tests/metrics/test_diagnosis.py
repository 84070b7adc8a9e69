"""Ground-truth boxes corrupted on purpose land in the kind that they were corrupted to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from wsdet.boxes import iou, union
from wsdet.metrics.diagnosis import BOX_KINDS, ERROR_KINDS, box_kind, diagnose_boxes, diagnose_detections
from wsdet.types import Boxes, Floats

TWO = Boxes(np.array([[10, 10, 50, 50], [60, 10, 100, 50]], np.float32), labels=np.array([0, 1]))


@pytest.fixture(scope="module")
def synthetic_truth() -> Mapping[str, Boxes]:
    from wsdet.data.synthetic import Synthetic

    dataset = Synthetic(n_train=300, n_test=0)
    return {image_id: dataset.truth[image_id] for image_id in dataset.ids("train")}


@pytest.fixture(scope="module")
def voc_truth(shared: Path) -> Mapping[str, Boxes]:
    from wsdet.data.voc import Voc

    dataset = Voc(shared / "data" / "VOCdevkit")
    return {image_id: dataset.truth[image_id] for image_id in dataset.ids("train")[:600]}


def shrunk(xyxy: Floats) -> Floats:
    return moved(xyxy, 0.0, 0.6)


def grown(xyxy: Floats) -> Floats:
    return moved(xyxy, 0.0, 1.8)


def shifted(xyxy: Floats) -> Floats:
    return moved(xyxy, 0.6, 1.0)


def moved(xyxy: Floats, shift: float, factor: float) -> Floats:
    """(n, 4) corners moved by a share of their sides and scaled around their centers."""
    center, half = (xyxy[:, :2] + xyxy[:, 2:]) / 2, (xyxy[:, 2:] - xyxy[:, :2]) / 2
    center = center + shift * 2 * half
    return np.concatenate([center - factor * half, center + factor * half], axis=1)


def share(truth: Mapping[str, Boxes], corrupt: Callable[[Floats], Floats], kind: str) -> float:
    """Of the images with one object, how many corrupted boxes are of the kind."""
    alone = {image_id: true for image_id, true in truth.items() if len(true) == 1}
    boxes = {image_id: Boxes(corrupt(true.xyxy), labels=true.labels) for image_id, true in alone.items()}
    found = diagnose_boxes(boxes, alone, {image_id: true.labels.tolist() for image_id, true in alone.items()})
    assert len(found) > 50
    return float(np.mean([one.kind == kind for one in found]))


def share_of_merged(truth: Mapping[str, Boxes]) -> float:
    kinds = []
    for true in truth.values():
        if len(true) != 2:
            continue
        both = union(true.xyxy[:1], true.xyxy[1:])
        if iou(both, true.xyxy).max() <= 0.5:  # else the two together are still right for one
            kinds.append(box_kind(both, int(true.labels[0]), true)[0])
    assert len(kinds) > 10
    return float(np.mean([kind == "group of objects" for kind in kinds]))


CORRUPTED = [
    (lambda xyxy: xyxy, "correct"),
    (shrunk, "part only"),
    (grown, "too large"),
    (shifted, "wrong place"),
]
IDS = ["untouched", "shrunk", "grown", "shifted"]


@pytest.mark.parametrize(("corrupt", "kind"), CORRUPTED, ids=IDS)
def test_corrupted_synthetic_boxes_land_in_their_kind(
    synthetic_truth: Mapping[str, Boxes], corrupt: Callable[[Floats], Floats], kind: str
) -> None:
    assert share(synthetic_truth, corrupt, kind) >= 0.95


@pytest.mark.parametrize(("corrupt", "kind"), CORRUPTED, ids=IDS)
def test_corrupted_voc_boxes_land_in_their_kind(
    voc_truth: Mapping[str, Boxes], corrupt: Callable[[Floats], Floats], kind: str
) -> None:
    assert share(voc_truth, corrupt, kind) >= 0.95


def test_merged_synthetic_boxes_are_groups(synthetic_truth: Mapping[str, Boxes]) -> None:
    assert share_of_merged(synthetic_truth) >= 0.95


def test_merged_voc_boxes_are_groups(voc_truth: Mapping[str, Boxes]) -> None:
    assert share_of_merged(voc_truth) >= 0.95


@pytest.mark.parametrize(
    ("xyxy", "kind"),
    [
        ([], "no box"),
        ([[10, 10, 50, 50]], "correct"),
        ([[10, 10, 30, 50]], "part only"),  # IoU exactly 0.5
        ([[10, 10, 100, 50]], "group of objects"),
        ([[60, 10, 100, 50]], "other object"),
        ([[10, 10, 50, 130]], "too large"),
        ([[10, 40, 50, 80]], "wrong place"),
        ([[200, 200, 200, 200]], "wrong place"),
    ],
)
def test_kind_of_one_box(xyxy: list[list[float]], kind: str) -> None:
    assert kind in BOX_KINDS
    assert box_kind(np.array(xyxy, np.float32).reshape(-1, 4), 0, TWO)[0] == kind


def test_a_box_of_no_class_stands_for_every_class() -> None:
    found = diagnose_boxes({"a": TWO[:1]}, {"a": TWO}, {"a": (0, 1, 2)})
    assert [(one.label, one.row, one.kind) for one in found] == [(0, 0, "correct"), (1, -1, "no box")]
    agnostic = Boxes(TWO.xyxy[:1])
    found = diagnose_boxes({"a": agnostic}, {"a": TWO}, {"a": (0, 1)})
    assert [one.kind for one in found] == ["correct", "other object"]


def corrupted_detections(truth: Mapping[str, Boxes], kind: str) -> dict[str, Boxes]:
    """One detection an object; of the kind `duplicate`, two."""
    found = {}
    for image_id, true in truth.items():
        xyxy, labels = true.xyxy, true.labels
        if kind == "localization":
            xyxy = shrunk(xyxy)
        elif kind == "confusion":
            labels = (labels + 1) % 9
        elif kind == "background":
            xyxy = xyxy + 1000
        found[image_id] = Boxes(xyxy, np.full(len(true), 0.5), labels)
        if kind == "duplicate":
            found[image_id] = Boxes.concatenate([found[image_id], Boxes(moved(xyxy, 0.05, 1), labels=labels)])
        elif kind == "missed":
            found[image_id] = Boxes.empty()
    return found


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_corrupted_detections_land_in_their_kind_and_fixing_it_restores_ap(
    synthetic_truth: Mapping[str, Boxes], kind: str
) -> None:
    truth = {i: true[~true.difficult] for i, true in synthetic_truth.items()}
    truth = {i: true for i, true in truth.items() if len(true) == 1}
    result = diagnose_detections(corrupted_detections(truth, kind), truth, list(truth), 9)
    errors = [one for kinds in result.kinds.values() for one in kinds if one != "correct"]
    n_missed = sum(int(missed.sum()) for missed in result.missed.values())
    if kind == "missed":
        assert n_missed == len(truth)
        assert math.isnan(result.mean_ap_without["missed"])
    else:
        assert np.mean([one == kind for one in errors]) >= 0.95
        assert result.counts[kind].sum() >= 0.95 * len(truth)
    if kind in ("localization", "confusion"):
        assert result.mean_ap < 0.05
        assert result.mean_ap_without[kind] > 0.95
        assert n_missed == 0
    if kind == "duplicate":
        assert result.mean_ap_without[kind] == pytest.approx(1)
    assert sum(int(counts.sum()) for counts in result.counts.values()) == len(errors) + n_missed


def test_difficult_objects_and_nothing_at_all() -> None:
    difficult = Boxes(TWO.xyxy, labels=TWO.labels, difficult=np.array([True, False]))
    result = diagnose_detections({"a": Boxes(TWO.xyxy[:1], labels=np.array([0]))}, {"a": difficult}, ["a"], 2)
    assert result.kinds == {"a": ["ignored"]}
    assert result.missed["a"].tolist() == [False, True]
    assert math.isnan(diagnose_detections({}, {}, [], 2).mean_ap)


def test_fixing_a_kind_never_costs() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 80, (200, 2))
    xyxy = np.hstack([corner, corner + rng.uniform(10, 60, (200, 2))]).astype(np.float32)
    found = Boxes(xyxy, rng.random(200, np.float32), rng.integers(0, 2, 200))
    result = diagnose_detections({"a": found}, {"a": TWO}, ["a"], 2)
    assert all(fixed >= result.mean_ap - 1e-9 for fixed in result.mean_ap_without.values())
