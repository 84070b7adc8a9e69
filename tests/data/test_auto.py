"""Layouts detected from what lies in the folder, and what is said about it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsdet.data.auto import find_layout
from wsdet.types import InputError


@pytest.mark.parametrize(
    ("layout", "reader"),
    [
        ("voc", "Voc"),
        ("coco", "Coco"),
        ("yolo", "Yolo"),
        ("csv", "CsvFile"),
        ("folder", "Folder"),
        ("tiny_imagenet", "TinyImageNet"),
        ("imagenet", "ImageNet"),
        ("cvat", "Cvat"),
        ("label_studio", "LabelStudio"),
        ("labelme", "Labelme"),
        ("voc_folder", "VocFolder"),
    ],
)
def test_every_layout_is_found_and_read_as_its_own_reader_does(files: Any, layout: str, reader: str) -> None:
    overrides = files.layouts[layout]()
    assert find_layout(files.root)[0].__name__ == reader
    found, own = files.open("auto"), files.open(layout, **overrides)
    assert found.classes == own.classes
    for split in ("train", "test"):
        assert found.ids(split) == own.ids(split)
        assert [found.labels(i) for i in found.ids(split)] == [own.labels(i) for i in own.ids(split)]


def test_a_year_of_voc_alone(files: Any) -> None:
    files.write_voc()
    root, files.root = files.root, files.root / "VOC2007"
    assert files.open("auto").ids("train") == ("1", "2")
    files.root = root


@pytest.mark.parametrize(
    ("names", "images", "expected"),
    [
        ({"train": "train/_annotations.coco.json", "test": "valid/_annotations.coco.json"}, "{}", {}),
        ({"train": "annotations/instances_train.json", "test": "annotations/instances_test.json"}, "images", {}),
        ({"train": "annotations/train.json", "test": "annotations/val.json"}, "images/{}", {}),
        ({"all": "annotations.json"}, "images", {"train_split": None}),
        ({"all": "result.json"}, ".", {"train_split": None}),
    ],
)
def test_cocos_many_homes(files: Any, names: dict[str, str], images: str, expected: dict[str, Any]) -> None:
    for number, path in enumerate(names.values()):
        word = path.split("/")[0] if path.startswith(("train", "valid")) else Path(path).stem.split("_")[-1]
        split_names = [f"{number}{i}.jpg" for i in range(5)]
        for name in split_names:
            files.image(f"{images.format(word)}/{name}")
        content = {
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "images": [{"id": i, "file_name": name} for i, name in enumerate(split_names)],
            "annotations": [{"image_id": i, "category_id": 1 + i % 2, "bbox": [1, 1, 5, 5]} for i in range(5)],
        }
        files.text(path, json.dumps(content))
    assert expected.items() <= find_layout(files.root)[1].items()
    dataset = files.open("auto")
    assert len(dataset.ids("train")) == (5 if len(names) == 2 else 4)
    assert len(dataset.ids("test")) == (5 if len(names) == 2 else 1)
    assert all(dataset.load(i).labels for i in dataset.ids("test"))


def test_folders_of_splits(files: Any) -> None:
    for path in ("Train/cat/1.jpg", "Train/dog/2.jpg", "valid/cat/3.jpg"):
        files.image(path)
    dataset = files.open("auto")
    assert (dataset.classes, dataset.ids("test")) == (("cat", "dog"), ("valid/cat/3.jpg",))


@pytest.mark.parametrize("layout", ["voc", "yolo"])
def test_a_split_is_drawn_where_there_is_none_with_copies_on_one_side(files: Any, layout: str) -> None:
    ids = [str(n) for n in range(10)]
    if layout == "voc":
        for n in ids:
            files.image(f"VOC2007/JPEGImages/{n}.jpg", seed=int(n) // 2)
            files.xml(f"VOC2007/Annotations/{n}.xml", ("kite", (1, 1, 5, 5), 0))
        files.text("VOC2007/ImageSets/Main/train.txt", "\n".join(ids))
    else:
        for n in ids:
            files.image(f"images/{n}.jpg", seed=int(n) // 2)
            files.text(f"labels/{n}.txt", "0 .5 .5 .5 .5")
        files.text("data.yaml", "train: images\nnames: [kite]\n")
    dataset = files.open("auto", test_fraction=0.4)
    train, test = (sorted(int(Path(i).stem) for i in dataset.ids(split)) for split in ("train", "test"))
    assert dataset.classes == ("kite",)
    assert len(train) == 6
    assert len(test) == 4
    assert not {n // 2 for n in train} & {n // 2 for n in test}
    assert len(dataset.truth) == 10


def test_it_says_what_it_found_and_what_looks_wrong(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(5):
        files.image(f"cat/{n}.jpg", seed=min(n, 3))
    for name in ("plain.jpg", "plain_too.jpg"):
        Image.fromarray(np.full((20, 20 + len(name), 3), 80, np.uint8)).save(files.root / "cat" / name)
    files.text("cat/broken.jpg", "no image")
    with caplog.at_level(logging.INFO):
        files.open("auto")
    assert "is read as Folder" in caplog.text
    assert "images to train" in caplog.text
    assert "1 classes (cat 8)" in caplog.text
    assert "every label is 'cat'; a classifier needs images of something else" in caplog.text
    assert "1 images are copies of others, 'cat/3.jpg' and 'cat/4.jpg' for one" in caplog.text
    assert "2 of 8 images that were looked at are of nearly one color, 'cat/plain.jpg' for one" in caplog.text
    assert "1 of 8 images that were looked at cannot be read, 'cat/broken.jpg' for one" in caplog.text


def test_photos_alone_have_no_label(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(5):
        files.image(f"{n}.jpg")
    dataset = files.open("auto")
    assert dataset.classes == ()
    assert len(dataset.ids("train")) == 4
    assert "no image has a label; a localizer that needs none, such as stl_wl, still finds boxes" in caplog.text


def test_classes_without_images(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    files.write_yolo()
    files.text("data.yaml", "train: images/train\nval: images/val\nnames: [cat, dog, kite]\n")
    files.open("auto")
    assert "1 classes have no image, 'kite' for one" in caplog.text


def test_what_other_programs_left_is_no_layout(files: Any) -> None:
    files.write_folder()
    files.text("docker-compose.yml", "services: [a]")
    files.text("mkdocs.yaml", "!!custom [")
    files.text("notes.json", "[1]")
    assert find_layout(files.root)[0].__name__ == "Folder"


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({f"VOC2007/ImageSets/Main/{n}.txt": "1" for n in "ab"}, "must hold a list trainval.txt or train.txt, got"),
        ({"data.yaml": "!!python/object:os {}"}, "is not readable YAML"),
        ({"data.yaml": "names: [a]\ntrain: 7"}, "must say under 'train' where its images are"),
        ({f"{n}.json": '{"images": [], "categories": []}' for n in "ab"}, "holds 2 JSON files"),
        ({"readme.txt": "nothing"}, "has no images"),
    ],
)
def test_what_is_not_clear_is_asked(files: Any, made: dict[str, str], says: str) -> None:
    for path, text in made.items():
        files.text(path, text)
    with pytest.raises(InputError, match=says):
        files.open("auto")


@pytest.mark.parametrize("name", [r"\x01", "a" * 300, r"\u0000.jpg"], ids=["control character", "too long", "null"])
def test_a_file_name_that_cannot_be_is_the_readers_to_refuse(name: str, tmp_path: Path) -> None:
    said = f'{{"images": [{{"id": 1, "file_name": "{name}"}}], "categories": [{{"id": 1, "name": "cat"}}]}}'
    (tmp_path / "boxes.json").write_bytes(said.replace("\\x01", "\x01").encode())
    assert find_layout(tmp_path)[0].__name__ == "Coco"
