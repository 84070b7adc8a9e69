"""EdgeBoxes on gradients."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from wsdet.boxes import iou
from wsdet.proposals import edge_boxes
from wsdet.proposals.edge_boxes import EdgeBoxes, gradient_edges, learned_edges
from wsdet.types import InputError, Pixels, Sample

# a forest of one tree: where the gradient at a patch's center is strong, a vertical edge goes through the patch
TINY_FOREST = f"""%YAML:1.0
---
options: {{ stride: 2, shrinkNumber: 2, patchSize: 32, patchInnerSize: 16, numberOfGradientOrientations: 4,
  gradientSmoothingRadius: 0, regFeatureSmoothingRadius: 2, ssFeatureSmoothingRadius: 8,
  gradientNormalizationRadius: 4, selfsimilarityGridSize: 5, numberOfTrees: 1, numberOfTreesToEvaluate: 1 }}
childs: [ [ 2, 0, 0 ] ]
featureIds: [ [ {3 * 16**2 + 8 * 16 + 8}, 0, 0 ] ]
thresholds: [ [ 0.05, 0., 0. ] ]
edgeBoundaries: [ [ 0, 0, 0, 16 ] ]
edgeBins: [ [ {", ".join(str(row * 16 + 8) for row in range(16))} ] ]
"""


def bright_box(factor: int = 1) -> Pixels:
    pixels = np.full((100, 140, 3), 60, np.uint8)
    pixels[30:80, 40:110] = 200
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def test_the_first_box_is_the_object() -> None:
    boxes = EdgeBoxes().propose(Sample("a", bright_box()))
    assert iou(np.array([[40, 30, 110, 80]], np.float32), boxes.xyxy[:1]).item() > 0.75


def test_a_large_image_is_handled_small_and_its_boxes_scaled_back() -> None:
    boxes = EdgeBoxes(max_side=140).propose(Sample("a", bright_box(4)))
    assert iou(np.array([[160, 120, 440, 320]], np.float32), boxes.xyxy[:1]).item() > 0.75


def test_an_image_without_edges_has_no_boxes() -> None:
    assert len(EdgeBoxes().propose(Sample("a", np.full((50, 50, 3), 9, np.uint8)))) == 0


def test_gradient_edges_are_thin_and_know_their_direction() -> None:
    strength, normal = gradient_edges(bright_box())
    assert strength.max() == 1
    assert 1 <= np.count_nonzero(strength[55, 30:50] > 0.5) <= 2  # the left side, crossed along x
    column = 30 + int(strength[55, 30:50].argmax())
    assert min(normal[55, column], np.pi - normal[55, column]) < 0.1
    row = 20 + int(strength[20:40, 75].argmax())
    assert normal[row, 75] == pytest.approx(np.pi / 2, abs=0.1)


def test_learned_edges_lie_where_the_model_puts_them(tmp_path: Path) -> None:
    model = tmp_path / "model.yml"
    model.write_text(TINY_FOREST)
    strength, _ = learned_edges(bright_box(), str(model))
    columns = strength[40:70].sum(axis=0)
    assert set(np.flatnonzero(columns > columns.max() / 2)) <= {*range(33, 44), *range(103, 114)}
    assert len(EdgeBoxes(model=model).propose(Sample("a", bright_box()))) > 0


@pytest.mark.parametrize("size", [(1, 1), (3, 90), (15, 15), (33, 17)], ids=str)
def test_a_model_bears_tiny_images(tmp_path: Path, size: tuple[int, int]) -> None:
    model = tmp_path / "model.yml"
    model.write_text(TINY_FOREST)
    EdgeBoxes(model=model).propose(Sample("a", np.zeros((*size, 3), np.uint8)))


def test_boxes_of_one_pixel_have_no_infinite_score() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    boxes = EdgeBoxes().propose(Sample("a", noise))
    assert len(boxes) > 0
    assert np.isfinite(boxes.scores).all()


def test_having_no_model_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    edge_boxes._say_gradients.cache_clear()
    with caplog.at_level(logging.INFO):
        EdgeBoxes()
        EdgeBoxes()
    assert caplog.text.count("edges are image gradients") == 1


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file"):
        EdgeBoxes(model=tmp_path / "model.yml.gz")


@pytest.mark.parametrize(
    "content",
    ["", "not YAML", "%YAML:1.0\n---\nnothing: 1\n", TINY_FOREST.replace("numberOfTrees: 1", "numberOfTrees: 0")],
    ids=["empty", "text", "another file", "no trees"],
)
def test_a_broken_model_is_named(tmp_path: Path, content: str) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(content)
    with pytest.raises(InputError, match=r"broken\.yml is not a structured-edge model"):
        EdgeBoxes(model=broken)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("alpha", 1), ("beta", 0), ("min_area", 1), ("max_aspect_ratio", 0.5), ("max_side", 0), ("max_boxes", 0)],
)
def test_arguments_are_checked(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be"):
        EdgeBoxes(**{argument: value})  # type: ignore[arg-type]
