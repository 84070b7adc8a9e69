"""Crops against torchvision's RoIAlign."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import roi_align

from wsdet.networks.crops import rescaled_crops


def image(h: int, w: int) -> torch.Tensor:
    return 255 * torch.rand(3, h, w, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("hw", "xyxy"),
    [
        ((40, 60), []),
        ((40, 60), [[0, 0, 60, 40], [3.2, 4.7, 9.9, 11.1], [0, 0, 1, 1], [20.5, 1, 59.5, 39]]),
        ((40, 60), [[-10, -8, 30, 20], [50, 30, 80, 55], [-90, -90, -70, -60]]),
        ((1, 7), [[0, 0, 7, 1]]),
    ],
    ids=["none", "inside", "beyond the image", "one row"],
)
def test_crops_are_those_of_roi_align(hw: tuple[int, int], xyxy: list[list[float]]) -> None:
    boxes = torch.tensor(xyxy, dtype=torch.float32).reshape(-1, 4)
    rois = torch.cat([torch.zeros(len(boxes), 1), boxes], dim=1)
    expected = roi_align(image(*hw)[None], rois, 16, sampling_ratio=0, aligned=True)
    torch.testing.assert_close(rescaled_crops(image(*hw), boxes, 16), expected, atol=0.01, rtol=0)


def test_a_crop_does_not_depend_on_those_beside_it() -> None:
    boxes = torch.tensor([[2.5, 3, 17, 14], [0, 0, 60, 40]])
    alone = rescaled_crops(image(40, 60), boxes[:1], 16)
    assert torch.equal(rescaled_crops(image(40, 60), boxes, 16)[:1], alone)
