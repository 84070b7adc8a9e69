"""The COCO reader: categories, crowds, images without objects, and JSON gone wrong."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsdet.types import InputError


@pytest.fixture
def coco(files: Any) -> Any:
    files.write_coco()
    return lambda **overrides: files.open("coco", **overrides)


def box(image_id: Any, bbox: Any, category_id: Any = 7) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox}


def test_known_answers(coco: Any) -> None:
    dataset = coco()
    assert dataset.classes == ("dog", "cat")  # by their ids, 3 and 7
    assert dataset.ids("train") == ("train2017/1.jpg", "train2017/2.jpg")
    assert dataset.ids("test") == ("val2017/3.jpg",)
    assert [dataset.labels(i) for i in ("train2017/1.jpg", "train2017/2.jpg", "val2017/3.jpg")] == [(0, 1), (), (0,)]
    truth = dataset.truth["train2017/1.jpg"]
    assert truth.xyxy.tolist() == [[1.5, 2, 11.5, 5], [0, 0, 20, 10]]
    assert truth.labels.tolist() == [1, 0]
    assert truth.difficult.tolist() == [False, True]
    assert len(dataset.truth["train2017/2.jpg"]) == 0


def test_one_file_is_split_by_seed(files: Any) -> None:
    files.coco("photos", [f"{i}.jpg" for i in range(1, 6)], [box(i, [0, 0, 2, 2]) for i in range(1, 6)])
    paths = {"annotations": "annotations/instances_photos.json", "images": "photos"}
    dataset = files.open("coco", train_split=None, test_split=None, **paths)
    assert len(dataset.ids("train")) == 4
    assert len(dataset.ids("test")) == 1
    with pytest.raises(ValueError, match="without train_split, test_split must be None"):
        files.open("coco", train_split=None, **paths)


def test_without_annotations_there_is_no_label_and_no_truth(coco: Any, files: Any) -> None:
    path = files.coco("val2017", ["3.jpg"], [])
    content = json.loads(path.read_text())
    del content["annotations"]
    path.write_text(json.dumps(content))
    assert coco().labels("val2017/3.jpg") == ()
    assert "val2017/3.jpg" not in coco().truth


def test_a_label_without_a_box_is_a_label(coco: Any, files: Any) -> None:
    files.coco("val2017", ["3.jpg", "4.jpg"], [{"image_id": 3, "category_id": 7}, box(4, [0, 0, 2, 2])])
    assert coco().labels("val2017/3.jpg") == (1,)
    assert "val2017/3.jpg" not in coco().truth
    assert len(coco().truth["val2017/4.jpg"]) == 1


def test_an_image_listed_twice_has_all_its_annotations(coco: Any, files: Any) -> None:
    images = [{"id": 1, "file_name": "1.jpg"}, {"id": "one", "file_name": "./1.jpg"}]
    files.coco("train2017", ["1.jpg"], [box(1, [0, 0, 2, 2]), box("one", [0, 0, 3, 3], 3)], images=images)
    dataset = coco()
    assert dataset.ids("train") == ("train2017/1.jpg",)
    assert dataset.labels("train2017/1.jpg") == (0, 1)


def test_annotations_of_missing_images_are_counted(coco: Any, files: Any, caplog: pytest.LogCaptureFixture) -> None:
    files.coco("val2017", ["3.jpg"], [box(9, [0, 0, 2, 2]), box(3, [0, 0, 2, 2])])
    assert len(coco().truth["val2017/3.jpg"]) == 1
    assert "1 entries left out: " in caplog.text
    assert "annotations[0]: image_id 9 is not the id of an image in that file" in caplog.text


@pytest.mark.parametrize(
    ("bbox", "says"),
    [
        ([0, 0, 0, 5], "has no area"),
        ([0, 0, -2, 5], "is inverted"),
        ([25, 0, 5, 5], "lies outside the image of 20 x 10 pixels"),
        ([float("nan"), 0, 5, 5], "is not finite"),
        ([0, 0, 1e999, 5], "is not finite"),
    ],
)
def test_a_bad_box_costs_itself(coco: Any, files: Any, bbox: Any, says: str) -> None:
    files.coco("val2017", ["3.jpg", "4.jpg"], [box(3, [1, 1, 2, 2]), box(3, bbox, 3), box(4, bbox)])
    dataset = coco()
    assert dataset.labels("val2017/3.jpg") == (0, 1)
    checked = dataset.truth.checked("val2017/3.jpg")
    assert checked.boxes.xyxy.tolist() == [[1, 1, 3, 3]]
    assert "object 2: its box" in checked.left_out[0]
    assert says in checked.left_out[0]
    with pytest.raises(InputError, match=rf"object 1: its box.*{says}.*no box of the image is left"):
        dataset.truth["val2017/4.jpg"]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (box(3, [0, 0, 5]), "bbox must be a list of x, y, width and height"),
        (box(3, "0 0 5 5"), "bbox must be a list"),
        (box(3, [0, 0, "wide", 5]), "must be a number, got 'wide'"),
        (box(3, [0, 0, True, 5]), "must be a number, got True"),
        (box(3, [0, 0, 10**400, 5]), "must be a number"),
        (box(3, [0, 0, 1, 1], 99), "category_id 99 is not the id of a category"),
        ({"image_id": 3}, r"annotations\[0\]: category_id must be int, got NoneType"),
    ],
)
def test_a_bad_entry_costs_its_image(coco: Any, files: Any, entry: Any, says: str) -> None:
    files.coco("val2017", ["3.jpg", "4.jpg"], [entry, box(4, [-5, -5, 1e300, 500])])
    dataset = coco()
    assert dataset.labels("val2017/3.jpg") == ()
    for read in (dataset.load, dataset.truth.__getitem__):
        with pytest.raises(InputError, match=says):
            read("val2017/3.jpg")
    assert dataset.truth["val2017/4.jpg"].xyxy.tolist() == [[0, 0, 20, 10]]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"id": 1}, r"images[1]: file_name must be str, got NoneType"),
        ({"file_name": "1.jpg"}, r"images[1]: id must be int or str, got NoneType"),
        ({"id": [1], "file_name": "1.jpg"}, r"images[1]: id must be int or str, got list"),
        ({"id": 3, "file_name": "2.jpg"}, r"images[1]: its id 3 is that of '3.jpg'"),
        ({"id": 4, "file_name": ".."}, r"names '..', which no file is called"),
    ],
)
def test_a_bad_image_entry_costs_itself(
    coco: Any, files: Any, entry: Any, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    files.coco("val2017", ["3.jpg"], [box(3, [0, 0, 1, 1])], images=[{"id": 3, "file_name": "3.jpg"}, entry])
    assert coco().ids("test") == ("val2017/3.jpg",)
    assert says in caplog.text


def test_a_name_never_leaves_the_folder(coco: Any, files: Any) -> None:
    files.image("../outside.jpg")
    images = [{"id": 3, "file_name": "3.jpg"}, {"id": 4, "file_name": "../../outside.jpg"}]
    files.coco("val2017", ["3.jpg"], [], images=images)
    dataset = coco()
    assert dataset.ids("test") == ("val2017/3.jpg", "val2017/outside.jpg")
    with pytest.raises(InputError, match="does not exist"):
        dataset.load("val2017/outside.jpg")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": None}, "must have a list 'images'"),
        ({"images": {"1": 2}}, "must have a list 'images'"),
        ({"images": [7]}, r"images\[0\] must be a JSON object"),
        ({"images": [{"id": 1, "file_name": "\ud800.jpg"}]}, "surrogate"),
        ({"categories": [{"id": 7, "name": "a"}, {"id": 7, "name": "b"}]}, r"categories\[1\]: its id 7 is that of 'a'"),
        ({"categories": [{"id": True, "name": "cat"}]}, r"categories\[0\]: id must be int, got bool"),
        ({"categories": [{"id": 1, "name": 5}]}, r"categories\[0\]: name must be str, got int"),
        ({"annotations": 3}, "must have a list 'annotations'"),
    ],
)
def test_json_that_is_not_coco_is_refused(coco: Any, files: Any, changes: dict[str, Any], says: str) -> None:
    files.coco("val2017", ["3.jpg"], [box(3, [0, 0, 1, 1])], **changes)
    with pytest.raises(InputError, match=rf"instances_val2017\.json.*{says}"):
        coco()


@pytest.mark.parametrize("content", ["", "[]", "{", '"a"', "[" * 100_000, "\x00", "9" * 5_000])
def test_what_is_no_json_object_is_refused(coco: Any, files: Any, content: str) -> None:
    files.text("annotations/instances_val2017.json", content)
    with pytest.raises(InputError, match=r"instances_val2017\.json"):
        coco()


def test_splits_are_joined_by_the_names_of_categories(coco: Any, files: Any) -> None:
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "kite"}]
    files.coco("val2017", ["3.jpg"], [box(3, [0, 0, 2, 2], 1)], categories=categories)
    assert coco().classes == ("dog", "cat", "kite")
    assert coco().labels("val2017/3.jpg") == (1,)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ([[2, 3, 8, 3, 5, 9]], [2, 3, 8, 9]),
        ([[2, 3, 8, 3, 5, 9], [10, 1, 12, 1, 12, 2]], [2, 1, 12, 9]),
        ({"size": [10, 20], "counts": [23, 4, 6, 4, 163]}, [2, 3, 4, 7]),  # rows 3 to 6 of columns 2 and 3
        ({"size": [10, 20], "counts": [23, 14, 163]}, [2, 0, 4, 10]),  # one run over the end of a column
    ],
    ids=["polygon", "polygons", "runs", "a run over columns"],
)
@pytest.mark.parametrize("bbox", [None, []])
def test_a_shape_without_a_box_has_its_extent(coco: Any, files: Any, shape: Any, expected: Any, bbox: Any) -> None:
    files.coco("val2017", ["3.jpg"], [box(3, bbox) | {"segmentation": shape, "iscrowd": 0}])
    assert coco().truth["val2017/3.jpg"].xyxy.tolist() == [expected]


def test_crowds_everywhere_are_objects(coco: Any, files: Any) -> None:
    files.coco("val2017", ["3.jpg"], [box(3, [0, 0, 2, 2]) | {"iscrowd": 1}])
    assert coco().labels("val2017/3.jpg") == (1,)
    assert coco().truth["val2017/3.jpg"].difficult.tolist() == [False]


def test_a_group_of_categories_is_no_class(coco: Any, files: Any) -> None:
    categories = [
        {"id": 0, "name": "pets"},
        *({"id": i, "name": n, "supercategory": "pets"} for i, n in ((3, "dog"), (7, "cat"))),
    ]
    for split, name in (("train2017", "1.jpg"), ("val2017", "3.jpg")):
        files.coco(split, [name], [box(int(name[0]), [0, 0, 2, 2])], categories=categories)
    assert coco().classes == ("dog", "cat")
    files.coco("val2017", ["3.jpg"], [box(3, [0, 0, 2, 2], 0)], categories=categories)  # now it is used
    assert coco().classes == ("pets", "dog", "cat")


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_size_given_lying_down_turns_the_boxes(coco: Any, files: Any, orientation: int) -> None:
    """A mark in the stored pixels, its box given in them, and where the mark is in the upright image."""
    stored = np.zeros((10, 20, 3), np.uint8)
    stored[2:5, 3:9] = 255
    exif = Image.Exif()
    exif[0x112] = orientation
    files.coco(
        "val2017",
        ["3.jpg"],
        [box(3, [3, 2, 6, 3])],
        images=[{"id": 3, "file_name": "3.jpg", "width": 20, "height": 10}],
    )
    Image.fromarray(stored).save(files.root / "val2017/3.jpg", format="PNG", exif=exif)
    dataset = coco()
    ys, xs = np.nonzero(dataset.load("val2017/3.jpg").pixels[..., 0])
    assert dataset.truth["val2017/3.jpg"].xyxy.tolist() == [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]


def test_boxes_of_an_image_that_was_resized_since_are_scaled(coco: Any, files: Any) -> None:
    images = [{"id": 3, "file_name": "3.jpg", "width": 40, "height": 20}]
    files.coco("val2017", ["3.jpg"], [box(3, [4, 2, 20, 10])], images=images)
    checked = coco().truth.checked("val2017/3.jpg")
    assert checked.boxes.xyxy.tolist() == [[2, 1, 12, 6]]
    assert "speaks of an image of 40 x 20 pixels, the file has 20 x 10: its boxes are scaled" in checked.resized


@pytest.mark.parametrize(
    "name",
    [
        "images\\train\\é.jpg",
        "C:\\Users\\me\\pets\\é.jpg",
        "/home/me/é.jpg",
        "file:///tmp/e%CC%81.jpg",
        "e\u0301.jpg",
        "É.JPG",
    ],
)
def test_names_of_other_machines(files: Any, name: str) -> None:
    files.image("photos/é.jpg")
    content = {"categories": [{"id": 0, "name": "cat"}], "images": [{"id": 0, "file_name": name}], "annotations": []}
    files.text("result.json", json.dumps(content))
    dataset = files.open(
        "coco", train_split=None, test_split=None, annotations="result.json", images="images", test_fraction=0
    )
    assert dataset.ids("train") == ("photos/é.jpg",)


def test_the_same_file_name_in_both_splits(files: Any) -> None:
    for split, label in (("train", 7), ("val", 3)):
        files.coco(split, ["1.jpg"], [box(1, [0, 0, 2, 2], label)])
        (files.root / "images").mkdir(exist_ok=True)
        (files.root / split).rename(files.root / "images" / split)
    dataset = files.open("coco", train_split="train", test_split="val")
    assert (dataset.ids("train"), dataset.ids("test")) == (("images/train/1.jpg",), ("images/val/1.jpg",))
    assert [dataset.labels(f"images/{split}/1.jpg") for split in ("train", "val")] == [(1,), (0,)]


def test_a_guess_is_never_made_twice(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Two names that could only be guessed to be one file are none; a name as it is goes before a guess."""
    files.image("photos/1.jpg")
    files.coco(
        "train2017",
        ["2.jpg"],
        [],
        images=[{"id": n, "file_name": f"{n}/1.jpg"} for n in (1, 2)] + [{"id": 3, "file_name": "2.jpg"}],
    )
    dataset = files.open("coco", test_split=None)
    assert dataset.ids("train") == ("train2017/1/1.jpg", "train2017/2/1.jpg", "train2017/2.jpg")
    assert "2 of its 3 images are missing, or more than one could be meant: '1/1.jpg' for one" in caplog.text


