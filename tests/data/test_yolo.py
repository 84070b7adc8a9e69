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
        ("2 .5 .5 1 1", "the class must be a whole number with a name, up to 1, got '2'"),
        ("-1 .5 .5 1 1", "the class must be a whole number"),
        ("0.5 .5 .5 1 1", "the class must be a whole number"),
        ("cat .5 .5 1 1", "the class must be a number, got 'cat'"),
    ],
)
def test_a_bad_class_costs_one_image(yolo: Any, files: Any, line: str, says: str) -> None:
    files.text("labels/train/1.txt", f"0 .5 .5 1 1\n{line}\n")
    dataset = yolo()
    assert dataset.labels("images/train/1.jpg") == ()
    for read in (dataset.load, dataset.truth.__getitem__):
        with pytest.raises(InputError, match=rf"1\.txt, line 2: {says}"):
            read("images/train/1.jpg")
    assert dataset.labels("images/train/2.jpg") == ()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 nan .5 1 1", "is not finite"),
        ("0 .5 .5 0 1", "has no area"),
        ("0 .5 .5 -1 1", "is inverted"),
        ("0 2 .5 .5 1", "lies outside"),
    ],
)
def test_a_bad_box_costs_itself(yolo: Any, files: Any, line: str, says: str) -> None:
    files.text("labels/train/1.txt", f"1 .5 .5 1 1\n{line}\n")
    dataset = yolo()
    assert dataset.labels("images/train/1.jpg") == (0, 1)
    checked = dataset.truth.checked("images/train/1.jpg")
    assert checked.boxes.labels.tolist() == [1]
    assert "1.txt, object 2: its box" in checked.left_out[0]
    assert says in checked.left_out[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 .5 .5 wide 1", "line 2: a coordinate must be a number, got 'wide'"),
        ("0 .5 .5 1", "line 2 must have a class, then x, y, width, height or a polygon, got 3 numbers"),
        ("0", "line 2 must have a class"),
    ],
)
def test_a_row_that_is_none_costs_the_truth_of_one_image(yolo: Any, files: Any, line: str, says: str) -> None:
    files.text("labels/train/1.txt", f"0 .5 .5 1 1\n{line}\n")
    dataset = yolo()
    assert dataset.labels("images/train/1.jpg") == (0,)
    with pytest.raises(InputError, match=rf"1\.txt.*{says}"):
        dataset.truth["images/train/1.jpg"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("0 .5 .5 .2 .2 .91", [8, 4, 12, 6]),
        ("0 .5 .5 .2 .2 .91 17", [8, 4, 12, 6]),
        ("0 0 0 .5 0 .5 1", [0, 0, 10, 10]),
        ("0 0 0 .5 0 .5 1 .91", [0, 0, 10, 10]),
        ("0 .25 .1 .5 .5 .25 .9 0 .5", [0, 1, 10, 9]),
    ],
    ids=["confidence", "confidence and track", "polygon", "polygon and confidence", "turned box"],
)
def test_every_way_to_write_a_row(yolo: Any, files: Any, row: str, expected: list[float]) -> None:
    files.text("labels/train/1.txt", f"1 .5 .5 1 1\n{row}\n")
    xyxy = yolo().truth["images/train/1.jpg"].xyxy
    assert xyxy[1].tolist() == pytest.approx(expected)
    assert xyxy[0].tolist() == [0, 0, 20, 10]


@pytest.mark.parametrize("shape", ["[2, 2]", "[1, 3]", "[3, 2]"])
@pytest.mark.parametrize("confidence", ["", " .91"])
def test_key_points_are_passed_over(yolo: Any, files: Any, shape: str, confidence: str) -> None:
    n, dimensions = int(shape[1]), int(shape[4])
    files.text("labels/train/1.txt", f"0 .5 .5 .2 .2{' .9' * n * dimensions}{confidence}\n")
    files.text("data.yaml", f"train: images/train\nval: images/val\nkpt_shape: {shape}\nnames: [cat, dog]\n")
    assert yolo().truth["images/train/1.jpg"].xyxy.tolist() == [pytest.approx([8, 4, 12, 6])]


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("../train/images", "../valid/images"),
        ("/content/pets/train/images", "C:\\\\pets\\\\valid\\\\images"),
        ("./train/images/", "valid/images"),
        ("list.txt", "valid/images"),
    ],
)
def test_paths_of_other_machines(files: Any, train: str, val: str) -> None:
    for name in ("train/images/1", "valid/images/2"):
        files.image(f"{name}.jpg")
        files.text(f"{name.replace('images', 'labels')}.txt", "1 .5 .5 1 1\n")
    files.text("list.txt", "/data/pets/train/images/1.jpg\n")
    files.text("data.yaml", f'path: ../datasets/pets\ntrain: "{train}"\nval: "{val}"\nnames: {{0: cat, 1: dog}}\n')
    dataset = files.open("auto")
    assert (dataset.ids("train"), dataset.ids("test")) == (("train/images/1.jpg",), ("valid/images/2.jpg",))
    assert dataset.labels("train/images/1.jpg") == (1,)


