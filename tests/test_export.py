from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from wsdet.cli.entry_point import CONF
from wsdet.data.coco import Coco
from wsdet.data.image_files import ImageFiles
from wsdet.data.voc import Voc
from wsdet.data.yolo import Yolo
from wsdet.export import run as run_export
from wsdet.stages.export import FORMATS, export, find_store, method_of
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Dataset, InputError, Sample, Split

XYXY = [[5, 6, 25, 36]]
FORMAT_NAMES = sorted(FORMATS)


def some_boxes(scores: list[float], label: int = 0) -> Boxes:
    return Boxes(
        np.array(XYXY * len(scores), np.float32), np.array(scores, np.float32), np.full(len(scores), label, np.int64)
    )


def photos(folder: Path, names: dict[str, str], classes: tuple[str, ...] = ("cat",)) -> ImageFiles:
    """A dataset of images of 40 x 50 pixels: file by image id."""
    for name in names.values():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), "gray").save(folder / name)
    return ImageFiles("photos", classes, names, (), lambda image_id: folder / names[image_id], {}, {}, 10**6)


def write(dataset: Dataset, boxes: dict[str, Boxes], out: Path, format: str = "coco", **options: Any) -> Any:
    ids: dict[Split, tuple[str, ...]] = {"train": dataset.ids("train"), "test": dataset.ids("test")}
    return export(dataset, ids, boxes, out, format, method="m", settings={}, **options)


@pytest.mark.parametrize("format", FORMAT_NAMES)
@pytest.mark.parametrize("images", ["none", "link", "copy"])
def test_images_lie_where_the_format_has_them(tmp_path: Path, format: str, images: str) -> None:
    dataset = photos(tmp_path / "photos", {"a/1.jpg": "a/1.jpg", "2": "2.png"})
    contents = write(
        dataset, {i: some_boxes([1]) for i in dataset.ids("train")}, tmp_path / "out", format, images=images
    )
    assert [exported.file_name for exported in contents.images] == ["a/1.jpg", "2.png"]
    for exported in contents.images:
        place = tmp_path / "out" / FORMATS[format].image_path(exported)
        assert place.exists() == (images != "none")
        assert place.is_symlink() == (images == "link")
        if images != "none":
            assert place.read_bytes() == dataset.path(exported.image_id).read_bytes()


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_untrusted_names_stay_in_the_folder(tmp_path: Path, format: str) -> None:
    names = {
        "../../up.jpg": "1.jpg",
        "/root.jpg": "2.jpg",
        "a\n.jpg": "3.jpg",
        "a\\..\\b.jpg": "4.jpg",
        "é x.jpg": "5.jpg",
    }
    dataset = photos(tmp_path / "photos", names, classes=("../../class", "<&>\x00"))
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "deep" / "er" / "out"
    write(dataset, dict.fromkeys(names, some_boxes([1], label=1)), out, format, images="copy")
    made = [path for path in tmp_path.rglob("*") if path not in before and path.is_file()]
    assert all(path.is_relative_to(out) for path in made)
    assert len([path for path in made if path.suffix == ".jpg"]) == len(names)


@pytest.mark.parametrize("format", FORMAT_NAMES)
@pytest.mark.parametrize("boxes", [{}, {"1.jpg": Boxes.empty()}], ids=["no image", "no box"])
def test_nothing_is_exported_too(tmp_path: Path, format: str, boxes: dict[str, Boxes]) -> None:
    contents = write(photos(tmp_path / "photos", {"1.jpg": "1.jpg"}), boxes, tmp_path / "out", format)
    assert len(contents.images) == len(boxes)


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_the_same_again_is_the_same_bytes(tmp_path: Path, format: str) -> None:
    dataset = photos(tmp_path / "photos", {"1.jpg": "1.jpg", "2.jpg": "2.jpg"})
    boxes = {image_id: some_boxes([0.25, 0.5]) for image_id in dataset.ids("train")}
    contents = []
    for _ in range(2):
        write(dataset, boxes, tmp_path / "out", format, images="link")
        contents.append({path: path.read_bytes() for path in sorted((tmp_path / "out").rglob("*")) if path.is_file()})
    assert contents[0] == contents[1]
    assert not [path for path in contents[0] if path.suffix == ".part"]


