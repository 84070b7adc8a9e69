"""The CSV reader: every way to write labels, splits, and files gone wrong."""

from __future__ import annotations

from typing import Any

import pytest

from wsdet.types import InputError


def labels_by_name(dataset: Any) -> dict[str, set[str]]:
    ids = sorted([*dataset.ids("train"), *dataset.ids("test")])
    return {image_id: {dataset.classes[label] for label in dataset.labels(image_id)} for image_id in ids}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a.jpg,cat\nb.jpg,dog\n", {"a.jpg": {"cat"}, "b.jpg": {"dog"}}),
        ("image,label\na.jpg,cat\n", {"a.jpg": {"cat"}}),
        ("a.jpg,cat,dog\nb.jpg\n", {"a.jpg": {"cat", "dog"}, "b.jpg": set()}),
        ("a.jpg,cat\na.jpg,dog\na.jpg,cat\n", {"a.jpg": {"cat", "dog"}}),
        ("a.jpg,cat;dog; bird\n", {"a.jpg": {"cat", "dog", "bird"}}),
        ("a.jpg,king penguin\n", {"a.jpg": {"king penguin"}}),
        ('image,labels\na.jpg,"cat dog"\n', {"a.jpg": {"cat", "dog"}}),
        ("\ufeffimage,label\r\na.jpg,cat\r\n\r\n", {"a.jpg": {"cat"}}),
        ('"a, b.jpg", cat\n', {"a, b.jpg": {"cat"}}),
        ('"new\nline.jpg","say ""cat"""\n', {"new\nline.jpg": {'say "cat"'}}),
        ("Köln 猫.jpg,Kätzchen\n", {"Köln 猫.jpg": {"Kätzchen"}}),
        ("./x//a.jpg,cat\nx/a.jpg,dog\n", {"x/a.jpg": {"cat", "dog"}}),
        ("a.jpg,,\n", {"a.jpg": set()}),
    ],
)
def test_every_way_to_write_labels(files: Any, content: str, expected: dict[str, set[str]]) -> None:
    files.text("labels.csv", content)
    for name in expected:
        files.image(name)
    dataset = files.open("csv")
    assert labels_by_name(dataset) == expected
    assert list(dataset.classes) == sorted(dataset.classes)
    assert all(dataset.load(name).size_hw == (10, 20) for name in expected)


def test_a_given_separator(files: Any) -> None:
    files.image("a.jpg")
    files.text("labels.csv", "a.jpg,king penguin|cat;dog\n")
    assert files.open("csv", separator="|").classes == ("cat;dog", "king penguin")


def test_a_column_of_splits(files: Any) -> None:
    files.write_csv()
    dataset = files.open("csv")
    assert dataset.ids("train") == ("images/1.jpg", "images/2.jpg")
    assert dataset.ids("test") == ("images/3.jpg", "images/4.jpg")
    assert files.open("csv", test_split="val").ids("test") == ()


