"""Boxes found again: those about objects are, those anywhere are not; each half looks at what it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TinyDataset
from wsdet.stages.found_again import found_again
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Execution, Run
from wsdet.types import Boxes, Sample

N, SIDE, OBJECT = 16, 64, 24
COLORS = np.array([[220, 30, 30], [30, 30, 220]], np.uint8)


class Grid:
    """Windows of the objects' size, every eight pixels."""

    def propose(self, sample: Sample) -> Boxes:
        starts = np.arange(0, sample.size_hw[0] - OBJECT + 1, 8)
        corners = np.stack(np.meshgrid(starts, starts), axis=-1).reshape(-1, 2)
        return Boxes(np.concatenate([corners, corners + OBJECT], axis=1).astype(np.float32))


GRID = Recipe("grid", {"_target_": "grid"}, "proposals", lambda settings, kind: Grid())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Sixteen images of one red or blue square each, on gray noise."""
    return run_of(SIDE, tmp_path_factory.mktemp("run"))


def run_of(side: int, out: Path) -> Run:
    """A run over such images of `side` pixels, which a network sees at `SIDE`."""
    from wsdet.networks.backbones import build_backbone
    from wsdet.networks.classifier import Network

    rng = np.random.default_rng(0)
    samples, truth = {}, {}
    for index in range(N):
        image_id, label = f"train_{index:02d}", index // 2 % 2
        pixels = rng.integers(90, 150, size=(side, side, 1)).repeat(3, axis=2).astype(np.uint8)
        x, y = rng.choice(np.arange(0, side - OBJECT + 1, 8), 2)
        pixels[y : y + OBJECT, x : x + OBJECT] = COLORS[label]
        samples[image_id] = Sample(image_id, pixels, (label,))
        truth[image_id] = Boxes(np.array([[x, y, x + OBJECT, y + OBJECT]], np.float32), labels=np.array([label]))
    dataset = TinyDataset(("red", "blue"), samples, truth)
    network = Network(build_backbone("tiny", 2, SIDE), [(0,), (1,)], device="cpu")
    return Run(dataset, {"data": "squares"}, {"train": dataset.ids("train")}, out, network, Execution(workers=0))


def anywhere(truth: Mapping[str, Boxes]) -> dict[str, Boxes]:
    """As many boxes as the true ones, of their labels and sizes, at random."""
    rng = np.random.default_rng(1)
    corners = rng.choice(np.arange(0, SIDE - OBJECT + 1, 8), (len(truth), 2))
    xyxy = np.concatenate([corners, corners + OBJECT], axis=1).astype(np.float32)
    return {i: Boxes(xyxy[[row]], labels=truth[i].labels) for row, i in enumerate(truth)}


def test_boxes_about_objects_are_found_again(run: Run) -> None:
    again = found_again(run, GRID, run.dataset.truth, run.train_ids)
    assert again.mean() > 0.8
    low, high = again.interval()
    assert low <= again.mean() <= high
    assert again.n_images().tolist() == [8, 8]


def test_boxes_anywhere_are_not(run: Run) -> None:
    assert found_again(run, GRID, anywhere(run.dataset.truth), run.train_ids).mean() < 0.4


def test_a_class_in_one_half_alone_is_not_found(run: Run) -> None:
    ids = [i for i in run.train_ids if 1 not in run.dataset.labels(i)]
    alone = next(i for i in run.train_ids if i not in ids)
    again = found_again(run, GRID, run.dataset.truth, [*ids, alone])
    assert again.by_class()[1] == 0


def test_without_boxes_there_is_nothing_to_find(run: Run) -> None:
    again = found_again(run, GRID, {}, run.train_ids)
    assert np.isnan(again.mean())
    assert np.isnan(again.interval()).all()


@pytest.mark.slow
def test_small_objects_are_found_again_in_tiles(tmp_path: Path) -> None:
    run = run_of(3 * SIDE, tmp_path)
    tiled = Recipe("tiles", {"tile": float(SIDE), "tile_overlap": 0.4}, "proposals", lambda settings, kind: Grid())
    in_tiles = found_again(run, tiled, run.dataset.truth, run.train_ids).mean()
    assert in_tiles > 0.8
    assert in_tiles > found_again(run, GRID, run.dataset.truth, run.train_ids).mean() + 0.3
