"""Segment Anything with random weights: what goes in, what comes out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.proposals.small_sam import save_small_sam
from wsdet.boxes import iou_of_pairs, mask_to_xyxy
from wsdet.proposals.sam import Sam, boxes_of_masks
from wsdet.types import Boxes, Floats, InputError, Sample

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_sam(tmp_path_factory.mktemp("sam"))


def sample(h: int = 40, w: int = 60) -> Sample:
    return Sample("a", np.random.default_rng(0).integers(0, 256, (h, w, 3), dtype=np.uint8))


class Fixed:
    def __init__(self, *xyxy: tuple[float, float, float, float]) -> None:
        self.xyxy = np.array(xyxy, np.float32).reshape(-1, 4)

    def propose(self, sample: Sample) -> Boxes:
        return Boxes(self.xyxy)


def by_the_library(folder: Path, image: Sample, **prompts: Any) -> tuple[Floats, Floats]:
    """Boxes and predicted qualities as transformers' own processor and masks have them."""
    model = transformers.SamModel.from_pretrained(folder)
    side = model.config.vision_config.image_size
    processor = transformers.SamProcessor(
        transformers.SamImageProcessor(
            size={"longest_edge": side}, pad_size={"height": side, "width": side}, mask_pad_size=None
        )
    )
    inputs = processor(image.pixels, return_tensors="pt", **prompts)
    with torch.inference_mode():
        outputs = model(**inputs, multimask_output="input_points" in prompts)
    (masks,) = processor.image_processor.post_process_masks(
        outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )
    flat = masks.flatten(0, 1).numpy()
    return np.concatenate([mask_to_xyxy(mask) for mask in flat]), outputs.iou_scores.flatten().numpy()


def test_points_give_the_masks_of_the_library(folder: Path) -> None:
    image = sample()
    expected, _ = by_the_library(folder, image, input_points=[[[[30.0, 20.0]]]])  # the middle: a grid of one
    found = Sam(folder, points=1, nms_iou=1.0).propose(image)
    assert len(found) == len(expected) == 3
    best = np.array([max(iou_of_pairs(np.tile(one, (3, 1)), expected)) for one in found.xyxy])
    assert (best > 0.9).all()


def test_boxes_of_another_source_are_prompts(folder: Path) -> None:
    image, prompt = sample(), (10.0, 5.0, 40.0, 30.0)
    expected, _ = by_the_library(folder, image, input_boxes=[[list(prompt)]])
    found = Sam(folder, points=0, prompts=Fixed(prompt)).propose(image)
    assert len(found) == 1
    assert iou_of_pairs(found.xyxy, expected)[0] > 0.9
    assert len(Sam(folder, points=0, prompts=Fixed(*[prompt] * 3), nms_iou=1.0, n_prompts=2).propose(image)) == 2


def test_nothing_to_prompt_with_gives_nothing(folder: Path) -> None:
    assert len(Sam(folder, points=0, prompts=Fixed()).propose(sample())) == 0


def test_masks_become_tight_boxes_and_stable_ones_come_first() -> None:
    masks = torch.full((1, 3, 8, 8), -5.0)
    masks[0, 0, 2:4, 1:5] = 5.0  # sure
    masks[0, 1, 4:6, 4:6] = 0.5  # it goes at a logit of 1
    xyxy, scores = boxes_of_masks(masks, torch.tensor([[0.8, 0.9, 1.0]]), 8, (4 * 6, 4 * 8))
    assert xyxy.tolist() == [[4, 8, 20, 16], [16, 16, 24, 24]]  # the third is empty
    np.testing.assert_allclose(scores, [0.8, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"points": -1}, "points must be"),
        ({"points": 0}, "points must be at least 1 where there are no prompts"),
        ({"nms_iou": 2.0}, "nms_iou must be"),
        ({"n_prompts": 0}, "n_prompts must be"),
        ({"model": "nowhere"}, "model=nowhere must be a folder with config.json and model.safetensors"),
    ],
)
def test_arguments_are_checked(folder: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sam(**({"model": folder} | changed))


def test_another_model_or_damaged_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    described = json.loads((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    for change, message in (
        ({"model_type": "bert"}, "describes no Segment Anything, got 'bert'"),
        ({"vision_config": described["vision_config"] | {"image_size": 10**6}}, "image_size must be in"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(described | change))
        with pytest.raises(InputError, match=message):
            Sam(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match="is no readable file of tensors"):
        Sam(tmp_path).propose(sample())


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"proposals=sam needs the package transformers: pip install 'wsdet\[sam\]'"):
        Sam(folder)
