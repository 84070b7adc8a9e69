"""The Tiny ImageNet reader: inclusive boxes from 0, corners on a line, names of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsdet.data.tiny_imagenet import TinyImageNet
from wsdet.data.wordnet import class_names
from wsdet.types import InputError


@pytest.fixture
def tiny(files: Any) -> Any:
    files.write_tiny_imagenet()
    return lambda: files.open("tiny_imagenet")


def test_known_answers(tiny: Any) -> None:
    dataset = tiny()
    assert dataset.wnids == ("n2", "n1")
    assert dataset.classes == ("teapot", "tabby")
    assert dataset.ids("train") == (
        *("train/n2/images/n2_0.JPEG", "train/n2/images/n2_1.JPEG", "train/n2/images/n2_2.JPEG"),
        "train/n1/images/n1_0.JPEG",
    )
    assert dataset.ids("test") == ("val/images/val_0.JPEG",)
    assert [dataset.labels(i) for i in (*dataset.ids("train"), *dataset.ids("test"))] == [(0,), (0,), (0,), (1,), (1,)]
    assert {image_id: boxes.xyxy.tolist() for image_id, boxes in dataset.truth.items()} == {
        "train/n2/images/n2_0.JPEG": [[5, 6, 8, 9]],
        "train/n1/images/n1_0.JPEG": [[0, 10, 64, 59]],
        "val/images/val_0.JPEG": [[0, 0, 32, 64]],
    }


def test_corners_on_a_line_are_no_truth_but_the_image_stays(tiny: Any) -> None:
    image_id = "train/n2/images/n2_1.JPEG"
    dataset = tiny()
    assert image_id not in dataset.truth
    assert dataset.load(image_id).labels == (0,)


def test_a_bad_box_costs_one_image(tiny: Any, files: Any) -> None:
    files.text("train/n1/n1_boxes.txt", "n1_0.JPEG\t9\t10\tnan\t58\n")
    files.text("train/n2/n2_boxes.txt", "n2_0.JPEG\t9\t6\t3\t8\nn2_1.JPEG\t1\tone\t6\t8\nn2_9.JPEG\t1\t1\t6\t8\n")
    dataset = tiny()
    for name, says in (("n1_0", "is not finite"), ("n2_0", "is inverted"), ("n2_1", "must be a number, got 'one'")):
        wnid = name[:2]
        with pytest.raises(InputError, match=rf"{wnid}_boxes\.txt, line [12].*{says}"):
            dataset.truth[f"train/{wnid}/images/{name}.JPEG"]
    assert len(dataset.truth["val/images/val_0.JPEG"]) == 1


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("val/val_annotations.txt", "val_0.JPEG\tn1\t0\t0\t31\n", "line 1, must have 6 columns between tabs"),
        (
            "val/val_annotations.txt",
            "val_0.JPEG\tn7\t0\t0\t31\t9\n",
            "line 1, has class 'n7', which wnids.txt does not",
        ),
        ("val/val_annotations.txt", "../../x.JPEG\tn1\t0\t0\t31\t9\n", "line 1, names '../../x.JPEG'; it must be"),
        ("train/n1/n1_boxes.txt", "n1_0.JPEG 0 10 63 58\n", "line 1, must have 5 columns between tabs"),
        ("wnids.txt", "n1\n../n2\n", "line 2, names '../n2'; it must be a relative path"),
    ],
)
def test_a_malformed_list_names_its_line(tiny: Any, files: Any, path: str, content: str, says: str) -> None:
    files.text(path, content)
    with pytest.raises(InputError, match=says):
        tiny()


def test_a_class_without_images_is_a_class(tiny: Any, files: Any) -> None:
    files.text("wnids.txt", "n2\nn1\nn3\n")
    assert tiny().classes == ("teapot", "tabby", "kite")


def test_names_of_classes_are_short_and_unique(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("n1\tcrane\nn2\tcrane, bird\nn3 king penguin, Aptenodytes\nn5\n")
    wnids = ("n1", "n2", "n3", "n4", "n5")
    assert class_names(words, wnids) == ("crane (n1)", "crane (n2)", "king penguin", "n4", "n5")
    assert class_names(tmp_path / "missing.txt", wnids) == wnids


def test_real_photos(shared: Path) -> None:
    dataset = TinyImageNet(shared / "data" / "tiny-imagenet-20")
    assert len(dataset.classes) == len(set(dataset.classes)) == len(dataset.wnids) == 20
    assert dataset.classes[:2] == ("Egyptian cat", "tabby")
    assert len(dataset.ids("train")) == 20 * 500
    assert len(dataset.ids("test")) == 20 * 50
    counts = [0] * 20
    for image_id in dataset.ids("train"):
        counts[dataset.labels(image_id)[0]] += 1
    assert counts == [500] * 20
    assert sum(image_id not in dataset.truth for image_id in dataset.ids("train")) == 14
    assert sum(image_id not in dataset.truth for image_id in dataset.ids("test")) == 4
    assert dataset.truth["train/n01443537/images/n01443537_0.JPEG"].xyxy.tolist() == [[0, 10, 64, 59]]
