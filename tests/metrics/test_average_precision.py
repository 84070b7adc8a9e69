from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve
from torchvision.ops import box_iou

from wsdet.metrics.average_precision import (
    Matches,
    Points,
    average_precision,
    coco_average_precision,
    interpolated,
    match,
    precision_recall,
)
from wsdet.types import Boxes

TEN = [0.0, 0.0, 10.0, 10.0]
HALF = [0.0, 0.0, 10.0, 5.0]  # IoU exactly 0.5 with TEN
MORE_THAN_HALF = [0.0, 0.0, 10.0, 5.001]
FAR = [50.0, 50.0, 60.0, 60.0]


def boxes(
    *xyxy: Sequence[float],
    scores: Sequence[float] | None = None,
    difficult: Sequence[bool] | None = None,
    label: int = 0,
) -> Boxes:
    n = len(xyxy)
    return Boxes(
        np.array(xyxy, np.float32),
        np.array(scores or [0.5] * n, np.float32),
        np.full(n, label),
        np.array(difficult or [False] * n),
    )


def ap_of(detections: Boxes, truth: Boxes, points: Points = "all") -> float:
    return float(average_precision(match({"a": detections}, {"a": truth}, ["a"], 1), points)[0])


def random_boxes(rng: np.random.Generator, n: int, n_classes: int, side: float = 100) -> Boxes:
    corner, size = rng.uniform(0, side, (n, 2)), rng.uniform(side / 4, side, (n, 2))
    return Boxes(
        np.hstack([corner, corner + size]).astype(np.float32),
        rng.random(n, np.float32),
        rng.integers(0, n_classes, n),
        rng.random(n) < 0.2,
    )


@pytest.mark.parametrize(
    ("detections", "truth", "expected"),
    [
        pytest.param(boxes(), boxes(TEN), 0.0, id="nothing detected"),
        pytest.param(boxes(TEN), boxes(TEN), 1.0, id="the object itself"),
        pytest.param(boxes(HALF), boxes(TEN), 0.0, id="IoU of exactly 0.5 is not above 0.5"),
        pytest.param(boxes(MORE_THAN_HALF), boxes(TEN), 1.0, id="IoU just above 0.5"),
        pytest.param(boxes(FAR, TEN, scores=[0.9, 0.8]), boxes(TEN), 0.5, id="a wrong one first"),
        pytest.param(boxes(TEN, FAR, scores=[0.9, 0.8]), boxes(TEN), 1.0, id="a wrong one last"),
        pytest.param(
            boxes(TEN, TEN, FAR, scores=[0.9, 0.8, 0.7]), boxes(TEN, FAR), 0.5 + 0.5 * 2 / 3, id="a duplicate is wrong"
        ),
        pytest.param(boxes(FAR, TEN, scores=[0.5, 0.5]), boxes(TEN), 0.5, id="of equal scores the first comes first"),
        pytest.param(boxes(TEN, FAR, scores=[0.5, 0.5]), boxes(TEN), 1.0, id="and here it is right"),
        pytest.param(
            boxes(FAR, TEN, scores=[0.9, 0.8]), boxes(TEN, FAR, difficult=[False, True]), 1.0, id="difficult is ignored"
        ),
        pytest.param(
            boxes(FAR, FAR, TEN, scores=[0.9, 0.85, 0.8]),
            boxes(TEN, FAR, difficult=[False, True]),
            1.0,
            id="difficult twice is ignored twice",
        ),
        pytest.param(boxes(TEN), boxes(TEN, FAR), 0.5, id="one of two objects"),
        pytest.param(
            boxes(TEN, TEN, scores=[0.9, 0.8]),
            boxes(TEN, [0, 0, 10, 9]),
            0.5,
            id="a box counts for the object it overlaps most, never the next best",
        ),
    ],
)
def test_known_average_precision(detections: Boxes, truth: Boxes, expected: float) -> None:
    assert ap_of(detections, truth) == pytest.approx(expected, abs=1e-12)


def test_a_class_without_objects_has_no_average_precision() -> None:
    detections = {"a": Boxes.concatenate([boxes(TEN), boxes(TEN, label=1), boxes(TEN, label=2)])}
    truth = {"a": Boxes.concatenate([boxes(TEN), boxes(TEN, label=1, difficult=[True])])}
    found = average_precision(match(detections, truth, ["a"], 3))
    assert found[0] == 1
    assert np.isnan(found[1:]).all()


def test_no_images_and_no_detections() -> None:
    assert np.isnan(average_precision(match({}, {}, [], 2))).all()
    assert average_precision(match({}, {"a": boxes(TEN)}, ["a"], 1)).tolist() == [0]


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_outside_their_range_are_refused(label: int) -> None:
    with pytest.raises(ValueError, match=rf"labels of detections must be in \[0, 2\), got {label}"):
        match({"a": boxes(TEN, label=label)}, {"a": boxes(TEN)}, ["a"], 2)


