"""What a user changes between two runs of one command: labels, images, the detector, and what lies in the folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsdet import detect
from wsdet.cli.entry_point import compose
from wsdet.detectors.rcnn.detector import RcnnDetector
from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.localize import run as run_localize
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.stages.detect import find_images
from wsdet.storage.box_store import BoxStore
from wsdet.storage.lock import locked
from wsdet.storage.untrusted import read_xml
from wsdet.types import InputError

LABELS = "filename,label\n0.png,cat\n1.png,dog\n2.png,cat\n3.png,dog\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four photos with their labels in a CSV file."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(4):
        paint(folder / f"{number}.png", number)
    (folder / "labels.csv").write_text(LABELS)
    return folder


def paint(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50, 3)).astype(np.uint8)).save(path)


def runrun_localize(data: Path, *overrides: str) -> BoxStore:
    fixed = ("data=auto", "localizer=center_box", "network=tiny", "network.head=pretrained", "network.input_size=32")
    out = data.parent / "out"
    options = ("data.test_fraction=0", "device=cpu", "workers=0", "report=false", "verdict=0")
    out.mkdir(exist_ok=True)
    (out / "config.yaml").write_text("")  # an entry point writes it
    cfg = compose("localize", [*fixed, *options, *overrides, f"data.root={data}", f"out={out}"])
    run_localize(cfg)
    return BoxStore(out / "localization" / "center_box")


def test_corrected_labels_count(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    store = runrun_localize(data, "export=[voc]")
    assert {image_id: int(boxes.labels[0]) for image_id, boxes in store.items()} == {
        "0.png": 0, "1.png": 1, "2.png": 0, "3.png": 1,
    }  # fmt: skip
    (data / "labels.csv").write_text(LABELS.replace("0.png,cat", "0.png,dog"))
    store = runrun_localize(data, "export=[voc]")
    assert "1 images have changed since, or their labels, and are done again, 0.png for one" in caplog.text
    assert "1 done, 3 there already" in caplog.text
    assert int(store["0.png"].labels[0]) == 1
    written = read_xml(next((data.parent / "out" / "export" / "voc").rglob("0.xml")))
    assert written.findtext("object/name") == "dog"


def test_a_new_class_renames_no_box(data: Path) -> None:
    runrun_localize(data)
    (data / "labels.csv").write_text(LABELS.replace("3.png,dog", "3.png,ant"))  # cat is class 1 now
    with pytest.raises(InputError, match=r"network\.class_outputs was .*, is .* delete that folder to make it anew"):
        runrun_localize(data)


def test_a_changed_image_is_done_again_and_a_touched_or_moved_one_is_not(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    runrun_localize(data)
    paint(data / "1.png", 9)
    (data / "2.png").touch()
    runrun_localize(data)
    assert "1 images have changed since, or their labels, and are done again, 1.png for one" in caplog.text
    caplog.clear()
    shutil.copytree(data, copy := data.with_name("copy"))
    shutil.rmtree(data)
    copy.rename(data)
    runrun_localize(data)
    assert "0 done, 4 there already" in caplog.text


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_detector(tmp_path / "model", 0)
    return tmp_path / "model"


def save_detector(folder: Path, seed: int) -> None:
    features = RoiFeatures(Network(build_backbone("tiny", 2, 32), (), device="cpu"), grid=1, scales=(1.0,))
    weights = np.random.default_rng(seed).normal(size=(2, features.dim)).astype(np.float32)
    proposals = {"_target_": "wsdet.proposals.selective_search.SelectiveSearch", "ks": [100], "max_boxes": 10}
    RcnnDetector(features, ("a", "b"), weights, np.zeros(2, np.float32), proposals).save(folder)


def run_detect(model: Path, images: Path, out: Path) -> BoxStore:
    fixed = ["workers=0", "device=cpu", "draw_above=-100"]
    with locked(out):
        detect.run(compose("detect", [*fixed, f"model={model}", f"images={images}", f"out={out}"]))
    return BoxStore(out / "detections")


@pytest.mark.slow
def test_a_detector_trained_anew_in_its_place_is_noticed(data: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    before = run_detect(model, data, tmp_path / "out")["0.png"]
    save_detector(model, 0)  # the same again
    run_detect(model, data, tmp_path / "out")
    save_detector(model, 1)
    with pytest.raises(InputError, match=r"model_files was \w+, is \w+ \(the detector's files\).*delete that folder"):
        run_detect(model, data, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "detections")
    assert run_detect(model, data, tmp_path / "out")["0.png"].scores.tolist() != before.scores.tolist()


def test_a_run_does_not_read_what_it_wrote(data: Path, model: Path) -> None:
    out = data / "found"
    out.mkdir()
    for _ in range(3):
        assert sorted(run_detect(model, data, out)) == ["0.png", "1.png", "2.png", "3.png"]


def test_names_that_would_be_drawn_in_one_place_and_long_ones(model: Path, tmp_path: Path) -> None:
    names = ["a.png", "a.png.jpg", "b.png", "b.png.jpg/c.png", f"{'x' * 245}.png", f"{'ö' * 120}y.png"]
    for number, name in enumerate(names):
        paint(tmp_path / "photos" / name, number)
    (tmp_path / "out").mkdir()
    run_detect(model, tmp_path / "photos", tmp_path / "out")
    drawn = [path for path in (tmp_path / "out" / "drawn").rglob("*.jpg") if path.is_file()]
    assert len(drawn) == len(names)
    listed = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    assert sorted(image["file_name"] for image in listed) == sorted(names)


def test_a_photo_whose_name_is_no_text_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paint(tmp_path / "photos" / "a.png", 0)
    shutil.copy(bytes(tmp_path / "photos" / "a.png"), bytes(tmp_path / "photos") + b"/\xff.png")
    assert find_images(str(tmp_path / "photos"), ("a",)).ids("test") == ("a.png",)
    assert "its name is not UTF-8" in caplog.text
