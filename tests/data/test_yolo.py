"""The YOLO reader: fractions, polygons, ways to name the images, and files gone wrong."""

from __future__ import annotations

from typing import Any

import pytest

from wsdet.types import InputError


@pytest.fixture
def yolo(files: Any) -> Any:
    files.write_yolo()
    return lambda **overrides: files.open("yolo", **overrides)


def test_known_answers(yolo: Any) -> None:
    dataset = yolo()
    assert dataset.classes == ("cat", "dog")
    assert dataset.ids("train") == ("images/train/1.jpg", "images/train/2.jpg")
    assert dataset.ids("test") == ("images/val/3.jpg",)
    assert dataset.labels("images/train/1.jpg") == (0, 1)
    truth = dataset.truth["images/train/1.jpg"]  # of 20 x 10 pixels
    assert truth.xyxy.tolist() == [[5, 3, 15, 7], [0, 0, 10, 10]]
    assert truth.labels.tolist() == [1, 0]


def test_no_file_is_no_truth_and_an_empty_one_no_objects(yolo: Any) -> None:
    dataset = yolo()
    assert dataset.labels("images/train/2.jpg") == ()
    assert "images/train/2.jpg" not in dataset.truth
    assert len(dataset.truth["images/val/3.jpg"]) == 0


@pytest.mark.parametrize("names", ["[cat, dog]", "\n  1: dog\n  0: cat", "['cat', dog]"])
def test_names_as_a_list_or_by_number(yolo: Any, files: Any, names: str) -> None:
    files.text("data.yaml", f"train: images/train\nval: images/val\nnames: {names}\n")
    assert yolo().classes == ("cat", "dog")


def test_lists_of_images_and_several_folders(yolo: Any, files: Any) -> None:
    files.text("train.txt", "./images/train/2.jpg\nimages/train/1.jpg\n")
    files.image("more/images/4.jpg")
    files.text("more/labels/4.txt", "0 .5 .5 1 1\n")
    files.text("data.yaml", "train: [train.txt, more/images]\nval: images/val\nnames: [cat, dog]\n")
    dataset = yolo()
    assert dataset.ids("train") == ("images/train/2.jpg", "images/train/1.jpg", "more/images/4.jpg")
    assert dataset.truth["more/images/4.jpg"].xyxy.tolist() == [[0, 0, 20, 10]]


def test_images_within_images(yolo: Any, files: Any) -> None:
    files.image("images/train/images/5.jpg")
    files.text("labels/train/images/5.txt", "1 .5 .5 1 1\n")
    assert yolo().labels("images/train/images/5.jpg") == (1,)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("2 .5 .5 1 1", "the class must be a whole number from 0 to 1, got '2'"),
        ("-1 .5 .5 1 1", "the class must be a whole number"),
        ("0.5 .5 .5 1 1", "the class must be a whole number"),
        ("cat .5 .5 1 1", "the class must be a number, got 'cat'"),
    ],
)
def test_a_bad_class_costs_one_image(yolo: Any, files: Any, line: str, says: str) -> None:
    files.text("labels/train/1.txt", f"0 .5 .5 1 1\n{line}\n")
    dataset = yolo()
    for read in (dataset.labels, dataset.load, dataset.truth.__getitem__):
        with pytest.raises(InputError, match=rf"1\.txt, line 2: {says}"):
            read("images/train/1.jpg")
    assert dataset.labels("images/train/2.jpg") == ()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 nan .5 1 1", "object 2.*is not finite"),
        ("0 .5 .5 0 1", "object 2.*has no area"),
        ("0 .5 .5 -1 1", "object 2.*is inverted"),
        ("0 2 .5 .5 1", "object 2.*lies outside"),
        ("0 .5 .5 wide 1", "line 2: a coordinate must be a number, got 'wide'"),
        ("0 .5 .5 1", "line 2 must have a class, then x, y, width, height or a polygon, got 3 numbers"),
        ("0", "line 2 must have a class"),
        ("0 .5 .5 1 1 .9", "line 2 must have a class"),
    ],
)
def test_a_bad_box_costs_the_truth_of_one_image(yolo: Any, files: Any, line: str, says: str) -> None:
    files.text("labels/train/1.txt", f"0 .5 .5 1 1\n{line}\n")
    dataset = yolo()
    assert dataset.labels("images/train/1.jpg") == (0,)
    with pytest.raises(InputError, match=rf"1\.txt.*{says}"):
        dataset.truth["images/train/1.jpg"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "must hold keys such as train"),
        ("[1, 2]", "must hold keys such as train"),
        ("train: [", "is not YAML"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("[" * 400, "is not YAML"),
        ("date: 2024-99-99", "is not YAML"),
        ("train: images/train", "names must be a list of class names"),
        ("train: images/train\nnames: {0: cat, 2: dog}", "names must be a list of class names"),
        ("train: images/train\nnames: [[cat]]", "names must be a list of class names"),
        ("train: images/train\nnames: [cat, dog]", "must say under 'val' where its images are"),
        ("train: 7\nval: images/val\nnames: [cat, dog]", "must say under 'train' where its images are"),
        ("train: nowhere\nval: images/val\nnames: [cat, dog]", "'train' is in 'nowhere', but .* is no folder"),
        ("train: /etc\nval: images/val\nnames: [cat, dog]", "names '/etc'; it must be a relative path"),
        ("train: images/../../x\nval: images/val\nnames: [cat, dog]", "must be a relative path"),
    ],
)
def test_a_data_yaml_gone_wrong_is_refused(yolo: Any, files: Any, content: str, says: str) -> None:
    files.text("data.yaml", content)
    with pytest.raises(InputError, match=rf"(?s)data\.yaml.*{says}"):
        yolo()


def test_a_list_never_leaves_the_folder(yolo: Any, files: Any) -> None:
    files.text("train.txt", "images/train/1.jpg\nimages/../../x.jpg\n")
    files.text("data.yaml", "train: train.txt\nval: images/val\nnames: [cat, dog]\n")
    with pytest.raises(InputError, match=r"train\.txt, line 2, names"):
        yolo()


def test_nested_aliases_are_harmless(yolo: Any, files: Any) -> None:
    levels = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))
    files.text("data.yaml", f"a0: &a0 [x]\n{levels}\ntrain: *a29\nval: images/val\nnames: [cat, dog]\n")
    with pytest.raises(InputError, match="must say under 'train' where its images are"):
        yolo()
