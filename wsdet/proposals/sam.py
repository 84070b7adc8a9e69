"""Segment Anything's masks as boxes (Kirillov et al., ICCV 2023): tight ones, of objects and of their parts.

The model of the package transformers, with weights from a folder. A grid of points prompts it, three masks each, and
the boxes of another source may, such as a localizer's: then masks are cut to what it sees, one each.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsdet import check
from wsdet.boxes import clip, nms
from wsdet.storage import tensors
from wsdet.storage.untrusted import read_object
from wsdet.types import Boxes, Floats, InputError, ProposalSource, Sample

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

_FILES = ("config.json", "model.safetensors")
_LARGEST = 2048  # pixels of the network's input that a folder may ask for
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # that inputs are normalized by
_BATCH = 16  # prompts at once: 200 MB of masks
_OFFSET = 1.0  # of the logits, up and down, between which a stable mask hardly changes


class Sam:
    """Boxes of Segment Anything's masks, by the quality that it predicts times the masks' stability.

    Stability is the paper's: the IoU of the masks at logits of 1 and of -1.

    Args:
        model: a folder with config.json and model.safetensors, such as a download of facebook/sam-vit-base. It may
            come from anyone: no code in it is run.
        points: along a side of the grid of prompts; 0: none.
        prompts: a source whose boxes are prompts, too; None: none are.
        n_prompts: maximum number of them in an image, best first.
        nms_iou: a box that overlaps a better one more is dropped.
        max_boxes: maximum number of boxes of an image; 0: all.
        device: "cpu", "cuda" or "auto": CUDA where there is one.

    Raises:
        InputError: an argument is out of its range, there is nothing to prompt with, the package transformers is
            missing, or the folder holds no such model.
    """

    def __init__(
        self,
        model: Path | str,
        points: int = 16,
        prompts: ProposalSource | None = None,
        n_prompts: int = 50,
        nms_iou: float = 0.9,
        max_boxes: int = 2000,
        device: str = "auto",
    ) -> None:
        check.at_least(0, points=points, max_boxes=max_boxes)
        check.at_least(1, n_prompts=n_prompts)
        check.share(nms_iou=nms_iou)
        if not points and prompts is None:
            raise InputError("points must be at least 1 where there are no prompts, got 0")
        self.folder = _checked(Path(model).expanduser())
        self.points = points
        self.prompts = prompts
        self.n_prompts = n_prompts
        self.nms_iou = nms_iou
        self.max_boxes = max_boxes
        self.device = device
        self._model: Any = None
        _transformers()

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: not the model, which is loaded there."""
        return self.__dict__ | {"_model": None}

    def propose(self, sample: Sample) -> Boxes:
        """The boxes of all masks that are not empty, the surest first."""
        import torch

        self._model = self._model or _load(self.folder, self.device)
        h, w = sample.size_hw
        side = self._model.config.vision_config.image_size
        factor = side / max(h, w)
        found = [Boxes.empty()]
        with torch.inference_mode():
            pixels = _input(sample, side).to(self._model.device)
            embeddings = self._model.get_image_embeddings(pixels)
            for prompt in self._prompts(sample, factor):
                answer = self._model(image_embeddings=embeddings, **prompt)
                xyxy, scores = boxes_of_masks(answer.pred_masks[0], answer.iou_scores[0], side, (h, w))
                found.append(Boxes(xyxy, scores))
        boxes = Boxes.concatenate(found)
        return boxes[nms(boxes.xyxy, boxes.scores, self.nms_iou)[: self.max_boxes or None]]

    def _prompts(self, sample: Sample, factor: float) -> Iterator[dict[str, Any]]:
        """Prompts in batches, in pixels of the network's input."""
        import torch

        (h, w), device = sample.size_hw, self._model.device
        steps = (np.arange(self.points) + 0.5) / max(self.points, 1)
        x, y = (grid.ravel() for grid in np.meshgrid(steps * w, steps * h))
        for points in torch.from_numpy(np.stack([x, y], axis=1) * factor).float().to(device).split(_BATCH):
            if len(points):
                yield {"input_points": points[None, :, None], "input_labels": points.new_ones(1, len(points), 1).long()}
        if self.prompts is not None:
            xyxy = np.array(self.prompts.propose(sample).xyxy[: self.n_prompts]) * np.float32(factor)
            for boxes in torch.from_numpy(xyxy).to(device).split(_BATCH):
                if len(boxes):
                    yield {"input_boxes": boxes[None], "multimask_output": False}


