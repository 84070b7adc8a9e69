from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from wsdet.boxes import xywh_to_xyxy
from wsdet.cli.entry_point import CONF
from wsdet.cli.saved_parts import check_harmless
from wsdet.detect import run as run_detect
from wsdet.detectors.rcnn.detector import RcnnDetector
from wsdet.detectors.rcnn.features import Maps, RoiFeatures
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.tiles import inside, merged
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.runners.local import Local
from wsdet.stages.detect import detect, find_images
from wsdet.storage.box_store import BoxStore
from wsdet.tiles import Tiling, cut, shifted
from wsdet.types import Boxes, Dataset, InputError, Sample

CLASSES = ("bar", "disc <b>")
PROPOSALS: dict[str, Any] = {
    "_target_": "wsdet.proposals.selective_search.SelectiveSearch",
    "ks": [100],
    "max_boxes": 40,
}


@pytest.fixture(scope="module")
def detectors() -> dict[str, RcnnDetector]:
    features = RoiFeatures(Network(build_backbone("tiny", 5, 64), (), device="cpu"), grid=1, scales=(1.0,))
    rng = np.random.default_rng(0)
    return {
        name: RcnnDetector(
            features,
            CLASSES,
            rng.normal(size=(2, features.dim)).astype(np.float32),
            np.zeros(2, np.float32),
            PROPOSALS,
        )
        for name in ("pseudo", "ground_truth")
    }


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.png", "a.jpg", "sub/c.png"):
        pixels = np.full((60, 80, 3), 120, np.uint8) + rng.integers(0, 20, (60, 80, 3)).astype(np.uint8)
        pixels[10:40, 20:60] = (220, 60, 40)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def boxes_of(dataset: Dataset) -> dict[str, Boxes]:
    xyxy = np.array([[0, 0, 40, 40], [20, 10, 60, 40], [5, 5, 15, 30]], np.float32)
    return {image_id: Boxes(xyxy) for image_id in dataset.ids("test")}


def test_all_detectors_are_filled_in_one_pass(
    detectors: dict[str, RcnnDetector], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = find_images(str(photos), CLASSES)
    seen: list[str] = []
    features = detectors["pseudo"].features
    computed = features.maps

    def counted(sample: Sample) -> Maps:
        seen.append(sample.image_id)
        return computed(sample)

    monkeypatch.setattr(features, "maps", counted)
    stores = {name: BoxStore(tmp_path / name, {"name": name}) for name in detectors}
    proposals = boxes_of(dataset)
    detect(dataset, dataset.ids("test")[:2], detectors, proposals, stores)
    detect(dataset, dataset.ids("test"), detectors, proposals, stores)
    assert seen == list(dataset.ids("test"))
    for name, detector in detectors.items():
        assert list(stores[name]) == list(dataset.ids("test"))
        for image_id, found in stores[name].items():
            alone = detector.detect(dataset.load(image_id), proposals[image_id])
            np.testing.assert_array_equal(found.xyxy, alone.xyxy)
            np.testing.assert_array_equal(found.scores, alone.scores)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_workers_find_what_one_finds(photos: Path, tmp_path: Path, precision: str, forked_workers: None) -> None:
    network = Network(build_backbone("tiny", 5, 64), (), device="cpu", precision=precision)
    features = RoiFeatures(network, grid=1, scales=(1.0,))
    weights = np.random.default_rng(0).normal(size=(2, features.dim)).astype(np.float32)
    RcnnDetector(features, CLASSES, weights, np.zeros(2, np.float32), PROPOSALS).save(tmp_path / "model")
    folders = {"a": tmp_path / "model"}
    one, dataset = RcnnDetector.load(folders["a"], "cpu", precision), find_images(str(photos), CLASSES)
    for workers in (1, 2):
        stores = {"a": BoxStore(tmp_path / str(workers), {})}
        found = (dataset, dataset.ids("test"), {"a": one}, boxes_of(dataset), stores)
        detect(*found, runner=Local(workers), folders=folders)
    parts = [(tmp_path / workers / "parts" / "000000.parquet").read_bytes() for workers in ("1", "2")]
    assert parts[0] == parts[1]


def test_an_image_without_proposals_is_recorded(
    detectors: dict[str, RcnnDetector], photos: Path, tmp_path: Path
) -> None:
    dataset = find_images(str(photos), CLASSES)
    proposals = boxes_of(dataset)
    del proposals["b.png"]
    (photos / "sub" / "c.png").write_bytes(b"broken")
    stores = {name: BoxStore(tmp_path / name, {}) for name in detectors}
    reports = detect(dataset, dataset.ids("test"), detectors, proposals, stores)
    for name, store in stores.items():
        assert list(store) == ["a.jpg"]
        assert sorted(reports[name].failed) == sorted(store.failed) == ["b.png", "sub/c.png"]
        assert "has no proposals" in store.failed["b.png"]
    with pytest.raises(InputError, match="has no proposals"):
        detect(dataset, dataset.ids("test"), detectors, proposals, stores, strict=True)


def test_an_image_with_no_box_has_no_detection(detectors: dict[str, RcnnDetector], tmp_path: Path) -> None:
    sample = Sample("a", np.zeros((30, 30, 3), np.uint8))
    assert len(detectors["pseudo"].detect(sample, Boxes.empty())) == 0


def test_detectors_of_other_features_find_what_they_find_alone(
    detectors: dict[str, RcnnDetector], photos: Path, tmp_path: Path
) -> None:
    one = detectors["pseudo"]
    features = RoiFeatures(one.features.network, 1, (0.8,))
    other = RcnnDetector(features, CLASSES, one.weights.numpy(), one.biases.numpy())
    dataset = find_images(str(photos / "b.png"), CLASSES)
    proposals, stores = boxes_of(dataset), {name: BoxStore(tmp_path / name, {}) for name in ("a", "b")}
    detect(dataset, ["b.png"], {"a": one, "b": other}, proposals, stores)
    for name, detector in {"a": one, "b": other}.items():
        alone = detector.detect(dataset.load("b.png"), proposals["b.png"])
        np.testing.assert_array_equal(stores[name]["b.png"].scores, alone.scores)
    with pytest.raises(ValueError, match="same names"):
        detect(dataset, [], {"a": one}, proposals, stores)


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("", ["a.jpg", "b.png", "sub/c.png"]),
        ("b.png", ["b.png"]),
        ("*.png", ["b.png"]),
        ("**/*.png", ["b.png", "sub/c.png"]),
    ],
)
def test_images_by_folder_file_or_pattern(photos: Path, pattern: str, ids: list[str]) -> None:
    dataset = find_images(str(photos / pattern), CLASSES)
    assert list(dataset.ids("test")) == ids
    assert dataset.load(ids[0]).size_hw == (60, 80)