def test_who_reads_pseudo_boxes_back_as_truth_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = photos(tmp_path / "photos", {"1.jpg": "1.jpg"})
    for format in ("coco", "yolo"):
        write(dataset, {"1.jpg": some_boxes([1])}, tmp_path / format, format, images="copy")
    Coco(tmp_path / "coco", "train", None, images="images")
    Yolo(tmp_path / "yolo", test_split=None)
    assert caplog.text.count("its boxes were made by m, not by people") == 2


def test_minimum_score_keeps_the_score_itself(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "photos", {"1.jpg": "1.jpg"})
    contents = write(dataset, {"1.jpg": some_boxes([0.25, 0.5, 1])}, tmp_path / "out", min_score=0.5)
    assert contents.images[0].boxes.scores.tolist() == [0.5, 1]


@pytest.mark.parametrize(
    ("top_k", "kept"), [(0, [0.25, 1, 0.5, 0.75]), (1, [1, 0.75]), (2, [0.25, 1, 0.5, 0.75]), (9, [0.25, 1, 0.5, 0.75])]
)
def test_the_best_of_each_class_stay(tmp_path: Path, top_k: int, kept: list[float]) -> None:
    dataset = photos(tmp_path / "photos", {"1.jpg": "1.jpg"}, classes=("cat", "dog"))
    boxes = Boxes(np.array(XYXY * 4, np.float32), np.array([0.25, 1, 0.5, 0.75], np.float32), np.array([0, 0, 1, 1]))
    contents = write(dataset, {"1.jpg": boxes}, tmp_path / "out", top_k=top_k)
    assert contents.images[0].boxes.scores.tolist() == kept


def test_boxes_are_clipped_and_those_without_area_left_out(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "photos", {"1.jpg": "1.jpg"})
    xyxy = np.array([[-5, -5, 60, 60], [50, 0, 60, 10], [3, 3, 3, 9]], np.float32)
    contents = write(dataset, {"1.jpg": Boxes(xyxy, labels=np.zeros(3, np.int64))}, tmp_path / "out")
    assert contents.images[0].boxes.xyxy.tolist() == [[0, 0, 50, 40]]


def test_boxes_without_a_class_are_objects(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "photos", {"1.jpg": "1.jpg", "2.jpg": "2.jpg"})
    boxes = {"1.jpg": some_boxes([1], label=-1), "2.jpg": some_boxes([1])}
    contents = write(dataset, boxes, tmp_path / "out")
    assert contents.classes == ("cat", "object")
    assert [exported.boxes.labels.tolist() for exported in contents.images] == [[1], [0]]
    named = photos(tmp_path / "photos", {"1.jpg": "1.jpg"}, classes=("object", "cat"))
    contents = write(named, boxes, tmp_path / "other")
    assert contents.classes == ("object", "cat")
    assert contents.images[0].boxes.labels.tolist() == [0]


def test_images_of_one_stem_keep_a_file_each(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "photos", {"a.jpg": "a.jpg", "a.png": "a.png"})
    boxes = {image_id: some_boxes([1]) for image_id in dataset.ids("train")}
    for format, n_files in (("voc", "*.xml"), ("yolo", "a*.txt")):
        write(dataset, boxes, tmp_path / format, format, images="copy")
        assert len(list((tmp_path / format).rglob(n_files))) == 2


