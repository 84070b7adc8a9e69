"""The folder reader: classes by sub-folder, copies, splits, and what is left out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from wsdet.data.folder import Folder
from wsdet.types import InputError


def test_known_answers(files: Any) -> None:
    files.write_folder()
    dataset = files.open("folder", test_fraction=0.25)
    ids = sorted([*dataset.ids("train"), *dataset.ids("test")])
    assert dataset.classes == ("cat", "dog")
    assert ids == sorted([f"{c}/{i}.jpg" for c in ("cat", "dog") for i in (*range(5), "both")] + ["unknown.jpg"])
    assert len(dataset.ids("test")) in (2, 3, 4)  # 3 of 12 groups; the pair of copies counts as one
    assert dataset.labels("cat/1.jpg") == (0,)
    assert dataset.labels("dog/1.jpg") == (1,)
    assert dataset.labels("unknown.jpg") == ()
    assert len(dataset.truth) == 0


def test_copies_in_two_folders_are_multi_label_and_on_one_side(files: Any) -> None:
    files.write_folder()
    for seed in range(10):
        dataset = files.open("folder", seed=seed)
        assert dataset.labels("cat/both.jpg") == dataset.labels("dog/both.jpg") == (0, 1)
        assert len({"cat/both.jpg", "dog/both.jpg"} & set(dataset.ids("test"))) in (0, 2)


def test_images_without_any_class(files: Any) -> None:
    for name in "abcde":
        files.image(f"{name}.jpg")
    dataset = files.open("folder")
    assert dataset.classes == ()
    assert len(dataset.ids("train")) == 4
    assert dataset.load("a.jpg").labels == ()


def test_folders_below_a_class_belong_to_it(files: Any) -> None:
    files.image("cat/a/b/1.jpg")
    dataset = files.open("folder", test_fraction=0)
    assert dataset.classes == ("cat",)
    assert dataset.ids("train") == ("cat/a/b/1.jpg",)


def test_given_splits(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg", "train2/bird/1.jpg"):
        files.image(path, seed=int.from_bytes(path[-9:].encode()) if "cat" not in path else 7)
    dataset = files.open("folder", train_split="train", test_split="val")
    assert dataset.classes == ("cat", "dog")
    assert dataset.ids("train") == ("train/cat/1.jpg", "train/dog/1.jpg")
    assert dataset.ids("test") == ("val/cat/1.jpg",)
    assert dataset.labels("val/cat/1.jpg") == (0,)
    assert "1 test images are copies of training images" in caplog.text
    assert files.open("folder", train_split="train").ids("test") == ()


def test_splits_that_are_not_named_are_noticed(files: Any) -> None:
    files.image("train/cat/1.jpg")
    files.image("val/cat/1.jpg")
    with pytest.raises(InputError, match=r"train, val look like splits, not classes; give data\.train_split=NAME"):
        files.open("folder")


def test_wrong_arguments(files: Any) -> None:
    files.write_folder()
    with pytest.raises(ValueError, match="test_split='val' needs train_split"):
        files.open("folder", test_split="val")
    with pytest.raises(InputError, match=r"nowhere.*does not exist"):
        files.open("folder", train_split="nowhere")
    with pytest.raises(ValueError, match="test_fraction"):
        files.open("folder", test_fraction=2)


@pytest.mark.parametrize("name", ["a b.jpg", "it's.jpg", 'quo"te.jpg', "new\nline.jpg", "Köln 猫.JPG", "%2e%2e.jpeg"])
def test_any_file_name(files: Any, name: str) -> None:
    files.image(f"cät {name[:1]}/{name}")
    dataset = files.open("folder", test_fraction=0)
    (image_id,) = dataset.ids("train")
    assert image_id == f"cät {name[:1]}/{name}"
    assert dataset.load(image_id).size_hw == (10, 20)


def test_what_is_left_out(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    files.image("cat/1.jpg")
    for path in ("cat/.hidden.jpg", ".git/2.jpg", "cat/.cache/3.jpg"):
        files.image(path)
    files.text("cat/notes.txt", "")
    files.text("Thumbs.db", "")
    (files.root / "loop").symlink_to(files.root, target_is_directory=True)
    Path(str(files.root / "cat") + "/\udcff.jpg").write_bytes(b"")
    with caplog.at_level(logging.INFO):
        dataset = files.open("folder", test_fraction=0)
    assert dataset.ids("train") == ("cat/1.jpg",)
    assert "left out 2 files that are no images by their suffix" in caplog.text
    assert "its name is not UTF-8; rename it" in caplog.text
    assert "left out 1 links to folders" in caplog.text


def test_linked_images_are_images(files: Any) -> None:
    (files.root / "cat").mkdir()
    (files.root / "cat" / "1.jpg").symlink_to(files.image("../elsewhere.jpg"))
    assert files.open("folder", test_fraction=0).load("cat/1.jpg").size_hw == (10, 20)


def test_a_file_is_no_root(files: Any) -> None:
    files.root = files.image("a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg' is not a folder; it must be a folder with one sub-folder a class"):
        files.open("folder")


def test_real_photos(shared: Path) -> None:
    dataset = Folder(shared / "data" / "tiny-imagenet-20" / "train")
    train, test = dataset.ids("train"), dataset.ids("test")
    assert len(dataset.classes) == 20
    assert len(train) + len(test) == 20 * 500
    counts = [sum(label in dataset.labels(image_id) for image_id in test) for label in range(20)]
    assert all(95 <= count <= 105 for count in counts)  # copies come to one side, whatever their number