def test_darknets_files_as_cvat_writes_them(files: Any) -> None:
    for name, row in (("1", "0 .5 .5 .2 .2"), ("2", "1 .5 .5 1 1")):
        files.image(f"obj_train_data/{name}.jpg")
        files.text(f"obj_train_data/{name}.txt", row)
    files.text("obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    files.text("obj.names", "cat\ndog\n")
    files.text("train.txt", "data/obj_train_data/1.jpg\ndata/obj_train_data/2.jpg\n")
    dataset = files.open("auto", test_fraction=0)
    assert dataset.classes == ("cat", "dog")
    assert [dataset.labels(f"obj_train_data/{n}.jpg") for n in "12"] == [(0,), (1,)]
    assert dataset.truth["obj_train_data/1.jpg"].xyxy.tolist() == [pytest.approx([8, 4, 12, 6])]


@pytest.mark.parametrize("names", ["classes.txt", "labels/classes.txt", "obj.names"])
def test_a_list_of_classes_alone(files: Any, names: str) -> None:
    for n, name in enumerate(("train/1", "val/2")):
        files.image(f"images/{name}.jpg")
        files.text(f"labels/{name}.txt", f"{n} .5 .5 1 1\n")
    files.text(names, "cat\ndog\n")
    dataset = files.open("auto")
    assert (dataset.ids("train"), dataset.ids("test")) == (("images/train/1.jpg",), ("images/val/2.jpg",))
    assert (dataset.classes, dataset.labels("images/val/2.jpg")) == (("cat", "dog"), (1,))


@pytest.mark.parametrize(("image", "label"), [("é b", "0a1b2c3d-é b"), ("é", "e\u0301"), ("A", "a")])
def test_labels_under_another_spelling_of_the_name(files: Any, image: str, label: str) -> None:
    files.image(f"images/{image}.jpg")
    files.image("images/other.jpg")
    files.text(f"labels/{label}.txt", "1 .5 .5 1 1\n")
    files.text("classes.txt", "cat\ndog\n")
    dataset = files.open("auto", test_fraction=0)
    assert dataset.labels(f"images/{image}.jpg") == (1,)
    assert dataset.labels("images/other.jpg") == ()


def test_numbers_with_gaps(yolo: Any, files: Any) -> None:
    files.text("labels/train/1.txt", "7 .5 .5 1 1\n")
    files.text("data.yaml", 'train: images/train\nval: images/val\nnames: {3: cat, "7": dog}\n')
    assert yolo().classes == ("cat", "dog")
    assert yolo().labels("images/train/1.jpg") == (1,)


def test_train_named_again_as_val(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    files.write_yolo()
    files.text("data.yaml", "path: .\ntrain: images\nval: images\ntest:\nnames: [cat, dog]\n")
    dataset = files.open("yolo")
    assert len(dataset.ids("train")) == 3
    assert dataset.ids("test") == ()
    assert "its training and its test split are the same images" in caplog.text


def test_without_names_of_classes_it_is_refused(files: Any) -> None:
    files.image("images/1.jpg")
    files.text("labels/1.txt", "0 .5 .5 1 1\n")
    with pytest.raises(InputError, match=r"YOLO's format, but nothing that names the classes; put a classes\.txt"):
        files.open("auto")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "must hold keys such as train"),
        ("[1, 2]", "must hold keys such as train"),
        ("train: [", "is not readable YAML"),
        ("!!python/object/apply:os.system ['true']", "is not readable YAML"),
        ("[" * 400, "nested more than 100 levels deep"),
        ("date: 2024-99-99", "is not readable YAML"),
        ("train: images/train", "names must be a list of class names"),
        ("train: images/train\nnames: {cat: 0, dog: 1}", "names must be a list of class names"),
        ("train: images/train\nnames: [[cat]]", "names must be a list of class names"),
        ("train: images/train\nnames: [cat, dog]", "must say under 'val' where its images are"),
        ("train: 7\nval: images/val\nnames: [cat, dog]", "must say under 'train' where its images are"),
        ("train: nowhere\nval: images/val\nnames: [cat, dog]", "'train' is in 'nowhere', but nothing below"),
        ("train: /etc\nval: images/val\nnames: [cat, dog]", "'train' is in '/etc', but nothing below"),
        ("train: images/../../x\nval: images/val\nnames: [cat, dog]", "nothing below"),
    ],
)
def test_a_data_yaml_gone_wrong_is_refused(yolo: Any, files: Any, content: str, says: str) -> None:
    files.text("data.yaml", content)
    with pytest.raises(InputError, match=rf"(?s)data\.yaml.*{says}"):
        yolo()


def test_a_list_never_leaves_the_folder(yolo: Any, files: Any) -> None:
    files.image("../outside.jpg")
    files.text("train.txt", "images/train/1.jpg\nimages/../../outside.jpg\n")
    files.text("data.yaml", "train: train.txt\nval: images/val\nnames: [cat, dog]\n")
    dataset = yolo()
    assert dataset.ids("train") == ("images/train/1.jpg", "images/outside.jpg")
    with pytest.raises(InputError, match="does not exist"):
        dataset.load("images/outside.jpg")


def test_nested_aliases_are_harmless(yolo: Any, files: Any) -> None:
    levels = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))
    files.text("data.yaml", f"a0: &a0 [x]\n{levels}\ntrain: *a29\nval: images/val\nnames: [cat, dog]\n")
    with pytest.raises(InputError, match=r"data\.yaml has more than 100000 values, its aliases replaced"):
        yolo()