def test_a_bad_image_costs_itself_alone(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "photos", {"1.jpg": "1.jpg", "2.jpg": "2.jpg"})
    boxes = {image_id: some_boxes([1]) for image_id in dataset.ids("train")}
    (tmp_path / "photos" / "1.jpg").write_bytes(b"broken")
    contents = write(dataset, boxes, tmp_path / "out")
    assert [exported.image_id for exported in contents.images] == ["2.jpg"]
    assert list(json.loads((tmp_path / "out" / "failed.json").read_text())) == ["1.jpg"]
    with pytest.raises(InputError, match=r"1\.jpg"):
        write(dataset, boxes, tmp_path / "out", strict=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "pascal"}, "format must be one of coco, voc"),
        ({"top_k": -1}, "top_k must be 0"),
        ({"top_k": 1.5}, "top_k must be 0 .* got 1.5"),
        ({"min_score": "high"}, "min_score must be a number, or null for none, got 'high'"),
        ({"images": "move"}, "images must be one of none, link, copy"),
    ],
)
def test_what_is_not_allowed(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write(photos(tmp_path / "photos", {"1.jpg": "1.jpg"}), {}, tmp_path / "out", **options)


@pytest.mark.parametrize("label", [1, -2])
def test_a_class_that_the_data_does_not_have(tmp_path: Path, label: int) -> None:
    dataset = photos(tmp_path / "photos", {"1.jpg": "1.jpg"})
    with pytest.raises(InputError, match=f"a box of class {label}, the data has classes 0 to 0"):
        write(dataset, {"1.jpg": some_boxes([1], label)}, tmp_path / "out")


@dataclass(frozen=True)
class Painted:
    """A dataset whose images are no files."""

    classes: tuple[str, ...] = ("cat",)
    truth = dict[str, Boxes]()  # noqa: RUF012  (empty)

    def ids(self, split: Split) -> tuple[str, ...]:
        return ("1",) if split == "test" else ()

    def labels(self, image_id: str) -> tuple[int, ...]:
        return (0,)

    def load(self, image_id: str) -> Sample:
        return Sample(image_id, np.full((40, 50, 3), 7, np.uint8), (0,))


def test_images_that_are_no_files_become_png(tmp_path: Path) -> None:
    write(Painted(), {"1": some_boxes([1])}, tmp_path / "out", images="link")
    with Image.open(tmp_path / "out" / "images" / "1.png") as image:
        assert (np.array(image) == 7).all()
        assert image.size == (50, 40)


def test_a_run_with_one_store_stands_for_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a store of boxes, or the folder of a run"):
        find_store(tmp_path)
    one = tmp_path / "localization" / "stl_cl"
    BoxStore(one, {"localizer": {"_target_": "wsdet.localizers.stl.Stl"}})
    assert find_store(tmp_path).folder == find_store(one).folder == one
    assert method_of(find_store(tmp_path)) == "stl_cl (wsdet.localizers.stl.Stl)"
    BoxStore(tmp_path / "localization" / "center_box", {"side": 0.7})
    assert method_of(find_store(tmp_path / "localization" / "center_box")) == "center_box"
    with pytest.raises(InputError, match=r"has 2 stores; give one of them: boxes=.*center_box, boxes=.*stl_cl"):
        find_store(tmp_path)


def test_true_boxes_of_real_photos_come_back(shared: Path, tmp_path: Path) -> None:
    voc = Voc(shared / "data" / "VOCdevkit")
    ids: dict[Split, tuple[str, ...]] = {"train": voc.ids("train")[:15], "test": voc.ids("test")[:15]}
    for format in ("voc", "coco", "yolo"):
        export(voc, ids, voc.truth, tmp_path / format, format, method="people", settings={}, images="link")
    voc_again = Voc(tmp_path / "voc" / "VOCdevkit", classes=voc.classes)  # the format has no list of classes
    coco = Coco(tmp_path / "coco", "train", "test", images="images")
    yolo = Yolo(tmp_path / "yolo")
    for split, folder in (("train", "train"), ("test", "val")):
        for image_id in ids[split]:  # type: ignore[index]
            true = voc.truth[image_id]
            for found in (
                voc_again.truth[image_id],
                coco.truth[f"images/{image_id}.jpg"],
                yolo.truth[f"images/{folder}/{image_id}.jpg"],
            ):
                np.testing.assert_allclose(found.xyxy, true.xyxy, atol=1e-4)
                np.testing.assert_array_equal(found.labels, true.labels)
            np.testing.assert_array_equal(voc_again.truth[image_id].difficult, true.difficult)


def test_a_minimum_that_no_box_reaches_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = BoxStore(tmp_path / "store", {})
    store.fill(["test_000000"], lambda ids: [(image_id, some_boxes([0.5])) for image_id in ids], "")
    overrides = [
        f"boxes={tmp_path / 'store'}",
        f"out={tmp_path / 'out'}",
        "data=synthetic",
        "data.n_test=1",
        "format=coco",
        "min_score=1",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run_export(compose("export", overrides))
    assert "no box is scored 1 or more, the highest score is 0.5; lower min_score" in caplog.text


def test_the_command(tmp_path: Path) -> None:
    store = BoxStore(tmp_path / "run" / "localization" / "center_box", {"side": 0.7})
    store.fill(["test_000000"], lambda ids: [(image_id, some_boxes([0.5, 2])) for image_id in ids], "")
    given = ["data=synthetic", "data.n_train=2", "data.n_test=2", "data.size=64"]
    data = [f"boxes={tmp_path / 'run'}", f"out={tmp_path / 'out'}", *given]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run_export(compose("export", [*data, "format=coco", "min_score=1", "images=copy"]))
        with pytest.raises(InputError, match=r"export\.min_score was 1, is 0"):
            run_export(compose("export", [*data, "format=coco", "min_score=0", "images=copy"]))
        with pytest.raises(InputError, match="none of the data's images"):
            run_export(compose("export", [*data, "format=coco", "split=train"]))
    coco = json.loads((tmp_path / "out" / "annotations" / "instances_test.json").read_text())
    assert [annotation["bbox"] for annotation in coco["annotations"]] == [[5, 6, 20, 30]]
    assert coco["info"]["method"] == "center_box"
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["test_000000.png"]


def run_with_boxes(folder: Path) -> BoxStore:
    """A run on made-up data that trains on at most two boxes of a label."""
    data = {"_target_": "wsdet.data.synthetic.Synthetic", "n_train": 1, "n_test": 1, "size": 64}
    store = BoxStore(folder / "localization" / "full_image", {"localizer": {"_target_": "Some"}})
    xyxy = np.array([[0, 0, 9, 9], [10, 0, 19, 9], [20, 0, 29, 9], [1, 0, 9, 9]], np.float32)
    found = Boxes(xyxy, np.array([1, 0.9, 0.3, 0.95], np.float32), np.zeros(4, np.int64))
    store.fill(["train_000000"], lambda ids: [(image_id, found) for image_id in ids], "")
    config = {"data": data, "detector": {"top_k": 2, "keep_above": 0.5}, "names": {"localizer": "full_image"}}
    (folder / "config.yaml").write_text(json.dumps(config))
    return store


def test_an_export_finds_its_data_and_takes_the_boxes_that_training_took(tmp_path: Path) -> None:
    run_with_boxes(tmp_path / "run")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run_export(compose("export", [f"boxes={tmp_path / 'run'}", f"out={tmp_path / 'out'}", "format=coco"]))
        run_export(
            compose("export", [f"boxes={tmp_path / 'run'}", f"out={tmp_path / 'all'}", "format=coco", "top_k=0"])
        )
    files = [tmp_path / out / "annotations" / "instances_train.json" for out in ("out", "all")]
    found = [json.loads(file.read_text()) for file in files]
    assert [[box["bbox"][0] for box in one["annotations"]] for one in found] == [[0, 10], [0, 10, 20, 1]]


@pytest.mark.parametrize(
    ("config", "message"),
    [({}, "lies in no run whose config.yaml says its data"), ({"data": {"_target_": "os.system"}}, "no known kind")],
)
def test_the_data_of_a_run_is_checked(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    run_with_boxes(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text(json.dumps(config))
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.raises(InputError, match=message),
    ):
        run_export(compose("export", [f"boxes={tmp_path / 'run'}", f"out={tmp_path / 'out'}", "format=coco"]))
