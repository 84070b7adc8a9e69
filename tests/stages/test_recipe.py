"""What tiles do to the settings of sources and localizers."""

from __future__ import annotations

from hydra import compose, initialize_config_dir

from wsdet.cli.entry_point import CONF
from wsdet.cli.factories import recipe
from wsdet.stages.recipe import in_tiles
from wsdet.tiles import Tiling

SOURCE = {"_target_": "wsdet.proposals.edge_boxes.EdgeBoxes", "max_boxes": 10}
TILED = {"_target_": "wsdet.proposals.tiles.Tiles", "tile": 0.5, "tile_overlap": 0.25, "source": SOURCE}


def test_tiles_go_around_a_source_once_and_not_around_files() -> None:
    tiling = Tiling(0.5)
    assert in_tiles(SOURCE, tiling) == TILED
    assert in_tiles(TILED, tiling) == TILED
    files = {"_target_": "wsdet.proposals.files.Files", "path": "boxes.json"}
    assert in_tiles(files, tiling) == files


def test_a_localizer_looks_at_more_boxes_of_its_tiled_source_and_its_members_do() -> None:
    vote = {"_target_": "wsdet.localizers.vote.Vote", "source": SOURCE, "n_proposals": 400}
    tiled = vote | {"source": TILED, "n_proposals": 2000}
    assert in_tiles(vote, Tiling(0.5)) == tiled
    fuse = {"_target_": "wsdet.localizers.fuse.Fuse", "members": {"a": vote, "b": {"_target_": "c", "k": 1}}}
    assert in_tiles(fuse, Tiling(0.5)) == fuse | {"members": {"a": tiled, "b": {"_target_": "c", "k": 1}}}


def test_one_key_of_a_program_reaches_source_localizer_and_detector() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["tile=0.25", "tile_overlap=0.1", "names.localizer=a", "names.proposals=b"])
        localizer, proposals = recipe(cfg, "localizer").settings, recipe(cfg, "proposals").settings
        features = cfg.detector.feature_kinds.roi
        plain = compose("train", [])
    assert localizer["source"] == proposals
    assert (proposals["tile"], localizer["tile"], features.tile) == (0.25, 0.25, 0.25)
    assert (proposals["tile_overlap"], localizer["tile_overlap"], features.tile_overlap) == (0.1, 0.1, 0.1)
    assert plain.localizer.tile is plain.detector.feature_kinds.roi.tile is None
