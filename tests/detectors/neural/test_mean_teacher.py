"""A mean teacher: what it may say, how fast it follows, and that a training under it learns and resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import TinyDataset
from tests.detectors.neural.conftest import Kill, small_options, target
from tests.detectors.neural.test_training import CPU, QUICK, as_positives, train
from wsdet.detectors.neural.detector import NeuralDetector
from wsdet.detectors.neural.mean_teacher import StrongChanges, Teacher, Teaching, taught
from wsdet.detectors.neural.training import train_detector
from wsdet.detectors.self_training import MeanTeacher
from wsdet.networks.backbones import Backbone
from wsdet.types import InputError


def found(boxes: list[list[float]], labels: list[int], scores: list[float]) -> dict[str, torch.Tensor]:
    """Detections as torchvision gives them."""
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores),
    }


def test_boxes_of_high_score_take_the_place_of_those_of_their_class() -> None:
    before = target([[0, 0, 10, 10], [40, 40, 50, 50]], [1, 2])
    seen = found([[1.0, 1, 9, 9], [20, 20, 30, 30], [30, 30, 40, 40]], [1, 1, 2], [0.9, 0.8, 0.6])
    after = taught(seen, before, MeanTeacher(threshold=0.7))
    assert after["boxes"].tolist() == [[1, 1, 9, 9], [20, 20, 30, 30], [40, 40, 50, 50]]
    assert after["labels"].tolist() == [1, 1, 2]
    assert after["located"].tolist() == [True, True, False]  # of class 2 nothing is sure, but that it is there
    assert after["weights"].tolist() == [1, 1, 1]


def test_a_class_that_the_image_does_not_have_is_never_taught() -> None:
    after = taught(found([[1, 1, 9, 9]], [3], [0.99]), target([[0, 0, 10, 10]], [1]), MeanTeacher())
    assert after["labels"].tolist() == [1]
    assert after["boxes"].tolist() == [[0, 0, 10, 10]]


def test_a_class_without_a_box_gets_one() -> None:
    before = target([], [], present=[2])
    after = taught(found([[1, 1, 9, 9]], [2], [0.9]), before, MeanTeacher())
    assert after["labels"].tolist() == [2]
    assert before["unboxed"].tolist() == [False, False, True, False]
    assert not after["unboxed"].any()


def test_parts_of_a_larger_box_and_boxes_of_no_area_are_left_out() -> None:
    boxes: list[list[float]] = [[0, 0, 10, 10], [0, 0, 40, 40], [5, 5, 5, 20], [0, 0, 10, 10]]
    after = taught(found(boxes, [1, 1, 1, 2], [0.95, 0.9, 0.9, 0.9]), target([], [], present=[1, 2]), MeanTeacher())
    assert after["boxes"].tolist() == [[0, 0, 40, 40], [0, 0, 10, 10]]
    assert after["labels"].tolist() == [1, 2]


def test_the_teacher_follows_slowly_and_faster_at_first() -> None:
    student = nn.Linear(1, 1, bias=False)
    student.weight.data.fill_(0.0)
    teacher = Teacher(student, MeanTeacher(decay=0.9))
    student.weight.data.fill_(1.0)
    (weight,) = teacher.model.parameters()
    teacher.follow(student, step=1)
    assert weight.item() == pytest.approx(1 - 1 / 11)
    before = weight.item()
    teacher.follow(student, step=1_000_000)
    assert weight.item() == pytest.approx(0.9 * before + 0.1)
    assert not teacher.train().model.training


def test_strong_changes_keep_the_shape_and_follow_the_seed() -> None:
    images = [torch.randint(0, 255, (3, 20, 30), dtype=torch.uint8)] * 8
    torch.manual_seed(1)
    first = StrongChanges()(images)
    torch.manual_seed(1)
    again = StrongChanges()(images)
    assert all(one.shape == (3, 20, 30) and one.dtype == torch.uint8 for one in first)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first[0], images[0])


@pytest.mark.slow
def test_a_stopped_training_under_a_teacher_ends_with_the_same_weights(
    tiny_dataset: TinyDataset, backbone: Backbone, tmp_path: Path, kill_in_second_epoch: Kill
) -> None:
    start = train(tiny_dataset, backbone, tmp_path / "start")
    teaching = Teaching(MeanTeacher(threshold=0.05, epochs=2), start)
    whole = train(tiny_dataset, backbone, tmp_path / "whole", teaching=teaching)
    assert whole.fingerprint != start.fingerprint
    kill_in_second_epoch(lambda: train(tiny_dataset, backbone, tmp_path / "stopped", teaching=teaching))
    resumed = train(tiny_dataset, backbone, tmp_path / "stopped", teaching=teaching)
    assert resumed.fingerprint == whole.fingerprint
    with pytest.raises(InputError, match=r"teaching\.threshold"):
        train(tiny_dataset, backbone, tmp_path / "whole", teaching=Teaching(MeanTeacher(epochs=2), start))


@pytest.mark.slow
def test_what_comes_out_is_the_average(tiny_dataset: TinyDataset, backbone: Backbone, tmp_path: Path) -> None:
    """With a decay of 0 the teacher is the student, with one near 1 it stays where it started."""
    start = train(tiny_dataset, backbone, tmp_path / "start")

    def moved(decay: float) -> float:
        out = tmp_path / str(decay)
        ended = train(tiny_dataset, backbone, out, teaching=Teaching(MeanTeacher(decay=decay, threshold=1.0), start))
        pairs = zip(start.model.parameters(), ended.model.parameters(), strict=True)
        return float(np.mean([(one - other).abs().mean() for one, other in pairs]))

    assert 0 < moved(0.9999) < moved(0.0)


def test_another_kind_cannot_go_on(tiny_dataset: TinyDataset, backbone: Backbone, tmp_path: Path) -> None:
    start: NeuralDetector = train(tiny_dataset, backbone, tmp_path / "start")
    with pytest.raises(InputError, match="same kind, network and classes"):
        train_detector(
            tiny_dataset,
            tiny_dataset.ids("train"),
            as_positives(tiny_dataset),
            backbone,
            tmp_path / "other",
            model=small_options("ssdlite"),
            training=QUICK,
            trainer_options=CPU,
            teaching=Teaching(MeanTeacher(), start),
        )