def test_a_missing_first_image_costs_itself(coco: Any, files: Any) -> None:
    files.coco("train2017", ["1.jpg", "2.jpg"], [box(1, [0, 0, 2, 2]), box(2, [0, 0, 2, 2])])
    (files.root / "train2017/1.jpg").unlink()
    dataset = coco()
    assert dataset.load("train2017/2.jpg").labels == (1,)
    with pytest.raises(InputError, match="does not exist"):
        dataset.load("train2017/1.jpg")


def test_no_image_at_all_is_refused(coco: Any, files: Any) -> None:
    (files.root / "val2017/3.jpg").unlink()
    for name in ("1.jpg", "2.jpg"):
        (files.root / "train2017" / name).unlink()
    with pytest.raises(InputError, match=r"names 3 images and none of them is there, '1\.jpg' for one"):
        coco()


def test_train_and_val_the_same(coco: Any, files: Any, caplog: pytest.LogCaptureFixture) -> None:
    files.coco("val2017", [], [box(1, [0, 0, 2, 2])], images=[{"id": 1, "file_name": "../train2017/1.jpg"}])
    files.coco("train2017", ["1.jpg"], [box(1, [0, 0, 2, 2])])
    dataset = coco()
    assert (dataset.ids("train"), dataset.ids("test")) == (("train2017/1.jpg",), ())
    assert len(dataset.truth["train2017/1.jpg"]) == 1
    assert "its training and its test split are the same images" in caplog.text


def test_a_size_that_no_image_has_moves_no_box(coco: Any, files: Any) -> None:
    images = [{"id": 3, "file_name": "3.jpg", "width": 20, "height": 10**400}]
    files.coco("val2017", ["3.jpg"], [box(3, [4, 2, 10, 5])], images=images)
    checked = coco().truth.checked("val2017/3.jpg")
    assert checked.boxes.xyxy.tolist() == [[4, 2, 14, 7]]
    assert "larger than any can be" in checked.resized