def test_a_recall_of_three_tenths_counts_at_0_3() -> None:
    # 3 * 0.1 is a little more than 0.3 in floats
    precision, recall = np.array([1.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.3])
    assert interpolated(precision, recall, "11") == pytest.approx(4 / 11)


def test_both_interpolations_of_a_curve() -> None:
    precision, recall = np.array([1.0, 0.5, 2 / 3, 0.5]), np.array([0.5, 0.5, 1.0, 1.0])
    assert interpolated(precision, recall, "11") == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert interpolated(precision, recall, "all") == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_weights_count_an_image_as_often_as_it_was_drawn(rng: np.random.Generator) -> None:
    truth = {name: random_boxes(rng, 4, 2) for name in "abc"}
    detections = {name: Boxes.concatenate([true[:3], random_boxes(rng, 3, 2)]) for name, true in truth.items()}
    weighted = average_precision(match(detections, truth, "abc", 2), "all", np.array([2.0, 0.0, 1.0]))
    drawn = {"a": "a", "a again": "a", "c": "c"}
    repeated = average_precision(
        match({k: detections[v] for k, v in drawn.items()}, {k: truth[v] for k, v in drawn.items()}, list(drawn), 2),
        "all",
    )
    np.testing.assert_allclose(weighted, repeated, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("points", ["11", "all"])
def test_equals_voc_in_inclusive_pixels(seed: int, points: Points) -> None:
    """Small whole pixels and few scores: many overlaps of exactly 0.5, equal scores, duplicates and difficult boxes."""
    rng = np.random.default_rng(seed)
    found, true = ({name: _inclusive(rng, n) for name in "abcd"} for n in (6, 3))
    expected = _voc_average_precision(found, true, points)
    ours = average_precision(
        match({k: _continuous(v) for k, v in found.items()}, {k: _continuous(v) for k, v in true.items()}, "abcd", 1),
        points,
    )
    np.testing.assert_allclose(ours[0], expected, atol=1e-12)


def test_overlaps_equal_torchvision(rng: np.random.Generator) -> None:
    import torch

    detections, truth = random_boxes(rng, 50, 1), random_boxes(rng, 20, 1)
    (found,) = match({"a": detections}, {"a": truth}, ["a"], 1)
    expected = box_iou(torch.tensor(detections.xyxy), torch.tensor(truth.xyxy)).max(dim=1).values.numpy()
    np.testing.assert_allclose(found.iou, expected[np.argsort(-detections.scores)], atol=1e-6)


def test_curve_equals_scikit_learn(rng: np.random.Generator) -> None:
    """Every detection on an object of its own or on none, every object detected: a plain ranking."""
    right = rng.random(200) < 0.4
    scores = rng.permutation(200) / 200
    order = np.argsort(-scores)
    ranking = Matches(
        images=np.zeros(200, np.int64),
        scores=scores[order].astype(np.float32),
        iou=right[order].astype(float),
        correct=right[order],
        ignored=np.zeros(200, bool),
        n_objects=np.array([right.sum()]),
    )
    precision, recall = precision_recall(ranking)
    expected_precision, expected_recall, _ = precision_recall_curve(right, scores)
    np.testing.assert_allclose(precision, expected_precision[::-1][1:], atol=1e-12)
    np.testing.assert_allclose(recall, expected_recall[::-1][1:], atol=1e-12)
    assert np.diff(recall, prepend=0) @ precision == pytest.approx(average_precision_score(right, scores), abs=1e-12)


def test_eleven_points_equal_pycocotools_at_one_threshold(rng: np.random.Generator) -> None:
    """With objects that no box can overlap two of, COCO's greedy matching and VOC's are the same."""
    truth, detections = {}, {}
    for name in map(str, range(37)):
        place = 100.0 * np.arange(3)[:, None] + [0, 0, 50, 50]
        truth[name] = Boxes(place.astype(np.float32), labels=np.zeros(3, int))
        jitter = rng.uniform(-15, 15, (8, 4))
        xyxy = (place[rng.integers(0, 3, 8)] + jitter).astype(np.float32)
        detections[name] = Boxes(xyxy, rng.random(8, np.float32), np.zeros(8, int))
    evaluation = _pycocotools(detections, truth, list(truth), 1)
    evaluation.params.iouThrs, evaluation.params.recThrs = np.array([0.5]), np.linspace(0, 1, 11)
    evaluation.evaluate()
    evaluation.accumulate()
    expected = evaluation.eval["precision"][0, :, 0, 0, -1].mean()
    assert average_precision(match(detections, truth, list(truth), 1))[0] == pytest.approx(expected, abs=1e-6)


def test_coco_equals_pycocotools(rng: np.random.Generator) -> None:
    ids = [str(i) for i in range(40)]
    truth = {i: random_boxes(rng, 4, 3) for i in ids}
    detections = {}
    for i, true in truth.items():
        near = Boxes(true.xyxy + 12 * rng.random((4, 4), np.float32), rng.random(4, np.float32), true.labels)
        detections[i] = Boxes.concatenate([near, random_boxes(rng, 10, 3)])
    evaluation = _pycocotools(detections, truth, ids, 4)
    with redirect_stdout(StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ours = coco_average_precision(detections, truth, ids, 4)
    np.testing.assert_allclose([ours["ap"], ours["ap_50"], ours["ap_75"]], evaluation.stats[:3], atol=1e-6)
    assert 0.05 < ours["ap"] < ours["ap_50"] < 0.95


def test_coco_without_anything() -> None:
    assert coco_average_precision({}, {"a": boxes(TEN)}, ["a"], 1) == {"ap": 0, "ap_50": 0, "ap_75": 0}
    assert np.isnan(coco_average_precision({}, {"a": Boxes.empty()}, ["a"], 1)["ap"])


def test_five_thousand_images_take_less_than_a_second(rng: np.random.Generator) -> None:
    ids = [str(i) for i in range(5000)]
    truth = {i: random_boxes(rng, 3, 20) for i in ids}
    detections = {i: random_boxes(rng, 20, 20) for i in ids}
    seconds = []
    for _ in range(3):
        start = time.process_time()
        average_precision(match(detections, truth, ids, 20))
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1


def _inclusive(rng: np.random.Generator, n: int) -> dict[str, npt.NDArray[Any]]:
    corner = rng.integers(1, 5, (n, 2))
    xyxy = np.hstack([corner, corner + rng.integers(0, 5, (n, 2))])
    return {"xyxy": xyxy, "scores": rng.integers(0, 4, n) / 4, "difficult": rng.random(n) < 0.25}


def _continuous(given: Mapping[str, npt.NDArray[Any]]) -> Boxes:
    return Boxes(given["xyxy"] - [1, 1, 0, 0], given["scores"], np.zeros(len(given["xyxy"]), int), given["difficult"])


def _voc_average_precision(
    found: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    true: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    points: Points,
) -> float:
    """The definition, one detection and one object at a time, with areas of inclusive pixels."""
    ranked = sorted(
        (
            (score, name, box)
            for name, one in found.items()
            for score, box in zip(one["scores"], one["xyxy"], strict=True)
        ),
        key=lambda item: -item[0],
    )
    claimed, right, counted, curve = set(), 0, 0, []
    n_objects = sum(int((~one["difficult"]).sum()) for one in true.values())
    for _, name, box in ranked:
        overlaps = [_inclusive_iou(box, other) for other in true[name]["xyxy"]]
        best = int(np.argmax(overlaps))
        if overlaps[best] > 0.5 and true[name]["difficult"][best]:
            continue
        counted += 1
        if overlaps[best] > 0.5 and (name, best) not in claimed:
            claimed.add((name, best))
            right += 1
        curve.append((right, right / counted))
    if points == "11":
        return sum(max((p for r, p in curve if 10 * r >= k * n_objects), default=0) for k in range(11)) / 11
    return sum(max((p for r, p in curve if r >= k), default=0) for k in range(1, n_objects + 1)) / n_objects


def _inclusive_iou(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if w <= 0 or h <= 0:
        return 0.0
    area_a, area_b = ((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b))
    return float(w * h / (area_a + area_b - w * h))


def _pycocotools(
    detections: Mapping[str, Boxes], truth: Mapping[str, Boxes], ids: Sequence[str], n_classes: int
) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def rows(boxes_by_id: Mapping[str, Boxes]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for image, image_id in enumerate(ids, start=1):
            of_image = boxes_by_id[image_id]
            for xyxy, score, label, difficult in zip(
                of_image.xyxy.astype(float), of_image.scores, of_image.labels, of_image.difficult, strict=True
            ):
                x1, y1, x2, y2 = xyxy.tolist()
                found.append(
                    {
                        "id": len(found) + 1,
                        "image_id": image,
                        "category_id": int(label) + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "score": float(score),
                        "iscrowd": int(difficult),
                    }
                )
        return found

    with redirect_stdout(StringIO()):
        expected = COCO()
        expected.dataset = {
            "images": [{"id": image} for image in range(1, len(ids) + 1)],
            "categories": [{"id": label + 1} for label in range(n_classes)],
            "annotations": rows(truth),
        }
        expected.createIndex()
        results = [{k: v for k, v in row.items() if k not in ("id", "iscrowd", "area")} for row in rows(detections)]
        return COCOeval(expected, expected.loadRes(results), "bbox")
