"""The losses: torchvision's own where all is certain, and what weights, ignored regions and labels change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.ssd import SSD

from tests.detectors.neural.conftest import target
from wsdet.detectors.neural.options import KINDS, Kind, WeakLosses
from wsdet.detectors.neural.supervision import LossRules, is_covered, judge, softmax_loss

BOX = [8.0, 8.0, 40.0, 44.0]
EVERYTHING = [-999.0, -999.0, 999.0, 999.0]


def losses_of(model: nn.Module, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, 64, 64, generator=generator) for _ in targets]
    torch.manual_seed(0)  # torchvision samples anchors and proposals
    losses: dict[str, Tensor] = model(images, targets)
    return losses


@contextmanager
def torchvisions_own(model: Any, kind: Kind) -> Iterator[None]:
    """The model with torchvision's methods in place of ours."""
    parts = {
        "faster_rcnn": [
            (model.rpn, RegionProposalNetwork, ["assign_targets_to_anchors", "compute_loss"]),
            (model.roi_heads, RoIHeads, ["forward"]),
        ]
        if kind == "faster_rcnn"
        else [],
        "retinanet": [(getattr(model, "head", None), RetinaNetHead, ["compute_loss"])],
        "fcos": [(getattr(model, "head", None), FCOSHead, ["compute_loss"])],
        "ssdlite": [(model, SSD, ["compute_loss"])],
    }[kind]
    for part, parent, names in parts:
        for name in names:
            object.__setattr__(part, name, getattr(parent, name).__get__(part))
    yield
    for part, _, names in parts:
        for name in names:
            object.__delattr__(part, name)


@pytest.mark.parametrize("kind", KINDS)
def test_certain_targets_give_torchvisions_own_losses(kind: Kind, model_of: Callable[..., nn.Module]) -> None:
    targets = [target([BOX, [30, 4, 60, 20]], [1, 3]), target([], []), target([[2, 2, 60, 60]], [2])]
    model = model_of(kind)
    ours = losses_of(model, targets)
    with torchvisions_own(model, kind):
        theirs = losses_of(model, targets)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value.reshape(()), rtol=1e-4, atol=1e-6, msg=name)
    assert all(value > 0 for value in ours.values())


@pytest.mark.parametrize("kind", KINDS)
def test_no_weight_no_box_loss(kind: Kind, model_of: Callable[..., nn.Module]) -> None:
    weightless = losses_of(model_of(kind), [target([BOX], [1], weights=[1e-9])])
    usual = losses_of(model_of(kind), [target([BOX], [1])])
    half = losses_of(model_of(kind), [target([BOX], [1], weights=[0.5])])
    for name in usual:
        if "box" in name or "bbox" in name:
            assert weightless[name] < 1e-6 < usual[name], name
            torch.testing.assert_close(half[name], usual[name] / 2)
        else:
            assert weightless[name] < half[name] < usual[name], name


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_that_is_not_located_has_its_class_loss_alone(kind: Kind, model_of: Callable[..., nn.Module]) -> None:
    usual = losses_of(model_of(kind), [target([BOX], [1])])
    unlocated = losses_of(model_of(kind), [target([BOX], [1], located=[False])])
    for name in usual:
        if "box" in name:
            assert unlocated[name] == 0 < usual[name], name
        else:
            torch.testing.assert_close(unlocated[name], usual[name], msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", [[target([], [], ignored=[EVERYTHING])], [target([], [])]], ids=["all", "none"])
def test_nothing_to_learn_is_no_nan(
    kind: Kind, targets: list[dict[str, Tensor]], model_of: Callable[..., nn.Module]
) -> None:
    model = model_of(kind)
    total: Any = sum(losses_of(model, targets).values())
    total.backward()
    assert math.isfinite(total.item())
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())
    if len(targets[0]["ignored"]):
        assert total.item() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_ignored_region_takes_background_away_and_no_positive(
    kind: Kind, model_of: Callable[..., nn.Module]
) -> None:
    usual = losses_of(model_of(kind), [target([BOX], [1])])
    ignoring = losses_of(model_of(kind), [target([BOX], [1], ignored=[[0, 0, 64, 64]])])
    for name in usual:
        if kind != "faster_rcnn" and "bbox" in name:
            torch.testing.assert_close(ignoring[name], usual[name])
    assert ignoring.get("classification", torch.zeros(())) < usual.get("classification", torch.ones(()))


