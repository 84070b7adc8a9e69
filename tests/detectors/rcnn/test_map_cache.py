from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsdet.detectors.rcnn.features import Maps, RoiFeatures
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.types import InputError, Sample


@pytest.fixture
def sample(rng: np.random.Generator) -> Sample:
    return Sample("a/../b", rng.integers(0, 256, (40, 50, 3)).astype(np.uint8))


def test_a_second_run_reads_what_the_first_made(tmp_path: Path, network: Any, sample: Sample) -> None:
    features = RoiFeatures(network)
    made = MapCache(tmp_path, features).maps(sample.image_id, lambda: features.maps(sample))
    read = MapCache(tmp_path, features).maps(sample.image_id, lambda: pytest.fail("made again"))
    assert read.size_hw == made.size_hw == (40, 50)
    for a, b in zip(made.levels, read.levels, strict=True):
        assert torch.equal(a, b)
    assert [path.parent.parent for path in tmp_path.rglob("*.safetensors")] == [tmp_path]


def test_other_settings_have_other_files(tmp_path: Path, network: Any, sample: Sample) -> None:
    for features in (RoiFeatures(network, scales=(1.0,)), RoiFeatures(network, scales=(2.0,))):
        MapCache(tmp_path, features).maps(sample.image_id, partial(features.maps, sample))
    assert len(list(tmp_path.iterdir())) == 2


def test_the_size_is_bounded(tmp_path: Path, network: Any, sample: Sample) -> None:
    features = RoiFeatures(network)
    one = sum(level.nbytes for level in features.maps(sample).levels)
    cache = MapCache(tmp_path, features, max_gigabytes=3.5 * one / 1e9)
    for index in range(10):
        cache.maps(str(index), lambda: features.maps(sample))
    assert 2 <= len(list(tmp_path.rglob("*.safetensors"))) <= 3


@pytest.mark.parametrize("content", [b"", b"not a file of maps", b"\xff" * 64])
def test_a_damaged_file_is_made_anew(tmp_path: Path, network: Any, sample: Sample, content: bytes) -> None:
    features = RoiFeatures(network)
    cache = MapCache(tmp_path, features)
    made = cache.maps("a", lambda: features.maps(sample))
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(content)
    again = MapCache(tmp_path, features).maps("a", lambda: features.maps(sample))
    assert torch.equal(again.levels[0], made.levels[0])
    assert path.stat().st_size > 64


def test_an_unreadable_image_leaves_no_file(tmp_path: Path, network: Any) -> None:
    def fails() -> Maps:
        raise InputError("no image")

    with pytest.raises(InputError, match="no image"):
        MapCache(tmp_path, RoiFeatures(network)).maps("a", fails)
    assert not list(tmp_path.rglob("*.safetensors"))
