"""torchvision's detectors over a `Pyramid`, their losses for weak labels in place of torchvision's.

With targets that are certain (weights 1, nothing ignored) each loss equals torchvision's own; tests hold it to that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign, box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from wsdet.detectors.neural.options import Kind, ModelOptions
from wsdet.detectors.neural.pyramid import Pyramid
from wsdet.detectors.neural.supervision import (
    LossRules,
    Target,
    Verdicts,
    box_of_class,
    is_covered,
    judge,
    softmax_loss,
)

MAX_DETECTIONS = 100  # of an image

_OCTAVE = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  # anchor sides at a level, in units of the smallest
_RATIOS = (0.5, 1.0, 2.0)
_HEAD_WIDTH = 512  # features of a proposal
_SMOOTH_L1_BETA = 1 / 9


def build_model(
    options: ModelOptions,
    pyramid: Pyramid,
    n_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    rules: LossRules,
) -> nn.Module:
    """A detector of torchvision with random weights beside the pyramid's.

    In training mode it takes (images, targets) and gives a dictionary of losses, in evaluation mode it takes images and
    gives for each a dictionary of `boxes`, `scores` and `labels`. Images are (3, h, w) float tensors in [0, 1]; they
    are normalized and padded, but not resized. Targets are those of `wsdet.detectors.neural.supervision`.

    Args:
        options: kind and thresholds.
        pyramid: the features.
        n_classes: without the background.
        mean: color that images are normalized by, RGB in [0, 1].
        std: the same for the spread.
        rules: of the losses.

    Raises:
        ValueError: there is no class.
    """
    if n_classes < 1:
        raise ValueError(f"n_classes must be >= 1, got {n_classes}")
    builders: dict[Kind, Callable[..., nn.Module]] = {
        "faster_rcnn": _faster_rcnn,
        "retinanet": _retinanet,
        "fcos": _fcos,
        "ssdlite": _ssdlite,
    }
    limits = {
        "score_thresh": options.score_threshold,
        "nms_thresh": options.nms_iou,
        "detections_per_img": MAX_DETECTIONS,
    }
    model: Any = builders[options.kind](pyramid, n_classes + 1, rules, limits)
    model.transform = _Normalization(mean, std, max(pyramid.strides))
    heads = [model.rpn.head, model.roi_heads.box_predictor] if options.kind == "faster_rcnn" else [model.head]
    for head in heads:
        head.register_forward_hook(_in_float32)
    return cast(nn.Module, model)


def _in_float32(_: nn.Module, __: Any, outputs: Any) -> Any:
    """Outputs of a head as float32 whatever it computed in: boxes and losses need the digits."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: _in_float32(_, __, value) for name, value in outputs.items()}
    return type(outputs)(_in_float32(_, __, value) for value in outputs)