def class_gradient(model: Any, kind: Kind, targets: list[dict[str, Tensor]]) -> Tensor:
    """(k + 1,) gradient of the class losses with respect to each class's bias, added up over levels and anchors."""
    losses = losses_of(model, targets)
    torch.stack([loss for name, loss in losses.items() if "class" in name]).sum().backward()
    if kind == "faster_rcnn":
        return model.roi_heads.box_predictor.cls_score.bias.grad
    if kind == "ssdlite":
        layers = [level[1] for level in model.head.classification_head.module_list]
    else:
        layers = [model.head.classification_head.cls_logits]
    return sum(layer.bias.grad.reshape(-1, 4).sum(0) for layer in layers)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ssdlite"])  # which needs a positive to mine at all
def test_in_an_ignored_region_absent_classes_are_certain_negatives(
    kind: Kind, model_of: Callable[..., nn.Module]
) -> None:
    everywhere = [target([], [], ignored=[EVERYTHING], present=[2])]
    unknown = class_gradient(model_of(kind, WeakLosses(negatives_by_label=True)), kind, everywhere)
    assert unknown[1] > 0  # pushed down
    assert unknown[3] > 0
    assert unknown[2] <= 1e-7  # left alone by a sigmoid; by a softmax it may take from the absent ones


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_without_a_box_is_no_negative(kind: Kind, model_of: Callable[..., nn.Module]) -> None:
    targets = [target([BOX], [1], present=[2])]
    usual = class_gradient(model_of(kind), kind, targets)
    careful = class_gradient(model_of(kind, WeakLosses(negatives_by_label=True)), kind, targets)
    assert careful[2] < usual[2]
    assert usual[2] > 0


def test_roi_drop_leaves_out_positives_with_two_high_losses() -> None:
    rules = LossRules(WeakLosses(roi_drop=True, drop_class_loss=1.0, drop_box_loss=1.0))
    class_loss, box_loss = torch.tensor([0.5, 2.0, 0.5, 2.0]), torch.tensor([0.5, 0.5, 2.0, 2.0])
    anchors = torch.tensor([BOX] * 4)
    verdicts = judge(anchors, torch.zeros(4, dtype=torch.int64), target([BOX], [1], weights=[0.5]), rules.options)
    assert rules.weights(verdicts, class_loss, box_loss)[0].tolist() == [0.5, 0.5, 0.5, 0.5]
    rules.is_warm = True
    assert [one.tolist() for one in rules.weights(verdicts, class_loss, box_loss)] == [[0.5, 0.5, 0.5, 0]] * 2
    assert LossRules(WeakLosses()).weights(verdicts, class_loss, box_loss)[1].tolist() == [0.5] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_roi_drop_in_each_model(kind: Kind, model_of: Callable[..., nn.Module]) -> None:
    model: Any = model_of(kind, WeakLosses(roi_drop=True, drop_class_loss=0.0, drop_box_loss=0.0))
    usual = losses_of(model, [target([BOX], [1])])
    model.rules.is_warm = True
    dropping = losses_of(model, [target([BOX], [1])])
    name = "loss_box_reg" if kind == "faster_rcnn" else "bbox_regression"
    assert dropping[name] == 0 < usual[name]


def test_cover_counts_the_share_of_the_box_itself() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [6, 0, 16, 10], [3, 3, 3, 9]])
    region = torch.tensor([[0.0, 0, 10, 10]])
    assert is_covered(boxes, region, 0.5).tolist() == [True, True, False, False]
    assert is_covered(boxes, region[:0], 0.5).tolist() == [False] * 4


def test_between_the_thresholds_is_no_verdict() -> None:
    verdicts = judge(torch.rand(3, 4), torch.tensor([0, -1, -2]), target([BOX], [2], weights=[0.3]), WeakLosses())
    assert verdicts.labels.tolist() == [2, 0, 0]
    assert verdicts.weights.tolist() == pytest.approx([0.3, 1, 1])
    assert verdicts.excluded.tolist() == [False, False, True]


def test_softmax_loss_of_a_background_that_may_be_a_class() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0, -1.0]])
    everything = target([], [], ignored=[EVERYTHING], present=[1])
    verdicts = judge(torch.rand(1, 4), torch.tensor([-1]), everything, WeakLosses(negatives_by_label=True))
    shares = logits.softmax(1)[0]
    assert float(softmax_loss(logits, verdicts)) == pytest.approx(-math.log(shares[0] + shares[1]))
