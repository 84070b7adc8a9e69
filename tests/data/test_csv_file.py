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
    files.text("labels.csv", "a.jpg,king penguin|cat;dog\n")
    assert files.open("csv", separator="|").classes == ("cat;dog", "king penguin")


def test_a_column_of_splits(files: Any) -> None:
    files.write_csv()
    dataset = files.open("csv")
    assert dataset.ids("train") == ("images/1.jpg", "images/2.jpg")
    assert dataset.ids("test") == ("images/3.jpg", "images/4.jpg")
    assert files.open("csv", test_split="val").ids("test") == ()


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
    assert files.open("csv", classes=["dog", "cat", "bird"]).classes == ("dog", "cat", "bird")
    with pytest.raises(InputError, match=r"labels\.csv, line 2, has the label 'dog', which is none of data\.classes"):
        files.open("csv", classes=["cat"])


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg", "a\0.jpg"])
def test_a_name_never_leaves_the_folder(files: Any, name: str) -> None:
    files.text("labels.csv", f"b.jpg,dog\n{name},cat\n")
    with pytest.raises(InputError, match=r"labels\.csv, line 2, "):
        files.open("csv")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no images"),
        (b"image,label\n", "has no images"),
        (b"image,label\n,cat\n", "line 2, names ''"),
        (b'a.jpg,"cat\n', "is not CSV"),
        (b'a.jpg,"cat"dog\n', "is not CSV"),
        (b"a.jpg,caf\xe9\n", "is not UTF-8 text"),
        (b"a.jpg," + b"x" * 200_000, "is not CSV"),
        (b"image,label,split\na.jpg,cat,train\na.jpg,cat,test\n", "in the training and the test split, 'a.jpg'"),
    ],
)
def test_a_file_gone_wrong_is_refused(files: Any, content: bytes, says: str) -> None:
    (files.root / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"labels\.csv.*{says}"):
        files.open("csv")