class _Normalization(GeneralizedRCNNTransform):
    """torchvision's transform without resizing, which is done before, in training and detection alike."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], size_divisible: int) -> None:
        super().__init__(0, 0, list(mean), list(std), size_divisible=size_divisible)

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


def _faster_rcnn(pyramid: Pyramid, n_outputs: int, rules: LossRules, options: dict[str, Any]) -> nn.Module:
    anchors = _anchors(pyramid)
    names = [str(level) for level in range(len(pyramid.strides))]
    side = 7
    return GeneralizedRCNN(
        pyramid,
        _WeakRpn(
            rules,
            anchors,
            RPNHead(pyramid.out_channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 1000, "testing": 500},
            post_nms_top_n={"training": 500, "testing": 300},
            nms_thresh=0.7,
        ),
        _WeakRoIHeads(
            rules,
            MultiScaleRoIAlign(names, side, sampling_ratio=2),
            TwoMLPHead(pyramid.out_channels * side**2, _HEAD_WIDTH),
            FastRCNNPredictor(_HEAD_WIDTH, n_outputs),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=128,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            **options,
        ),
        nn.Identity(),
    )


def _retinanet(pyramid: Pyramid, n_outputs: int, rules: LossRules, options: dict[str, Any]) -> nn.Module:
    anchors = _anchors(pyramid)
    n_anchors = anchors.num_anchors_per_location()[0]
    head = _WeakRetinaNetHead(rules, pyramid.out_channels, n_anchors, n_outputs, _group_norm)
    return RetinaNet(pyramid, n_outputs, anchor_generator=anchors, head=head, **options)


def _fcos(pyramid: Pyramid, n_outputs: int, rules: LossRules, options: dict[str, Any]) -> nn.Module:
    anchors = AnchorGenerator(tuple((stride,) for stride in pyramid.strides), ((1.0,),) * len(pyramid.strides))
    head = _WeakFcosHead(rules, pyramid.out_channels, 1, n_outputs, num_convs=2)
    return FCOS(pyramid, n_outputs, anchor_generator=anchors, head=head, **options)


def _ssdlite(pyramid: Pyramid, n_outputs: int, rules: LossRules, options: dict[str, Any]) -> nn.Module:
    n_levels = len(pyramid.strides)
    anchors = DefaultBoxGenerator([[2, 3]] * n_levels, min_ratio=0.1, max_ratio=0.9)
    channels = [pyramid.out_channels] * n_levels
    head = SSDLiteHead(channels, anchors.num_anchors_per_location(), n_outputs, _group_norm)
    size = (max(pyramid.strides),) * 2  # of the transform that is replaced
    return _WeakSsd(rules, pyramid, anchors, size, n_outputs, head=head, **options)


def _anchors(pyramid: Pyramid) -> AnchorGenerator:
    sizes = tuple(tuple(4 * stride * octave for octave in _OCTAVE) for stride in pyramid.strides)
    return AnchorGenerator(sizes, (_RATIOS,) * len(sizes))


def _group_norm(channels: int) -> nn.GroupNorm:
    """In the heads, in place of batch norm: it has statistics in a batch of one, too."""
    return nn.GroupNorm(min(16, channels), channels)


class _WeakRpn(RegionProposalNetwork):
    def __init__(self, rules: LossRules, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rules = rules
        # of the anchors, from one call of `forward` to its loss
        self._weights: list[Tensor] = []
        self._box_weights: list[Tensor] = []

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        labels, boxes, self._weights, self._box_weights = [], [], [], []
        for xyxy, target in zip(anchors, targets, strict=True):
            verdicts = judge(xyxy, self._match(xyxy, target), target, self._rules.options)
            objectness = verdicts.positive.to(torch.float32)
            # an object of an unknown class is an object
            ignored = is_covered(xyxy, target["ignored"], self._rules.options.ignore_share) & ~verdicts.positive
            objectness[verdicts.excluded | ignored] = -1
            labels.append(objectness)
            boxes.append(verdicts.boxes)
            self._weights.append(verdicts.weights)
            self._box_weights.append(verdicts.box_weights)
        return labels, boxes

    def _match(self, xyxy: Tensor, target: Target) -> Tensor:
        if not len(target["boxes"]):
            return torch.full((len(xyxy),), -1, device=xyxy.device)
        matched: Tensor = self.proposal_matcher(box_iou(target["boxes"], xyxy))
        return matched

    def compute_loss(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        positives, negatives = (torch.where(torch.cat(sampled))[0] for sampled in self.fg_bg_sampler(labels))
        sampled = torch.cat([positives, negatives])
        weights, box_weights = torch.cat(self._weights), torch.cat(self._box_weights)
        targets = torch.cat(regression_targets)
        n_sampled = max(1, len(sampled))  # none where every anchor is ignored
        box_loss = F.smooth_l1_loss(deltas[positives], targets[positives], reduction="none", beta=_SMOOTH_L1_BETA)
        box_loss = (box_loss.sum(dim=1) * box_weights[positives]).sum() / n_sampled
        class_loss = F.binary_cross_entropy_with_logits(
            objectness.flatten()[sampled], torch.cat(labels)[sampled], weights[sampled], reduction="sum"
        )
        return class_loss / n_sampled, box_loss


class _WeakRoIHeads(RoIHeads):
    def __init__(self, rules: LossRules, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rules = rules

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        if not self.training or targets is None:
            detections: tuple[list[dict[str, Tensor]], dict[str, Tensor]]
            detections = super().forward(features, proposals, image_shapes)
            return detections
        boxes = [target["boxes"] for target in targets]
        proposals = self.add_gt_proposals(proposals, boxes)
        verdicts = [self._judged(*pair) for pair in zip(proposals, targets, strict=True)]
        sampled = self.subsample([one.labels.masked_fill(one.excluded, -1) for one in verdicts])
        proposals = [xyxy[rows] for xyxy, rows in zip(proposals, sampled, strict=True)]
        chosen = _joined([_rows(one, rows) for one, rows in zip(verdicts, sampled, strict=True)])
        pooled = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        logits, deltas = self.box_predictor(pooled)
        regression_targets = self.box_coder.encode_single(chosen.boxes, torch.cat(proposals))
        return [], self._loss(logits, deltas, chosen, regression_targets)

    def _judged(self, xyxy: Tensor, target: Target) -> Verdicts:
        if len(target["boxes"]):
            matched = self.proposal_matcher(box_iou(target["boxes"], xyxy))
        else:
            matched = torch.full((len(xyxy),), -1, device=xyxy.device)
        return judge(xyxy, matched, target, self._rules.options)

    def _loss(
        self, logits: Tensor, deltas: Tensor, verdicts: Verdicts, regression_targets: Tensor
    ) -> dict[str, Tensor]:
        positive, n_rows = verdicts.positive, max(1, len(logits))
        class_loss = softmax_loss(logits, verdicts)
        box_loss = F.smooth_l1_loss(
            box_of_class(deltas[positive], verdicts.labels[positive]),
            regression_targets[positive],
            reduction="none",
            beta=_SMOOTH_L1_BETA,
        ).sum(dim=1)
        weights, box_weights = self._rules.weights(verdicts, class_loss[positive], box_loss)
        return {
            "loss_classifier": (class_loss[~positive].sum() + (class_loss[positive] * weights).sum()) / n_rows,
            "loss_box_reg": (box_loss * box_weights).sum() / n_rows,
        }


class _WeakRetinaNetHead(RetinaNetHead):
    def __init__(self, rules: LossRules, *args: Any) -> None:
        super().__init__(*args)
        self._rules = rules

    def compute_loss(
        self, targets: list[Target], outputs: dict[str, Tensor], anchors: list[Tensor], matched: list[Tensor]
    ) -> dict[str, Tensor]:
        class_losses, box_losses = [], []
        for index, target in enumerate(targets):
            verdicts = judge(anchors[index], matched[index], target, self._rules.options)
            positive = verdicts.positive
            n_positives = max(1, int(positive.sum()))
            class_loss = _focal_loss(outputs["cls_logits"][index], verdicts)
            box_loss = F.l1_loss(
                outputs["bbox_regression"][index][positive],
                self.regression_head.box_coder.encode_single(verdicts.boxes[positive], anchors[index][positive]),
                reduction="none",
            ).sum(dim=1)
            weights, box_weights = self._rules.weights(verdicts, class_loss[positive], box_loss)
            class_losses.append((class_loss[~positive].sum() + (class_loss[positive] * weights).sum()) / n_positives)
            box_losses.append((box_loss * box_weights).sum() / n_positives)
        return {
            "classification": torch.stack(class_losses).mean(),
            "bbox_regression": torch.stack(box_losses).mean(),
        }


class _WeakFcosHead(FCOSHead):
    def __init__(self, rules: LossRules, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rules = rules

    def compute_loss(
        self, targets: list[Target], outputs: dict[str, Tensor], anchors: list[Tensor], matched: list[Tensor]
    ) -> dict[str, Tensor]:
        verdicts = _joined([judge(*one, self._rules.options) for one in zip(anchors, matched, targets, strict=True)])
        positive = verdicts.positive
        n_positives = max(1, int(positive.sum()))
        every_anchor, boxes = torch.cat(anchors)[positive], verdicts.boxes[positive]
        class_loss = _focal_loss(outputs["cls_logits"].flatten(0, 1), verdicts)
        found = self.box_coder.decode(outputs["bbox_regression"].flatten(0, 1)[positive], every_anchor)
        box_loss = generalized_box_iou_loss(found, boxes, reduction="none")
        centerness_loss = F.binary_cross_entropy_with_logits(
            outputs["bbox_ctrness"].flatten()[positive],
            _centerness(self.box_coder.encode(every_anchor, boxes)),
            reduction="none",
        )
        weights, box_weights = self._rules.weights(verdicts, class_loss[positive], box_loss)
        return {
            "classification": (class_loss[~positive].sum() + (class_loss[positive] * weights).sum()) / n_positives,
            "bbox_regression": (box_loss * box_weights).sum() / n_positives,
            "bbox_ctrness": (centerness_loss * box_weights).sum() / n_positives,
        }


class _WeakSsd(SSD):
    def __init__(self, rules: LossRules, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rules = rules

    def compute_loss(
        self, targets: list[Target], outputs: dict[str, Tensor], anchors: list[Tensor], matched: list[Tensor]
    ) -> dict[str, Tensor]:
        class_total = box_total = outputs["cls_logits"].new_zeros(())
        n_positives = 0
        for index, target in enumerate(targets):
            verdicts = judge(anchors[index], matched[index], target, self._rules.options)
            positive = verdicts.positive
            class_loss = softmax_loss(outputs["cls_logits"][index], verdicts)
            box_loss = F.smooth_l1_loss(
                outputs["bbox_regression"][index][positive],
                self.box_coder.encode_single(verdicts.boxes[positive], anchors[index][positive]),
                reduction="none",
            ).sum(dim=1)
            weights, box_weights = self._rules.weights(verdicts, class_loss[positive], box_loss)
            # hard negative mining: those with the highest loss
            negatives = class_loss[~positive & ~verdicts.excluded]
            n_negatives = min(len(negatives), int(self.neg_to_pos_ratio * int(positive.sum())))
            class_total = class_total + (class_loss[positive] * weights).sum() + negatives.topk(n_negatives)[0].sum()
            box_total = box_total + (box_loss * box_weights).sum()
            n_positives += int(positive.sum())
        return {
            "bbox_regression": box_total / max(1, n_positives),
            "classification": class_total / max(1, n_positives),
        }


def _focal_loss(logits: Tensor, verdicts: Verdicts) -> Tensor:
    """(n,) focal loss of (n, k + 1) logits, over the classes that something is known about."""
    wanted = torch.zeros_like(logits)
    wanted[verdicts.positive, verdicts.labels[verdicts.positive]] = 1.0
    losses: Tensor = sigmoid_focal_loss(logits, wanted, reduction="none")
    return losses.masked_fill(verdicts.unknown | verdicts.excluded[:, None], 0.0).sum(dim=1)


def _centerness(sides: Tensor) -> Tensor:
    """(p,) how central points are in boxes, from their (p, 4) distances to the left, top, right and bottom sides."""
    horizontal, vertical = sides[:, [0, 2]], sides[:, [1, 3]]
    return torch.sqrt(horizontal.amin(1) / horizontal.amax(1) * (vertical.amin(1) / vertical.amax(1)))


def _rows(verdicts: Verdicts, rows: Tensor) -> Verdicts:
    return Verdicts(*(getattr(verdicts, name)[rows] for name in Verdicts.__dataclass_fields__))


def _joined(parts: Sequence[Verdicts]) -> Verdicts:
    return Verdicts(*(torch.cat([getattr(one, name) for one in parts]) for name in Verdicts.__dataclass_fields__))
