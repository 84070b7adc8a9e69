"""Maps made by several processes are those made by one, within the cache's limit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsdet.data.synthetic import Synthetic
from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.detectors.rcnn.maps_job import fill
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.runners.local import Local


@pytest.mark.slow
def test_two_workers_make_the_maps_of_one(tmp_path: Path, forked_workers: None) -> None:
    dataset = Synthetic(n_train=5, n_test=0, size=64)
    ids = dataset.ids("train")
    features = RoiFeatures(Network(build_backbone("tiny", 9, 64), [(i,) for i in range(9)], device="cpu"))
    cache, runner = MapCache(tmp_path, features), Local(2)
    fill(cache, dataset, ids[:4], features, runner)
    assert [cache.has(image_id) for image_id in ids] == [True] * 4 + [False]
    for image_id in ids[:4]:
        kept = cache.maps(image_id, lambda: pytest.fail("made again"))
        made = features.maps(dataset.load(image_id))
        assert kept.size_hw == made.size_hw
        for one, other in zip(kept.levels, made.levels, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)  # float16, of as many threads as there are
    fill(cache, dataset, ids[:4], features, runner)  # nothing is left to do


def test_a_full_cache_ends_it(tmp_path: Path) -> None:
    dataset = Synthetic(n_train=5, n_test=0, size=64)
    ids = dataset.ids("train")
    features = RoiFeatures(Network(build_backbone("tiny", 9, 64), [(i,) for i in range(9)], device="cpu"))
    one = sum(level.nbytes for level in features.maps(dataset.load(ids[0])).levels)
    fill(MapCache(tmp_path, features, 2.5 * one / 1e9), dataset, ids, features, Local(1))
    assert 1 <= len(list(tmp_path.rglob("*.safetensors"))) <= 2