def test_splits_are_found_by_their_names(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    for name in "abcd":
        files.image(f"{name}.jpg")
    files.text("labels.csv", "image,label,Split\na.jpg,cat,Training\nb.jpg,dog,valid\nc.jpg,dog,extra\nd.jpg,cat,\n")
    dataset = files.open("csv")
    assert (dataset.ids("train"), dataset.ids("test")) == (("a.jpg",), ("b.jpg",))
    assert "images of the splits extra are left out" in caplog.text
    assert "1 images are in no split and left out, 'd.jpg' for one" in caplog.text


def test_without_one_the_split_is_by_seed(files: Any) -> None:
    files.text("labels.csv", "".join(f"{i}.jpg,cat\n" for i in range(10)))
    for number in range(10):
        files.image(f"{number}.jpg", seed=number // 2)  # pairs of copies
    dataset = files.open("csv", test_fraction=0.4)
    assert sorted(int(image_id[0]) // 2 for image_id in dataset.ids("test")) in (
        [[a, a, b, b] for a in range(5) for b in range(a + 1, 5)]
    )


def test_given_classes_fix_the_order_and_refuse_others(files: Any) -> None:
    files.text("labels.csv", "a.jpg,cat\nb.jpg,dog\n")
    for name in ("a.jpg", "b.jpg"):
        files.image(name)
    assert files.open("csv", classes=["dog", "cat", "bird"]).classes == ("dog", "cat", "bird")
    with pytest.raises(InputError, match=r"labels\.csv, line 2, has the label 'dog', which is none of data\.classes"):
        files.open("csv", classes=["cat"])


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg", "a\0.jpg"])
def test_a_name_never_leaves_the_folder(files: Any, name: str) -> None:
    files.image("../a.jpg")
    files.image("b.jpg")
    files.text("labels.csv", f"b.jpg,dog\n{name},cat\n")
    dataset = files.open("csv", test_fraction=0)
    for image_id in dataset.ids("train"):
        assert dataset.path(image_id).resolve().is_relative_to(files.root)
    assert {dataset.classes[label] for label in dataset.load("b.jpg").labels} == {"dog"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no images"),
        (b"image,label\n", "has no images"),
        (b"image,label\n,cat\n", "has no images"),
        (b"c.jpg,cat\n", "names 1 images and none of them is there, 'c.jpg' for one"),
        (b'a.jpg,"cat\n', "is not CSV"),
        (b'a.jpg,"cat"dog\n', "is not CSV"),
        (b"a.jpg,caf\xe9\n", "is not UTF-8 text"),
        (b"\xff\xfea", "is not UTF-16 text"),
        (b"a.jpg," + b"x" * 200_000, "is not CSV"),
        (
            b"image,label,split\na.jpg,cat,train\na.jpg,cat,test\nb.jpg,cat,train\n",
            "in the training and the test split, 'a.jpg'",
        ),
    ],
)
def test_a_file_gone_wrong_is_refused(files: Any, content: bytes, says: str) -> None:
    for name in ("a.jpg", "b.jpg"):
        files.image(name)
    (files.root / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"labels\.csv.*{says}"):
        files.open("csv")


def boxes_by_name(dataset: Any) -> dict[str, list[tuple[str, list[float]]]]:
    return {
        image_id: [(dataset.classes[box.labels[0]], box.xyxy[0].tolist()) for box in boxes]
        for image_id, boxes in dataset.truth.items()
    }


@pytest.mark.parametrize(
    "content",
    [
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,20,10,cat,1,1,9,9\na.jpg,20,10,dog,2,1,6,5\nb.jpg,20,10,,,,,\n",
        "filename;class;xmin;ymin;xmax;ymax\na.jpg;cat;1,0;1;9;9\na.jpg;dog;2;1;6;5\nb.jpg;;;;;\n",
        "class\tx1\ty1\tx2\ty2\tpath\ncat\t1\t1\t9\t9\ta.jpg\ndog\t2\t1\t6\t5\ta.jpg\n\t\t\t\t\tb.jpg\n",
        "\ufefflabel_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name\ncat,1,1,8,8,a.jpg\ndog,2,1,4,4,a.jpg\n,,,,,b.jpg\n",
        "a.jpg,1,1,9,9,cat\na.jpg,2,1,6,5,dog\nb.jpg,,,,,\n",
        "filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,.05,.1,.45,.9\na.jpg,dog,.1,.1,.3,.5\nb.jpg,,,,,\n",
        "filename,class,x,y,width,height\na.jpg,cat,1,1,8,8\na.jpg,dog,2,1,4,4\nb.jpg,,,,,\n",
        "image_name,label,left,top,right,bottom\na.jpg,cat,1,1,9,9\na.jpg,dog,2,1,6,5\nb.jpg,,,,,\n",
        "sep=,\nfilename,class,xmin,ymin,xmax,ymax\na.jpg,cat,1,1,9,9\na.jpg,dog,2,1,6,5\nb.jpg,,,,,\n",
    ],
    ids=[
        "TensorFlow",
        "semicolons",
        "tabs",
        "make sense, BOM",
        "RetinaNet",
        "relative",
        "x and width",
        "left",
        "Excel",
    ],
)
def test_every_way_to_write_boxes(files: Any, content: str) -> None:
    for name in "ab":
        files.image(f"{name}.jpg")
    files.text("labels.csv", content)
    dataset = files.open("csv", test_fraction=0)
    assert dataset.classes == ("cat", "dog")
    assert [dataset.labels(f"{name}.jpg") for name in "ab"] == [(0, 1), ()]
    found = boxes_by_name(dataset)
    assert found["b.jpg"] == []
    assert [name for name, _ in found["a.jpg"]] == ["cat", "dog"]
    for (_, xyxy), expected in zip(found["a.jpg"], ([1, 1, 9, 9], [2, 1, 6, 5]), strict=True):
        assert xyxy == pytest.approx(expected)


@pytest.mark.parametrize(
    "content",
    [
        "filename, cat, dog\na.jpg, 1, 0\nb.jpg, 0, 1\n",
        "filename;cat;dog\na.jpg;1;0\nb.jpg;0;1\n",
        "image_id,cat,dog\na,1,-1\nb,-1,1\n",
        "filename,Unlabeled,cat,dog\na.jpg,0,1.0,0.0\nb.jpg,0,0.0,1.0\n",
    ],
)
def test_a_column_for_each_class(files: Any, content: str) -> None:
    for name in "ab":
        files.image(f"{name}.jpg")
    files.text("labels.csv", content)
    assert labels_by_name(files.open("csv")) == {"a.jpg": {"cat"}, "b.jpg": {"dog"}}


def test_open_images(files: Any) -> None:
    for name in ("train/01ab", "validation/02cd"):
        files.image(f"{name}.jpg")
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
    files.text("train-annotations-bbox.csv", header + "01ab,xclick,/m/01yrx,1,0.1,0.5,0.2,0.4,0,0,0\n")
    files.text("validation-annotations-bbox.csv", header + "02cd,xclick,/m/0bt9lr,1,0,1,0,1,0,0,1\n")
    files.text("class-descriptions-boxable.csv", "/m/01yrx,Cat\n/m/0bt9lr,Dog\n/m/1,Kite\n")
    dataset = files.open("auto")
    assert dataset.classes == ("Cat", "Dog")
    assert (dataset.ids("train"), dataset.ids("test")) == (("train/01ab.jpg",), ("validation/02cd.jpg",))
    assert dataset.truth["train/01ab.jpg"].xyxy.tolist() == [pytest.approx([2, 2, 10, 4])]
    assert dataset.truth["validation/02cd.jpg"].difficult.tolist() == [True]  # a group


def test_an_absent_class_of_open_images_is_none(files: Any) -> None:
    files.image("01ab.jpg")
    files.text("labels.csv", "ImageID,Source,LabelName,Confidence\n01ab,verification,cat,1\n01ab,verification,dog,0\n")
    assert labels_by_name(files.open("csv")) == {"01ab.jpg": {"cat"}}


def test_a_bad_row_costs_itself(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    files.image("a.jpg")
    files.text("labels.csv", "filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,1,1,9,9\na.jpg,dog,wide,1,9,9\n")
    assert labels_by_name(files.open("csv")) == {"a.jpg": {"cat"}}
    assert "labels.csv: 1 rows left out: " in caplog.text
    assert "line 3: a corner must be a number, got 'wide'" in caplog.text


def test_a_short_row_without_a_header_costs_itself(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    for name in "ab":
        files.image(f"{name}.jpg")
    files.text("labels.csv", "a.jpg,1,1,9,9,cat\nb.jpg\n,b.jpg\n")
    dataset = files.open("csv")
    assert labels_by_name(dataset) == {"a.jpg": {"cat"}, "b.jpg": set()}
    assert "labels.csv: 1 rows left out: " in caplog.text
    assert "line 3: a corner must be a number, got 'b.jpg'" in caplog.text


@pytest.mark.parametrize(("unlabeled", "background"), [("unknown", False), ("background", True)])
def test_an_empty_label_means_what_is_said(
    files: Any, unlabeled: str, background: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ab":
        files.image(f"{name}.jpg")
    files.text("labels.csv", "image,label\na.jpg,cat\nb.jpg,\n")
    with caplog.at_level("INFO"):
        dataset = files.open("csv", unlabeled=unlabeled)
    assert dataset.is_background("b.jpg") is background
    assert not dataset.is_background("a.jpg")
    assert f"1 images have no label; unlabeled={unlabeled} says what they show" in caplog.text
    with pytest.raises(
        InputError, match=r"1 images have no label, 'b\.jpg' for one; label them, or say what they show"
    ):
        files.open("csv", unlabeled="error")
    with pytest.raises(InputError, match=r"unlabeled must be .*unknown, background or error, got"):
        files.open("csv", unlabeled="maybe")