def boxes_of_masks(masks: Tensor, quality: Tensor, side: int, size_hw: tuple[int, int]) -> tuple[Floats, Floats]:
    """(n, 4) boxes in the image and (n,) scores of (prompts, k, rows, columns) logits of masks, without empty ones."""
    import torch.nn.functional as F

    h, w = size_hw
    seen_hw = [max(1, round(length * side / max(h, w))) for length in (h, w)]  # the rest of the input is padding
    logits = F.interpolate(masks.float(), (side, side), mode="bilinear")[..., : seen_hw[0], : seen_hw[1]].flatten(0, 1)
    inside = logits > 0
    above, below = ((logits > offset).sum(dim=(1, 2)) for offset in (_OFFSET, -_OFFSET))
    scores = quality.float().flatten() * above / below.clamp(min=1)
    kept = inside.any(dim=2).any(dim=1)
    columns, rows = inside[kept].any(dim=1).cpu().numpy(), inside[kept].any(dim=2).cpu().numpy()
    corners = [
        along.argmax(axis=1) if first else along.shape[1] - along[:, ::-1].argmax(axis=1)
        for first in (True, False)
        for along in (columns, rows)
    ]
    scale = np.array([w / seen_hw[1], h / seen_hw[0]] * 2)
    xyxy = np.stack(corners, axis=1) * scale if len(columns) else np.zeros((0, 4))
    return clip(xyxy.astype(np.float32), size_hw), scores[kept].cpu().numpy()


def _input(sample: Sample, side: int) -> Tensor:
    """(1, 3, side, side): the image with its longer side at `side`, normalized, with zeros below or beside it."""
    import torch
    import torch.nn.functional as F

    image = torch.from_numpy(np.array(sample.pixels)).permute(2, 0, 1)[None].float()
    h, w = sample.size_hw
    size = [max(1, round(length * side / max(h, w))) for length in (h, w)]
    image = F.interpolate(image, size, mode="bilinear", antialias=True)
    image = (image - torch.tensor(_MEAN).view(1, 3, 1, 1)) / torch.tensor(_STD).view(1, 3, 1, 1)
    return F.pad(image, (0, side - size[1], 0, side - size[0]))


def _checked(folder: Path) -> Path:
    """The folder, if it describes a model of Segment Anything with weights in a format without code."""
    if not all((folder / name).is_file() for name in _FILES):
        raise InputError(
            f"model={folder} must be a folder with config.json and model.safetensors, such as a download of "
            "facebook/sam-vit-base; weights in a .pth file: load them with transformers once and save_pretrained there"
        )
    described = read_object(folder / _FILES[0])
    vision = described.get("vision_config")
    side = vision.get("image_size", 1024) if isinstance(vision, dict) else 1024
    if described.get("model_type") != "sam":
        raise InputError(f"{folder / _FILES[0]} describes no Segment Anything, got {described.get('model_type')!r}")
    if not isinstance(side, int) or not 16 <= side <= _LARGEST:
        raise InputError(f"{folder / _FILES[0]}: image_size must be in [16, {_LARGEST}], got {side!r}")
    return folder


def _load(folder: Path, device: str) -> Any:
    import torch

    transformers = _transformers()
    weights, _ = tensors.load_torch(folder / _FILES[1])
    try:
        config = transformers.SamConfig.from_dict(read_object(folder / _FILES[0]))
        model, info = transformers.SamModel.from_pretrained(
            None, config=config, state_dict=weights, output_loading_info=True
        )
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{folder} holds no usable Segment Anything: {reason}") from error
    if info["missing_keys"]:
        raise InputError(f"{folder / _FILES[1]} lacks {len(info['missing_keys'])} of the model's weights")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.eval().requires_grad_(False).to(device)


def _transformers() -> Any:
    try:
        import transformers
        import transformers.models.sam
    except ImportError as error:
        raise InputError("proposals=sam needs the package transformers: pip install 'wsdet[sam]'") from error
    return transformers
