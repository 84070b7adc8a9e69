"""`python -m wsdet.detect` with a neural detector: it tells the kind by itself and makes no proposals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from PIL import Image

from wsdet.cli.entry_point import CONF
from wsdet.detect import run as run_detect
from wsdet.detectors.neural.detector import NeuralDetector
from wsdet.storage.box_store import BoxStore


def test_photos_in_boxes_out(detector_of: Callable[..., NeuralDetector], tmp_path: Path) -> None:
    detector_of("fcos").save(tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for name, size_hw in (("a.jpg", (40, 60)), ("b.png", (1, 1))):
        Image.fromarray(np.full((*size_hw, 3), 90, np.uint8)).save(tmp_path / "photos" / name)
    overrides = [f"model={tmp_path / 'model'}", f"images={tmp_path / 'photos'}", f"out={tmp_path / 'out'}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("detect", [*overrides, "device=cpu", "draw_above=0"])
        run_detect(cfg)
        run_detect(cfg)  # nothing to do the second time
    out = tmp_path / "out"
    assert not (out / "proposals").exists()
    assert list(BoxStore(out / "detections")) == ["a.jpg", "b.png"]
    coco = json.loads((out / "detections.json").read_text(encoding="utf-8"))
    assert [category["name"] for category in coco["categories"]] == ["square", "bar", "disc"]
    assert (out / "drawn" / "a.jpg").exists()
