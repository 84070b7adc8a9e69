"""Passes over the images that workers do leave what one process leaves."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.detectors.rcnn.test_mining import FAST, RCNN, STL, trainer
from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.detectors.rcnn.mining import SvmTrainer, TrainedTasks
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.runners.local import Local
from wsdet.types import InputError


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(build_backbone("tiny", 3, 48, seed=0), [(i,) for i in range(3)], device="cpu", precision="float32")


class Elsewhere:
    """Sends a job as runners do, and has all images done before the first result is taken, as far ahead as can be."""

    workers = 2
    n_forward_passes = 0
    n_images = 0

    def run(self, job: Any, ids: Sequence[str]) -> Iterator[Any]:
        there = copy.deepcopy(job.packed()).open(0)
        self.n_images += len(ids)
        yield from list(there(ids))


def assert_alike(one: tuple[SvmTrainer, TrainedTasks], other: tuple[SvmTrainer, TrainedTasks]) -> None:
    """Bit for bit."""
    for column in ("targets", "images", "boxes", "weights"):
        pools = [getattr(of.pool, column)[: len(of.pool)] for of, _ in (one, other)]
        np.testing.assert_array_equal(*pools)
    assert torch.equal(one[0].pool.x[: len(one[0].pool)], other[0].pool.x[: len(other[0].pool)])
    assert torch.equal(one[1].classifiers.weights, other[1].classifiers.weights)
    assert torch.equal(one[1].classifiers.biases, other[1].classifiers.biases)


def trained(*args: Any, **changed: Any) -> tuple[SvmTrainer, TrainedTasks]:
    one = trainer(*args, **changed)
    return one, one.run()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [FAST, STL, RCNN, replace(FAST, whole_first_image=True)])
def test_where_images_are_looked_at_changes_nothing(protocol: TrainingProtocol, squares: Any, network: Any) -> None:
    runner = Elsewhere()
    assert_alike(trained(squares, network, protocol), trained(squares, network, protocol, runner=runner))
    n_images = len(squares.ids("train"))
    n_passes = 1 if protocol.retrain_after else 1 + protocol.rounds  # what is trained within a pass is done in turn
    assert n_images * n_passes - protocol.whole_first_image == runner.n_images


def test_a_pool_that_makes_room_meanwhile_is_noticed(
    squares: Any, network: Any, caplog: pytest.LogCaptureFixture
) -> None:
    few = {"max_rows": 40}
    protocol = replace(FAST, rounds=3, evict_below=None)
    assert_alike(
        trained(squares, network, protocol, **few), trained(squares, network, protocol, runner=Elsewhere(), **few)
    )
    assert "the examples fill all 40 rows" in caplog.text


def test_an_image_that_cannot_be_read_elsewhere_is_left_out_here(
    squares: Any, network: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load = type(squares).load

    def broken(self: Any, image_id: str) -> Any:
        if image_id == "train03":
            raise InputError("train03 is no image")
        return load(self, image_id)

    monkeypatch.setattr(type(squares), "load", broken)
    one, _ = trained(squares, network, runner=Elsewhere())
    assert caplog.text.count("train03 is no image") == 1
    assert 3 not in one.pool.images[: len(one.pool)]
    with pytest.raises(InputError, match="train03 is no image"):
        trained(squares, network, runner=Elsewhere(), strict=True)


def test_workers_add_no_maps_to_the_cache(squares: Any, network: Any, tmp_path: Path) -> None:
    features = RoiFeatures(network)
    trained(squares, network, features=features, cache=MapCache(tmp_path, features), runner=Elsewhere())
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.slow
def test_two_processes_of_this_machine(squares: Any, network: Any, forked_workers: None) -> None:
    torch.set_num_threads(1)
    assert_alike(trained(squares, network), trained(squares, network, runner=Local(2)))
