"""The VOC reader: one-based inclusive boxes, difficult objects, lists of classes, and annotations gone wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsdet.data.voc import VOC_CLASSES, Voc
from wsdet.types import InputError

ANNOTATION = "VOC2007/Annotations/1.xml"


@pytest.fixture
def voc(files: Any) -> Any:
    """Opens what the test has made of the small folder."""
    overrides = files.write_voc()
    return lambda **more: files.open("voc", **overrides | more)


def test_known_answers(voc: Any) -> None:
    dataset = voc()
    assert dataset.classes == ("cat", "dog")
    assert dataset.ids("train") == ("1", "2")
    assert dataset.ids("test") == ("3", "4")
    assert dataset.labels("1") == (0,)
    assert dataset.truth["1"].xyxy.tolist() == [[2, 1, 12, 9]]  # pixels 3..12, 2..9, from 1, inclusive
    assert dataset.truth["1"].labels.tolist() == [0]


def test_difficult_objects_are_truth_but_no_label(voc: Any) -> None:
    dataset = voc()
    assert dataset.labels("2") == (1,)
    assert dataset.truth["2"].difficult.tolist() == [True, False]
    assert dataset.truth["2"].xyxy[0].tolist() == [0, 0, 20, 10]


def test_an_image_without_annotation_has_no_label_and_no_truth(voc: Any) -> None:
    dataset = voc()
    assert dataset.labels("4") == ()
    assert "4" not in dataset.truth
    assert dataset.load("4").labels == ()


def test_lists_of_classes_come_before_annotations(voc: Any, files: Any) -> None:
    for split, ids in (("trainval", "12"), ("test", "34")):
        files.text(f"VOC2007/ImageSets/Main/cat_{split}.txt", "".join(f"{i} -1\n" for i in ids))
        files.text(f"VOC2007/ImageSets/Main/dog_{split}.txt", "".join(f"{i}  {int(i) % 2}\n" for i in ids))
    assert [voc().labels(i) for i in "1234"] == [(1,), (), (1,), ()]


def test_the_test_split_may_be_left_out(voc: Any) -> None:
    assert voc(test_split=None).ids("test") == ()


def test_an_image_listed_twice_comes_once(voc: Any, files: Any) -> None:
    files.text("VOC2007/ImageSets/Main/trainval.txt", "\ufeff1\r\n\r\n2\r\n1\r\n")
    assert voc().ids("train") == ("1", "2")


def test_an_image_in_both_splits_is_refused(voc: Any, files: Any) -> None:
    files.text("VOC2007/ImageSets/Main/test.txt", "2\n3\n")
    with pytest.raises(InputError, match="1 images are in the training and the test split, '2' for one"):
        voc()


def test_a_missing_image_costs_its_truth_and_itself(voc: Any, files: Any) -> None:
    (files.root / "VOC2007/JPEGImages/1.jpg").unlink()
    dataset = voc()
    for read in (dataset.load, dataset.truth.__getitem__):
        with pytest.raises(InputError, match=r"1\.jpg' does not exist"):
            read("1")
    assert len(dataset.truth["2"]) == 2


def test_parts_of_an_object_are_no_objects(voc: Any, files: Any) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    path = files.root / ANNOTATION
    path.write_text(path.read_text().replace("</object>", f"{part}</object>"))
    assert len(voc().truth["1"]) == 1


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ((0, 0, 5, 5), [0, 0, 5, 5]),  # a tool that counts from 0: one pixel lies outside
        ((-30, 2, 500, 400), [0, 1, 20, 10]),
        (("45.5e-1", "2.25", " 7 ", "9"), [3.55, 1.25, 7, 9]),
    ],
    ids=["zero", "far outside", "fractions"],
)
def test_boxes_partly_outside_are_clipped(
    voc: Any, files: Any, corners: tuple[Any, ...], expected: list[float]
) -> None:
    files.xml(ANNOTATION, ("cat", corners, 0))
    assert voc().truth["1"].xyxy.tolist() == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("corners", "says"),
    [
        (("nan", 1, 5, 5), "is not finite"),
        ((1, 1, "inf", 5), "is not finite"),
        ((9, 1, 5, 5), "is inverted"),
        ((1, 9, 5, 5), "is inverted"),
        ((6, 1, 5, 5), "has no area"),
        ((30, 1, 40, 5), "lies outside the image of 20 x 10 pixels"),
        ((-9, 1, 0, 5), "lies outside the image"),
        ((1, 1, 5, "1e999"), "is not finite"),
    ],
)
def test_a_bad_box_costs_itself(voc: Any, files: Any, corners: tuple[Any, ...], says: str) -> None:
    files.xml(ANNOTATION, ("cat", (1, 1, 5, 5), 0), ("dog", corners, 0))
    dataset = voc()
    assert dataset.labels("1") == (0, 1)  # a bad box does not touch the labels
    checked = dataset.truth.checked("1")
    assert checked.boxes.labels.tolist() == [0]
    assert "1.xml, object 2: its box" in checked.left_out[0]
    assert says in checked.left_out[0]


@pytest.mark.parametrize(
    ("corners", "says"),
    [
        (("", 1, 5, 5), "object 2: xmin must be a number, got ''"),
        ((1, 1, 5, "5px"), "object 2: ymax must be a number, got '5px'"),
        ((9, 9, 1, 1), r"object 1: its box .* is inverted; no box of the image is left"),
    ],
)
def test_what_is_no_box_costs_the_truth_of_its_image(voc: Any, files: Any, corners: tuple[Any, ...], says: str) -> None:
    others = [] if "object 1" in says else [("cat", (1, 1, 5, 5), 0)]
    files.xml(ANNOTATION, *others, ("cat", corners, 0))
    dataset = voc()
    assert dataset.load("1").labels == (0,)
    for _ in range(2):
        with pytest.raises(InputError, match=rf"1\.xml, {says}"):
            dataset.truth["1"]
    assert len(dataset.truth["2"]) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not well-formed XML"),
        ("<annotation><object>", "is not well-formed XML"),
        ("\0\0\0", "is not well-formed XML"),
        ("<?xml version='1.0' encoding='nonsense'?><annotation/>", "is not well-formed XML"),
        (
            "<!DOCTYPE a [<!ENTITY b 'ha'><!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]><annotation>&c;</annotation>",
            "declares a document type or entities",
        ),
        (
            "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]><annotation>&b;</annotation>",
            "declares a document type or entities",
        ),
        ("<!DOCTYPE a SYSTEM 'http://127.0.0.1:9/a.dtd'><annotation/>", "declares a document type or entities"),
        ("<annotation><object><name>cat</name></object></annotation>", "object 1: xmin must be a number, got None"),
        ("<annotation><object/></annotation>", "object 1: it has no name"),
        (
            "<annotation><object><name>cow</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
            "</object></annotation>",
            "its class 'cow' is none of the dataset's",
        ),
        (
            "<annotation><object><name>cat</name><difficult>maybe</difficult><polygon><x1>1</x1><y1>1</y1></polygon>"
            "</object></annotation>",
            "object 1: difficult must be 0 or 1, got 'maybe'",
        ),
    ],
)
def test_a_bad_annotation_costs_one_image(voc: Any, files: Any, content: str, says: str) -> None:
    files.text(ANNOTATION, content)
    dataset = voc()
    with pytest.raises(InputError, match=rf"1\.xml.*{says}"):
        dataset.truth["1"]
    assert len(dataset.truth["2"]) == 2


def test_a_huge_annotation_is_not_read(voc: Any, files: Any) -> None:
    with (files.root / ANNOTATION).open("wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(InputError, match=r"1\.xml has 17825792 bytes, at most"):
        voc().truth["1"]


def test_deep_nesting_is_harmless(voc: Any, files: Any) -> None:
    files.text(ANNOTATION, "<annotation>" + "<a>" * 100_000 + "</a>" * 100_000 + "</annotation>")
    assert len(voc().truth["1"]) == 0


@pytest.mark.parametrize("name", ["../1", "/etc/passwd", "a/../../1", "..", "a\0b"])
def test_a_name_never_leaves_the_folder(voc: Any, files: Any, name: str) -> None:
    files.text("VOC2007/ImageSets/Main/trainval.txt", f"2\n{name}\n")
    with pytest.raises(InputError, match=r"trainval\.txt, line 2, names .* it must be a relative path"):
        voc()


@pytest.mark.parametrize("name", ["a b", "it's", 'quo"te', "Köln 猫", "sub/dir"])
def test_any_file_name(voc: Any, files: Any, name: str) -> None:
    files.image(f"VOC2007/JPEGImages/{name}.jpg")
    files.text("VOC2007/ImageSets/Main/trainval.txt", f"{name}\n")
    files.xml(f"VOC2007/Annotations/{name}.xml", ("dog", (1, 1, 5, 5), 0))
    dataset = voc()
    assert dataset.load(name).labels == (1,)
    assert len(dataset.truth[name]) == 1


@pytest.mark.parametrize("line", ["1", "1 2", "1 yes"])
def test_a_malformed_list_of_a_class_is_refused(voc: Any, files: Any, line: str) -> None:
    for name in ("cat_trainval", "dog_trainval", "cat_test", "dog_test"):
        files.text(f"VOC2007/ImageSets/Main/{name}.txt", f"{line}\n")
    with pytest.raises(InputError, match=r"cat_trainval\.txt, line 1, must be an image and 1, 0 or -1"):
        voc()


def test_a_wrong_folder_says_which_is_right(voc: Any, files: Any) -> None:
    with pytest.raises(
        InputError, match=r"VOC2012 has no ImageSets/Main, .*data.year one that is there: \['VOC2007'\]"
    ):
        voc(year=2012)
    with pytest.raises(InputError, match=r"missing\.txt does not exist; the lists there are \['test', 'trainval'\]"):
        voc(train_split="missing")


def test_one_bad_file_costs_itself_alone(voc: Any, files: Any, caplog: pytest.LogCaptureFixture) -> None:
    files.text(ANNOTATION, "<annotation><object>")
    dataset = voc()
    assert [dataset.labels(image_id) for image_id in "1213"] == [(), (1,), (), (1,)]
    with pytest.raises(InputError, match=r"1\.xml is not well-formed XML"):
        dataset.load("1")
    assert caplog.text.count("image '1' counts as a failed one") == 1
    assert not dataset.is_background("1")


@pytest.mark.parametrize(
    ("lists", "train", "test"),
    [
        ({"trainval": "1", "test": "2", "train": "1", "val": "1"}, "1", "2"),
        ({"train": "1", "val": "2"}, "1", "2"),
        ({"trainval": "12", "train": "1", "val": "2"}, "1", "2"),
        ({"train": "1", "test": "2"}, "1", "2"),
        ({"train": "12"}, "12", ""),
        ({"default": "12"}, "12", ""),
        ({"mine": "12"}, "12", ""),
        ({"train": "12", "val": "21"}, "12", ""),
        ({"train": ("1.jpg", "2.jpg")}, "12", ""),
    ],
)
@pytest.mark.parametrize("year", ["VOC2007/", ""])
def test_lists_are_found(files: Any, year: str, lists: dict[str, str], train: str, test: str) -> None:
    for name in "12":
        files.image(f"{year}JPEGImages/{name}.jpg")
        files.xml(f"{year}Annotations/{name}.xml", ("raccoon", (1, 1, 5, 5), 0), ("fox", (1, 1, 5, 5), 0))
    for name, ids in lists.items():
        files.text(f"{year}ImageSets/Main/{name}.txt", "\n".join(ids))
    files.text(f"{year}ImageSets/Main/{next(iter(lists))}_notes.md", "")
    dataset = files.open("voc")
    assert dataset.classes == ("fox", "raccoon")
    assert ("".join(dataset.ids("train")), "".join(dataset.ids("test"))) == (train, test)


def test_lists_that_say_nothing_are_named(files: Any) -> None:
    for name in ("these", "those"):
        files.text(f"ImageSets/Main/{name}.txt", "1")
    with pytest.raises(InputError, match=r"trainval\.txt or train\.txt, got \['these', 'those'\]; name the lists by"):
        files.open("voc")


def test_a_class_is_no_path(files: Any) -> None:
    files.image("JPEGImages/1.jpg")
    files.image("JPEGImages/2.jpg")
    files.xml("Annotations/1.xml", ("../../../../evil", (1, 1, 5, 5), 0))
    for split, image_id in (("train", "1"), ("test", "2")):
        files.text(f"ImageSets/Main/{split}.txt", image_id)
        files.text(f"../evil_{split}.txt", "1 1\n2 1\n")
    dataset = files.open("auto")
    assert dataset.classes == ("../../../../evil",)
    assert (dataset.labels("1"), dataset.labels("2")) == ((0,), ())


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("<robndbox><cx>10</cx><cy>5</cy><w>8</w><h>2</h><angle>1.5707963</angle></robndbox>", [9, 1, 11, 9]),
        ("<polygon><x1>2</x1><y1>3</y1><x2>9</x2><y2>4</y2><x3>5</x3><y3>8</y3></polygon>", [2, 3, 9, 8]),
        ("<polygon><pt><x>2</x><y>3</y></pt><pt><x>9</x><y>8</y></pt></polygon>", [2, 3, 9, 8]),
    ],
    ids=["roLabelImg", "Roboflow", "LabelMe"],
)
def test_other_shapes_have_their_extent(voc: Any, files: Any, shape: str, expected: list[float]) -> None:
    files.text(ANNOTATION, f"<annotation><object><name>cat</name>{shape}</object></annotation>")
    assert voc().truth["1"].xyxy[0].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("classes", [["cat", "cat"], ["cat", " "]])
def test_classes_must_be_unique_names(voc: Any, classes: list[str]) -> None:
    with pytest.raises(InputError, match="class names must be unique and not empty"):
        voc(classes=classes)


def test_real_photos(shared: Path) -> None:
    dataset = Voc(shared / "data" / "VOCdevkit")
    assert dataset.classes == VOC_CLASSES
    assert len(dataset.ids("train")) == 1000
    assert len(dataset.ids("test")) == 500
    assert len(dataset.truth) == 1500
    # the lists of the challenge and the annotations tell the same labels
    for image_id, boxes in dataset.truth.items():
        assert set(dataset.labels(image_id)) == set(boxes.labels[~boxes.difficult].tolist())
    assert dataset.truth["000015"].xyxy.tolist() == [[76, 135, 360, 358]]
    assert dataset.load("000015").size_hw == (375, 500)
