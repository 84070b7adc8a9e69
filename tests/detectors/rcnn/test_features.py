from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from wsdet.boxes import clip
from wsdet.detectors.rcnn.features import RoiFeatures, WarpFeatures, build_features
from wsdet.networks.backbones import Backbone
from wsdet.networks.classifier import Network
from wsdet.networks.pyramid import SummedMap
from wsdet.types import InputError, Sample


@pytest.fixture
def sample(rng: np.random.Generator) -> Sample:
    return Sample("a", rng.integers(0, 256, (48, 96, 3)).astype(np.uint8))


XYXY = np.array([[0, 0, 96, 48], [10, 5, 40, 44], [3.5, 2.25, 9, 11], [90, 40, 96, 48], [7, 7, 7, 7]], np.float32)


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_the_whole_map_is_pooled_as_adaptive_pooling_does(grid: int) -> None:
    map_ = torch.rand(6, 12, 5)
    pooled = SummedMap.of(map_).average_cells(torch.tensor([[0.0, 0.0, 12.0, 6.0]]), grid)
    expected = torch.nn.functional.adaptive_avg_pool2d(map_.permute(2, 0, 1), grid)  # both sides divide
    torch.testing.assert_close(pooled[0], expected.permute(1, 2, 0).reshape(grid * grid, 5))


def test_a_cell_is_the_area_weighted_mean_of_what_it_covers() -> None:
    map_ = torch.tensor([[[0.0], [10.0], [40.0]]])  # one row, three columns
    cells = SummedMap.of(map_).average_cells(torch.tensor([[0.5, 0.0, 2.5, 1.0]]), 2)[0, :, 0].tolist()
    # columns 0.5..1.5 and 1.5..2.5 in both rows of cells
    assert cells == pytest.approx([5.0, 25.0, 5.0, 25.0])


def test_agrees_with_roi_align_on_a_smooth_map() -> None:
    ys, xs = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    map_ = torch.stack([xs, ys, xs + ys], dim=-1)  # linear: bilinear sampling and area means are the same inside
    xyxy = torch.tensor([[3.0, 4.0, 18.0, 16.0], [2.0, 2.0, 8.0, 14.0]])
    rois = torch.cat([torch.zeros(2, 1), xyxy], dim=1)
    expected = roi_align(map_.permute(2, 0, 1)[None], rois, 3, sampling_ratio=16, aligned=True)
    torch.testing.assert_close(
        SummedMap.of(map_).average_cells(xyxy, 3), expected.flatten(2).transpose(1, 2), atol=0.03, rtol=1e-3
    )


def test_a_box_smaller_than_a_position_takes_that_position() -> None:
    map_ = torch.arange(12.0).reshape(3, 4, 1)
    cells = SummedMap.of(map_).average_cells(torch.tensor([[2.4, 1.4, 2.6, 1.6], [4.0, 3.0, 4.0, 3.0]]), 2)
    assert cells[:, :, 0].tolist() == [pytest.approx([6.0] * 4), pytest.approx([11.0] * 4)]


@pytest.mark.parametrize("kind", [RoiFeatures, WarpFeatures])
def test_both_kinds_have_one_contract(kind: Any, network: Any, sample: Sample) -> None:
    features = kind(network) if kind is RoiFeatures else kind(network, context=4)
    maps = features.maps(sample)
    rows = features.features(maps, XYXY)
    assert rows.shape == (5, features.dim) == (5, 27)
    assert rows.dtype == torch.float32
    assert rows.isfinite().all()
    assert features.features(maps, np.zeros((0, 4), np.float32)).shape == (0, 27)
    # what shares the batch changes nothing
    for row in range(5):
        torch.testing.assert_close(features.features(maps, XYXY[row : row + 1])[0], rows[row])
    again = build_features(network, **features.settings)
    torch.testing.assert_close(again.features(again.maps(sample), XYXY), rows)


def test_a_box_is_looked_at_where_its_size_is_nearest_to_the_target(network: Any) -> None:
    features = RoiFeatures(network, scales=(1.0, 2.0, 4.0), target=1.0)
    sample = Sample("a", np.zeros((64, 64, 3), np.uint8))
    sides = np.array([64, 40, 30, 16, 8, 2], np.float32)
    xyxy = np.stack([np.zeros(6), np.zeros(6), sides, sides], axis=1).astype(np.float32)
    # resized to 32, 64 and 128 pixels, so a side of 30 becomes 15, 30 and 60: 30 is nearest to 32
    assert features.pyramid.level_of(sample.size_hw, xyxy).tolist() == [0, 1, 1, 2, 2, 2]
    assert [tuple(level.shape) for level in features.maps(sample).levels] == [(4, 4, 3), (8, 8, 3), (16, 16, 3)]


