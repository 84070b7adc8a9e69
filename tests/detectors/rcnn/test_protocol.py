"""The published protocols are in conf/detector/protocol with the values that their authors used."""

from __future__ import annotations

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # comes with omegaconf

from wsdet.cli.entry_point import CONF
from wsdet.detectors.rcnn.protocol import TrainingProtocol

NAMES = sorted(path.stem for path in (CONF / "detector" / "protocol").glob("*.yaml"))

PUBLISHED: dict[str, dict[str, Any]] = {
    # rcnn_train.m, rcnn_config.m: liblinear -s 3 -w1 2 -c 0.001 -B 10, one epoch, retrained after 2,000 new negatives
    "rcnn": {
        "loss": "hinge",
        "cs": (1e-3,),
        "positive_weight": 2,
        "bias_multiplier": 10,
        "feature_norm": 20,
        "negative_iou": 0.3,
        "random_negatives": 0,
        "near_iou": None,
        "whole_first_image": True,
        "rounds": 1,
        "hard_above": -1.0001,
        "hard_per_image": 0,
        "hard_rows_per_image": 0,
        "negatives_per_image": 0,
        "mine_positive_images": True,
        "retrain_after": 2000,
        "evict_below": -1.2,
        "share_negatives": False,
    },
    # the STL authors' repository: LinearSVC(l2, hinge), balanced, C by 5 folds on average precision
    "stl": {
        "loss": "hinge",
        "cs": (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
        "folds": 5,
        "positive_weight": "balanced",
        "bias_multiplier": 1,
        "negative_iou": 0.3,
        "random_negatives": 1,
        "random_in_positive_images": False,
        "near_iou": 0.0,
        "near_nms": 0.7,
        "near_per_image": 20,
        "rounds": 1,
        "hard_above": None,
        "hard_per_image": 1,
        "mine_positive_images": False,
        "negatives_per_image": 30,
        "evict_below": None,
        "share_negatives": False,
    },
    # Uijlings et al., IJCV 2013, section 5
    "uijlings": {
        "negative_iou": 0.5,
        "near_iou": 0.2,
        "near_nms": 0.7,
        "near_per_image": 0,
        "start_negatives": 20_000,
        "random_negatives": 0,
        "rounds": 2,
        "hard_above": None,
        "hard_per_image": 1,
        "mine_positive_images": False,
        "negatives_per_image": 0,
        "evict_below": None,
        "share_negatives": False,
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_says_all_that_it_depends_on(name: str) -> None:
    values = yaml.safe_load((CONF / "detector" / "protocol" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert values.pop("_target_") == "wsdet.detectors.rcnn.protocol.TrainingProtocol"
    protocol = TrainingProtocol(**values)
    for key, value in PUBLISHED.get(name, {}).items():
        assert getattr(protocol, key) == value, key


def test_the_published_ones_are_there() -> None:
    assert set(PUBLISHED) < set(NAMES)
