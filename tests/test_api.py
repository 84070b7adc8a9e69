from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wsdet
from tests.conftest import TinyDataset
from wsdet.data.images import read_image
from wsdet.storage.box_store import BoxStore

FAST = {
    "network.training.epochs": 1,
    "network.input_size": 64,
    "device": "cpu",
    "workers": 0,
    "report": False,
    "verdict": 0,
}
NAMES = ["a.png", "b.png", "c/1.png", "d/1.png"]
TRAINING = {
    "device": "cpu",
    "workers": 0,
    "report": False,
    "detector.training.epochs": 1,
    "detector.model.short_side": 64,
}


def some_detections() -> wsdet.Detections:
    boxes = wsdet.Boxes(
        np.array([[1, 2, 30, 40], [5, 5, 9, 9]], np.float32), np.array([0.75, 0.5], np.float32), np.array([1, 0])
    )
    return wsdet.Detections.of(boxes, ("cat", "dog"))


@pytest.fixture(scope="module")
def given(tiny_dataset: TinyDataset) -> tuple[list[Any], list[list[str]]]:
    """Arrays and PIL images with their labels."""
    ids = [*tiny_dataset.ids("train"), *tiny_dataset.ids("test")]
    pixels = [tiny_dataset.load(image_id).pixels for image_id in ids]
    labels = [[tiny_dataset.classes[label] for label in tiny_dataset.labels(image_id)] for image_id in ids]
    return [Image.fromarray(one) if n % 2 else one for n, one in enumerate(pixels)], labels


@pytest.fixture(scope="module")
def boxes(given: tuple[list[Any], list[list[str]]], tmp_path_factory: pytest.TempPathFactory) -> BoxStore:
    return wsdet.localize(*given, localizer="center_box", out=tmp_path_factory.mktemp("run"), options=FAST)