def test_a_box_in_a_tile_has_the_features_that_it_has_where_the_tile_is_an_image(network: Any) -> None:
    sample = Sample("a", np.random.default_rng(0).integers(0, 256, (64, 160, 3), dtype=np.uint8))
    tiled = RoiFeatures(network, tile=96, tile_overlap=0.3)  # tiles begin at 0 and 64
    maps = tiled.maps(sample)
    assert len(maps.levels) == 3 * len(tiled.pyramid.scales)
    plain = RoiFeatures(network)
    xyxy = np.array([[100, 10, 130, 40], [5, 5, 25, 60], [20, 0, 150, 64]], np.float32)
    windows = [(64, 0, 160, 64), (0, 0, 96, 64), (0, 0, 160, 64)]  # the last box is in no tile
    found = tiled.features(maps, xyxy)
    for row, (x1, y1, x2, y2) in enumerate(windows):
        tile = Sample("tile", np.ascontiguousarray(sample.pixels[y1:y2, x1:x2]))
        box = xyxy[row : row + 1] - np.array([x1, y1, x1, y1], np.float32)
        torch.testing.assert_close(plain.features(plain.maps(tile), box)[0], found[row])
    again = build_features(network, **tiled.settings)
    torch.testing.assert_close(again.features(again.maps(sample), xyxy), found)
    assert "tile" not in plain.settings


def test_an_extreme_image_is_neither_huge_nor_lost(network: Any) -> None:
    features = RoiFeatures(network, longest=8.0)
    maps = features.maps(Sample("a", np.zeros((1, 3000, 3), np.uint8)))
    assert all(max(level.shape) <= 8 * 32 for level in maps.levels)
    assert features.features(maps, np.array([[0, 0, 3000, 1]], np.float32)).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("roi", {"grid": 0}, "grid must be a whole number of at least 1"),
        ("roi", {"grid": 10**9}, r"grid must be a number in \[1, 16\]"),
        ("roi", {"scales": []}, "scales must have at least one entry"),
        ("roi", {"longest": 1e9}, "longest must be a number in"),
        ("warp", {"context": 16}, "context must be a number in"),
        ("roi", {"depth": 3}, "features=roi"),
        ("os.system", {}, "features must be roi or warp"),
    ],
)
def test_wrong_settings_are_named(network: Any, kind: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_features(network, kind, **settings)


class HiddenLayers(Backbone):
    """A network with two fully connected layers before its outputs, as AlexNet and VGG have."""

    def __init__(self) -> None:
        trunk = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 8, 8))
        layers = [torch.nn.Linear(2, 7), torch.nn.ReLU(), torch.nn.Linear(7, 5), torch.nn.ReLU(), torch.nn.Linear(5, 4)]
        head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(1), torch.nn.Sequential(*layers))
        super().__init__(trunk, head, 32, "made up", 4)


def test_a_warped_box_is_the_last_hidden_layer_where_there_is_one(sample: Sample) -> None:
    backbone = HiddenLayers().eval()
    network = Network(backbone, (), device="cpu")
    features = WarpFeatures(network, context=4)
    maps = features.maps(sample)
    rows = features.features(maps, XYXY)
    assert rows.shape == (5, features.dim) == (5, 5)
    assert features.settings["layer"] == "hidden"
    # the last layer makes the outputs of the same crops from it
    crops = network.preprocessor.crops(maps.levels[0].permute(2, 0, 1), torch.from_numpy(clip(XYXY, sample.size_hw)), 4)
    torch.testing.assert_close(backbone.last_layer(rows), backbone(crops))
    assert WarpFeatures(network, context=4, layer="map").dim == 2 * 9


def test_a_network_without_hidden_layers_has_none(network: Any) -> None:
    assert WarpFeatures(network, context=4).settings["layer"] == "map"
    with pytest.raises(InputError, match="layer=hidden needs fully connected layers, and block colors has none"):
        WarpFeatures(network, context=4, layer="hidden")