def test_no_image_is_an_input_error(tmp_path: Path) -> None:
    for images in (tmp_path, tmp_path / "absent.jpg", tmp_path / "*.png"):
        with pytest.raises(InputError, match="there is none"):
            find_images(str(images), CLASSES)


def test_the_command(detectors: dict[str, RcnnDetector], photos: Path, tmp_path: Path) -> None:
    detectors["pseudo"].save(tmp_path / "model")
    overrides = [
        f"model={tmp_path / 'model'}",
        f"images={photos}",
        f"out={tmp_path / 'out'}",
        "workers=0",
        "device=cpu",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("detect", [*overrides, "min_score=-100"])
        run_detect(cfg)
        run_detect(cfg)  # nothing to do the second time
    store = BoxStore(tmp_path / "out" / "detections")
    assert list(store) == ["a.jpg", "b.png", "sub/c.png"]
    coco = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [category["name"] for category in coco["categories"]] == list(CLASSES)
    assert [(image["file_name"], image["width"], image["height"]) for image in coco["images"]] == [
        ("a.jpg", 80, 60),
        ("b.png", 80, 60),
        ("sub/c.png", 80, 60),
    ]
    assert len(coco["annotations"]) == sum(len(boxes) for boxes in store.values()) > 0
    first, box = coco["annotations"][0], store["a.jpg"][0]
    assert first["bbox"][2] == pytest.approx(float(box.xyxy[0, 2] - box.xyxy[0, 0]))
    assert math.isclose(first["score"], float(box.scores[0]), rel_tol=1e-6)
    with Image.open(tmp_path / "out" / "drawn" / "sub" / "c.png.jpg") as drawn:
        assert drawn.size == (80, 60)
    with Image.open(tmp_path / "out" / "contact_sheet.jpg") as sheet:
        assert sheet.size == (3 * 320, 320)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run_detect(compose("detect", overrides))  # the default: boxes that are rather correct than not
    scores = [box["score"] for box in json.loads((tmp_path / "out" / "detections.json").read_text())["annotations"]]
    assert min(scores) >= 0.5
    assert len(scores) == sum(int((boxes.scores >= 0.5).sum()) for boxes in store.values()) < len(coco["annotations"])


def test_the_command_on_a_video(detectors: dict[str, RcnnDetector], tmp_path: Path) -> None:
    detectors["pseudo"].save(tmp_path / "model")
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (80, 60))
    for number in range(4):
        frame = np.full((60, 80, 3), 120, np.uint8)
        frame[10:40, 10 + 5 * number : 40 + 5 * number] = (40, 60, 220)
        writer.write(frame)
    writer.release()
    overrides = [f"model={tmp_path / 'model'}", f"images={tmp_path / 'clip.avi'}", f"out={tmp_path / 'out'}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run_detect(compose("detect", [*overrides, "workers=0", "device=cpu", "every=2", "min_score=-100"]))
    assert list(BoxStore(tmp_path / "out" / "detections")) == ["clip_000000.jpg", "clip_000002.jpg"]
    with Image.open(tmp_path / "out" / "drawn" / "clip_000002.jpg") as drawn:
        assert drawn.size == (80, 60)
    video = cv2.VideoCapture(str(tmp_path / "out" / "drawn.mp4"))
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (2, 2.5)
    assert (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (80, 60)
    video.release()


KNOWN: set[str] = {PROPOSALS["_target_"]}


@pytest.mark.parametrize(
    "settings",
    [
        {"_target_": "os.system", "command": "true"},
        {"_target_": "wsdet.proposals.selective_search.os.system"},
        {"_target_": PROPOSALS["_target_"], "ks": {"_target_": "builtins.exec"}},
        {"_target_": PROPOSALS["_target_"], "ks": [[{"_target_": "builtins.exec"}]]},
        {"_target_": PROPOSALS["_target_"], "_args_": ["x"]},
        {"_target_": PROPOSALS["_target_"], "max_boxes": 10**30},
        {"_target_": PROPOSALS["_target_"], "sigma": math.nan},
        {"_target_": PROPOSALS["_target_"], "ks": [1] * 2000},
        {"_target_": PROPOSALS["_target_"], "source": {"localizer": {"_target_": PROPOSALS["_target_"]}}},
        {"_target_": PROPOSALS["_target_"], "ks": "${oc.env:HOME}"},
        {},
    ],
    ids=[
        "other",
        "through",
        "nested",
        "in a list",
        "other key",
        "huge",
        "nan",
        "long",
        "no name",
        "interpolation",
        "none",
    ],
)
def test_a_detector_cannot_name_code_to_run(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="proposals"):
        check_harmless(settings, KNOWN, "model.json", "proposals", "give others")


def test_plain_proposals_are_harmless() -> None:
    check_harmless(PROPOSALS, KNOWN, "model.json", "proposals", "give others")


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "detector" / "protocol").glob("*.yaml")))
def test_every_protocol_is_a_value_of_the_detector(name: str) -> None:
    overrides = ["+detector=rcnn_svm", f"detector.protocol={name}", "model=x", "images=y"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("detect", overrides).detector
    assert isinstance(instantiate(cfg.protocols[cfg.protocol], _convert_="all"), TrainingProtocol)
    assert set(cfg.train_on) == {"pseudo", "ground_truth", "center_box"}
    assert cfg.features in cfg.feature_kinds


class Nearsighted:
    """Finds bright things that are a hundredth of an image or larger, sees no proposals and is sure."""

    classes = ("thing",)
    needs_proposals = False
    device_type = "cpu"
    precision = "float32"

    def detect(self, sample: Sample, proposals: Boxes) -> Boxes:
        _, _, stats, _ = cv2.connectedComponentsWithStats((sample.pixels[..., 0] > 200).astype(np.uint8))
        xywh = stats[1:, :4].astype(np.float32)
        xywh = xywh[xywh[:, 2] * xywh[:, 3] >= 0.01 * np.prod(sample.size_hw)]
        return Boxes(xywh_to_xyxy(xywh), np.full(len(xywh), 0.9, np.float32), np.zeros(len(xywh), np.int64))


def test_tiles_show_a_detector_what_is_small(tmp_path: Path) -> None:
    things = [[20, 30, 36, 50], [90, 95, 110, 112], [380, 10, 399, 30], [203, 280, 219, 300], [150, 150, 290, 270]]
    pixels = np.zeros((300, 400, 3), np.uint8)
    for x1, y1, x2, y2 in things:
        pixels[y1:y2, x1:x2] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    dataset = find_images(str(tmp_path / "a.png"), ("thing",))
    found = {}
    for name, tiling in (("image", None), ("tiles", Tiling(0.25, 0.3))):
        store = BoxStore(tmp_path / name, {})
        detect(dataset, ["a.png"], {"a": Nearsighted()}, None, {"a": store}, tiling=tiling)
        found[name] = sorted(store["a.png"].xyxy.tolist())
    assert found["image"] == things[-1:]  # the large one, which no tile shows whole
    assert found["tiles"] == sorted(things)


def test_proposals_are_seen_in_their_tiles(detectors: dict[str, RcnnDetector], photos: Path, tmp_path: Path) -> None:
    dataset, tiling = find_images(str(photos), CLASSES), Tiling(40, 0.2)
    stores = {name: BoxStore(tmp_path / name, {}) for name in detectors}
    proposals = boxes_of(dataset)
    detect(dataset, dataset.ids("test"), detectors, proposals, stores, tiling=tiling)
    windows = tiling.windows((60, 80))
    for name, detector in detectors.items():
        for image_id, found in stores[name].items():
            sample = dataset.load(image_id)
            alone = [shifted(detector.detect(cut(sample, w), inside(proposals[image_id], w)), w) for w in windows]
            expected = merged(alone, windows)
            np.testing.assert_array_equal(found.xyxy, expected.xyxy)
            np.testing.assert_array_equal(found.scores, expected.scores)
