"""The COCO reader: categories, crowds, images without objects, and JSON gone wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

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
    assert [dataset.labels(i) for i in ("train2017/1.jpg", "train2017/2.jpg", "val2017/3.jpg")] == [(1,), (), (0,)]
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
    assert "1 annotations are of images that it does not list" in caplog.text


@pytest.mark.parametrize(
    ("bbox", "says"),
    [
        ([0, 0, 0, 5], "has no area"),
        ([0, 0, -2, 5], "is inverted"),
        ([25, 0, 5, 5], "lies outside the image of 20 x 10 pixels"),
        ([float("nan"), 0, 5, 5], "is not finite"),
        ([0, 0, 1e999, 5], "is not finite"),
        ([0, 0, 5], "bbox must be a list of x, y, width and height"),
        ("0 0 5 5", "bbox must be a list"),
        ([0, 0, "wide", 5], "must be a number, got 'wide'"),
        ([0, 0, True, 5], "must be a number, got True"),
        ([0, 0, 10**400, 5], "must be a number"),
    ],
)
def test_a_bad_box_costs_one_image(coco: Any, files: Any, bbox: Any, says: str) -> None:
    files.coco("val2017", ["3.jpg", "4.jpg"], [box(3, bbox), box(4, [-5, -5, 1e300, 500])])
    dataset = coco()
    assert dataset.labels("val2017/3.jpg") == (1,)
    with pytest.raises(InputError, match=says):
        dataset.truth["val2017/3.jpg"]
    assert dataset.truth["val2017/4.jpg"].xyxy.tolist() == [[0, 0, 20, 10]]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": None}, "must have a list 'images'"),
        ({"images": {"1": 2}}, "must have a list 'images'"),
        ({"images": [7]}, r"images\[0\] must be a JSON object"),
        ({"images": [{"id": 1}]}, r"images\[0\]: file_name must be str, got NoneType"),
        ({"images": [{"file_name": "1.jpg"}]}, r"images\[0\]: id must be int or str, got NoneType"),
        ({"images": [{"id": [1], "file_name": "1.jpg"}]}, r"images\[0\]: id must be int or str, got list"),
        ({"images": [{"id": 1, "file_name": "../../1.jpg"}]}, r"images\[0\], names .* must be a relative path"),
        ({"images": [{"id": 1, "file_name": "\ud800.jpg"}]}, "holds text with half of a surrogate pair"),
        (
            {"images": [{"id": 1, "file_name": "1.jpg"}, {"id": 1, "file_name": "2.jpg"}]},
            r"images\[1\]: its id 1 is that",
        ),
        ({"categories": [{"id": 7, "name": "a"}, {"id": 7, "name": "b"}]}, r"categories\[1\]: its id 7 is that of 'a'"),
        ({"categories": []}, "category_id 7 is not the id of a category"),
        ({"categories": [{"id": True, "name": "cat"}]}, r"categories\[0\]: id must be int, got bool"),
        ({"categories": [{"id": 1, "name": 5}]}, r"categories\[0\]: name must be str, got int"),
        ({"annotations": 3}, "must have a list 'annotations'"),
        ({"annotations": [{"image_id": 3}]}, r"annotations\[0\]: category_id must be int, got NoneType"),
        ({"annotations": [box({}, [0, 0, 1, 1])]}, r"annotations\[0\]: image_id must be int or str, got dict"),
        ({"annotations": [box(3, [0, 0, 1, 1], 99)]}, "category_id 99 is not the id of a category"),
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


def test_the_splits_must_have_the_same_categories(coco: Any, files: Any) -> None:
    files.coco("val2017", ["3.jpg"], [], categories=[{"id": 7, "name": "dog"}])
    with pytest.raises(InputError, match="train2017 and val2017 must have the same categories with the same ids"):
        coco()