@pytest.fixture(scope="module")
def photos(given: tuple[list[Any], list[list[str]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, image in zip(NAMES, given[0], strict=False):
        (folder / name).parent.mkdir(exist_ok=True)
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(folder / name)
    return folder


def test_the_package_itself_imports_nothing_slow_and_lists_its_names() -> None:
    program = (
        "import sys, wsdet; assert set(wsdet.__all__) <= set(dir(wsdet)); wsdet.__version__\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'hydra', 'numpy', 'wsdet.api')))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        wsdet.nothing  # noqa: B018


def test_a_function_stays_one_where_the_program_of_its_name_is_imported() -> None:
    import wsdet.evaluate
    import wsdet.localize

    assert callable(wsdet.localize)
    assert callable(wsdet.evaluate)


def test_given_images_are_kept_with_their_labels(
    boxes: BoxStore, given: tuple[list[Any], list[list[str]]], tiny_dataset: TinyDataset
) -> None:
    dataset = wsdet.open_dataset(boxes.folder.parents[1] / "images", test_fraction=0)
    assert dataset.classes == tuple(sorted(tiny_dataset.classes))
    assert list(boxes) == list(dataset.ids("train"))
    for image_id, image, labels in zip(boxes, *given, strict=True):
        np.testing.assert_array_equal(dataset.load(image_id).pixels, np.asarray(image))
        assert [dataset.classes[label] for label in dataset.labels(image_id)] == sorted(labels)
        assert {dataset.classes[label] for label in boxes[image_id].labels if label >= 0} == set(labels)


def test_the_same_call_again_resumes(given: tuple[list[Any], list[list[str]]], boxes: BoxStore) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in boxes.folder.rglob("*.parquet"))
    run = boxes.folder.parents[1]
    wsdet.localize(*given, localizer="center_box", out=run, options=FAST)
    assert sorted((path, path.stat().st_mtime_ns) for path in boxes.folder.rglob("*.parquet")) == before


def test_files_keep_their_names(photos: Path, tmp_path: Path) -> None:
    files: list[str | Path] = [photos / "b.png", str(photos / "a.png"), photos / "c" / "1.png", photos / "d" / "1.png"]
    found = wsdet.localize(
        files, ["cat", "=dog, it's"] * 2, localizer="full_image", out=tmp_path / "it's", options=FAST
    )
    assert sorted(found) == NAMES
    assert wsdet.open_dataset(tmp_path / "it's" / "images", test_fraction=0).classes == ("=dog, it's", "cat")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ([], None, "at least one image"),
        ([np.zeros((4, 4), np.uint8)], ["cat"], r"an array \(4, 4\) of uint8"),
        ([np.zeros((4, 4, 3), np.uint8)], ["cat", "dog"], "an entry for each of the 1 images"),
        ([np.zeros((4, 4, 3), np.uint8)], ["a;b"], "must be a name without ';'"),
        (["absent.jpg"], ["cat"], "is no file"),
    ],
)
def test_what_cannot_be_used_is_said(images: list[Any], labels: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(wsdet.InputError, match=message):
        wsdet.localize(images, labels, localizer="full_image", out=tmp_path)


def test_unknown_options_are_said(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(wsdet.InputError, match="localizer/nothing"):
        wsdet.localize(photos, localizer="nothing", out=tmp_path)
    with pytest.raises(wsdet.InputError, match="batch_size"):
        wsdet.localize(photos, localizer="full_image", out=tmp_path, options={"batch_size": 0})


@pytest.fixture(scope="module")
def fcos(boxes: BoxStore, tmp_path_factory: pytest.TempPathFactory) -> wsdet.Detector:
    return wsdet.train_detector(boxes, detector="fcos", out=tmp_path_factory.mktemp("fcos"), options=TRAINING)


@pytest.mark.slow
def test_a_file_an_array_and_a_pil_image_are_predicted_alike(fcos: wsdet.Detector, photos: Path) -> None:
    pixels = read_image(photos / "a.png")
    of_folder = fcos.predict(photos, min_score=0)
    assert isinstance(of_folder, dict)
    assert list(of_folder) == NAMES
    expected = of_folder["a.png"]
    assert len(expected)
    for image in (photos / "a.png", str(photos / "a.png"), pixels, Image.fromarray(pixels)):
        found = fcos.predict(image, min_score=0)
        assert isinstance(found, wsdet.Detections)
        np.testing.assert_array_equal(found.xyxy, expected.xyxy)
        np.testing.assert_array_equal(found.scores, expected.scores)
    assert expected[:1].classes == fcos.classes
    threshold = float(np.median(expected.scores))
    assert (fcos.predict(pixels, min_score=threshold).scores >= threshold).all()
    drawn = expected.draw(pixels)
    assert drawn.size == pixels.shape[1::-1]
    assert (np.asarray(drawn) != pixels).any()
    again = wsdet.load(fcos.folder, "cpu").predict(pixels, min_score=0)
    np.testing.assert_array_equal(again.xyxy, expected.xyxy)


@pytest.mark.slow
def test_a_detector_makes_the_proposals_that_it_needs(boxes: BoxStore, photos: Path, tmp_path: Path) -> None:
    options = {"device": "cpu", "workers": 0, "report": False, "detector.protocols.fast.rounds": 1}
    rcnn = wsdet.train_detector(
        boxes, detector="rcnn_svm", proposals="selective_search", out=tmp_path / "out", options=options
    )
    (photos / "broken.png").write_bytes(b"broken")
    found, of_file = rcnn.predict(photos, min_score=-100), rcnn.predict(photos / "a.png", min_score=-100)
    assert isinstance(found, dict)
    assert isinstance(of_file, wsdet.Detections)
    assert list(found) == NAMES
    assert len(found["a.png"])
    np.testing.assert_array_equal(of_file.xyxy, found["a.png"].xyxy)
    with pytest.raises(wsdet.InputError, match=r"broken\.png"):
        rcnn.predict(photos / "broken.png")


def test_figures_and_exports_find_the_data_of_the_run(boxes: BoxStore, tmp_path: Path) -> None:
    out = wsdet.export(boxes.folder.parents[1], tmp_path / "coco")
    assert (out / "annotations" / "instances_train.json").is_file()
    figures = wsdet.evaluate(boxes)
    assert figures["images"] == 0  # the images have labels alone
    with pytest.raises(wsdet.InputError, match="dataset must be given"):
        wsdet.evaluate({})


def test_classes_are_matched_by_name(tiny_dataset: TinyDataset) -> None:
    names = tuple(sorted(tiny_dataset.classes, reverse=True))
    order = np.array([names.index(name) for name in tiny_dataset.classes])
    found = {
        image_id: wsdet.Detections(boxes.xyxy, boxes.scores, order[boxes.labels], boxes.difficult, names)
        for image_id, boxes in tiny_dataset.truth.items()
    }
    assert names != tiny_dataset.classes
    assert wsdet.evaluate(found, tiny_dataset)["corloc"] == 1
    assert wsdet.evaluate(found, tiny_dataset, kind="detections", split="test")["map"] == 1
    with pytest.raises(wsdet.InputError, match="class 'cat'"):
        wsdet.evaluate({"train_0": some_detections()}, tiny_dataset)


def test_without_supervision_its_boxes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match=r"pip install 'wsdet\[supervision\]'"):
        some_detections().to_supervision()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the package's own, on import
def test_boxes_for_supervision_are_its_own(tiny_dataset: TinyDataset) -> None:
    sv = pytest.importorskip("supervision")
    found = some_detections().to_supervision()
    assert isinstance(found, sv.Detections)
    np.testing.assert_array_equal(found.xyxy, [[1, 2, 30, 40], [5, 5, 9, 9]])
    np.testing.assert_array_equal(found.confidence, np.array([0.75, 0.5], np.float32))
    np.testing.assert_array_equal(found.class_id, [1, 0])
    assert found["class_name"].tolist() == ["dog", "cat"]
    assert len(found[found.confidence > 0.6]) == 1
    pixels = tiny_dataset.load("train_0").pixels.copy()
    assert (sv.BoxAnnotator().annotate(pixels.copy(), found) != pixels).any()
    assert len(some_detections()[:0].to_supervision()) == 0


# of the script of the docs, which runs for fewer epochs, and without a verdict
SHORTER = {
    'out="runs/boxes"': f'out="runs/boxes", options={FAST}',
    'out="runs/detector"': f'out="runs/detector", options={TRAINING}',
}


@pytest.mark.slow
def test_the_script_of_the_docs_goes_from_a_folder_to_a_drawn_prediction(
    given: tuple[list[Any], list[list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    for number, image in enumerate(given[0]):
        name = ("cat", "dog")[number % 2]
        Image.fromarray(np.asarray(image)).save(tmp_path / "photos" / name / f"{1 + number // 2}.jpg")
    docs = (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text()
    script = docs.partition("```python\n")[2].partition("```")[0]
    assert len([line for line in script.splitlines() if line.strip()]) <= 15
    for written, run in SHORTER.items():
        assert script.count(written) == 1
        script = script.replace(written, run)
    monkeypatch.chdir(tmp_path)
    exec(compile(script, "docs/api.md", "exec"), {"__name__": "__main__"})
    with Image.open("prediction.png") as drawn, Image.open("photos/cat/1.jpg") as photo:
        assert drawn.size == photo.size
    assert list((tmp_path / "runs" / "for_label_studio").rglob("*.json"))
