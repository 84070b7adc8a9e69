"""The images of a report with ground truth, pseudo-boxes and detections, small enough for one page."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from wsdet.boxes import iou
from wsdet.data.loading import load_samples
from wsdet.types import Boxes, Dataset, InputError, Pixels

log = logging.getLogger(__name__)

_LONGER_SIDE = 160  # pixels of a thumbnail
_QUALITY = 60
_MOST_BYTES = 22_000_000  # of all thumbnails as text; leaves room for the boxes below 30 MB
_MOST_BOXES = 8  # boxes of one method drawn in an image


def gallery(
    dataset: Dataset,
    ids: Sequence[str],
    truth: Mapping[str, Boxes],
    methods: Mapping[str, Mapping[str, Boxes]],
    kinds: Mapping[str, Mapping[str, Sequence[str]]],
    missed: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One entry an image, in plain JSON values; an image that cannot be read is left out.

    A box is [x1, y1, x2, y2, label, score, kind, IoU], with corners in thousandths of the image's sides. The objects
    that a method missed stand after its boxes, with the kind "missed".

    Args:
        dataset: where the images come from.
        ids: the images.
        truth: ground-truth boxes by image id, where there are some.
        methods: boxes by name of the method and image id, best first.
        kinds: for some methods, by image id, the kind of each box.
        missed: for some methods, by image id, a mask over the ground-truth boxes.
    """
    entries: list[dict[str, Any]] = []
    n_bytes = 0
    for image_id, sample in load_samples(dataset, ids):
        if isinstance(sample, InputError):
            log.warning("not in the report: %s: %s", image_id, sample)
            continue
        thumbnail = _thumbnail(sample.pixels)
        n_bytes += len(thumbnail)
        if n_bytes > _MOST_BYTES:
            log.warning("the report shows %d of %d images, to stay below 30 MB", len(entries), len(ids))
            break
        true, size_hw = truth.get(image_id, Boxes.empty()), sample.size_hw
        boxes = {}
        for name, of_method in methods.items():
            if image_id in of_method:
                mine, its_kinds = of_method[image_id], kinds.get(name, {}).get(image_id, ())
                left_out = missed.get(name, {}).get(image_id, np.zeros(len(true), bool))
                boxes[name] = _rows(mine[:_MOST_BOXES], true, its_kinds, size_hw)
                boxes[name] += _rows(true[left_out], Boxes.empty(), ["missed"] * len(true), size_hw)
        entries.append(
            {
                "id": image_id,
                "wh": [size_hw[1], size_hw[0]],
                "jpeg": thumbnail,
                "truth": _rows(true, Boxes.empty(), (), size_hw),
                "boxes": boxes,
            }
        )
    return entries


def _rows(boxes: Boxes, true: Boxes, kinds: Sequence[str], size_hw: tuple[int, int]) -> list[list[Any]]:
    same = (boxes.labels[:, None] == true.labels[None]) | (boxes.labels[:, None] == -1)
    overlaps = np.where(same, iou(boxes.xyxy, true.xyxy), 0).max(axis=1, initial=0)
    h, w = size_hw
    scores = np.nan_to_num(boxes.scores)  # JSON knows no NaN
    corners = np.rint(boxes.xyxy / [w, h, w, h] * 1000).astype(int)
    return [
        [
            *corners[row].tolist(),
            int(boxes.labels[row]),
            round(float(scores[row]), 3),
            kinds[row] if row < len(kinds) else "",
            round(float(overlaps[row]), 3),
        ]
        for row in range(len(boxes))
    ]


def _thumbnail(pixels: Pixels) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((_LONGER_SIDE, _LONGER_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
