"""The ImageNet reader: boxes for some images, validation labels from annotations or folders, chosen classes."""

from __future__ import annotations

from typing import Any

import pytest

from wsdet.types import InputError


@pytest.fixture
def imagenet(files: Any) -> Any:
    files.write_imagenet()
    return lambda **overrides: files.open("imagenet", **overrides)


def test_known_answers(imagenet: Any) -> None:
    dataset = imagenet()
    assert dataset.wnids == ("n1", "n2")
    assert dataset.classes == ("tench", "crane")
    assert dataset.ids("train") == tuple(f"train/{n[:2]}/{n}.JPEG" for n in ("n1_1", "n1_2", "n2_1", "n2_2"))
    assert dataset.ids("test") == ("val/val_1.JPEG", "val/val_2.JPEG")
    assert [dataset.labels(i) for i in dataset.ids("train")] == [(0,), (0,), (1,), (1,)]
    assert [dataset.labels(i) for i in dataset.ids("test")] == [(1,), (0,)]
    assert {image_id: boxes.xyxy.tolist() for image_id, boxes in dataset.truth.items()} == {
        "train/n1/n1_1.JPEG": [[0, 0, 20, 10]],
        "val/val_1.JPEG": [[1, 2, 3, 4]],
        "val/val_2.JPEG": [[0, 0, 3, 4], [1, 2, 3, 4]],
    }


def test_chosen_classes(imagenet: Any) -> None:
    dataset = imagenet(wnids=["n2"])
    assert dataset.classes == ("crane",)
    assert dataset.ids("train") == ("train/n2/n2_1.JPEG", "train/n2/n2_2.JPEG")
    assert dataset.ids("test") == ("val/val_1.JPEG",)
    assert dataset.labels("val/val_1.JPEG") == (0,)
    with pytest.raises(InputError, match=r"has no folder 'n9'; data\.wnids must name folders in it"):
        imagenet(wnids=["n9"])


def test_validation_images_in_folders(imagenet: Any, files: Any) -> None:
    for name, wnid in (("val_1", "n2"), ("val_2", "n1")):
        (files.root / f"Data/CLS-LOC/val/{name}.JPEG").unlink()
        files.image(f"Data/CLS-LOC/val/{wnid}/{name}.JPEG")
    dataset = imagenet()
    assert dataset.ids("test") == ("val/n1/val_2.JPEG", "val/n2/val_1.JPEG")
    assert dataset.labels("val/n2/val_1.JPEG") == (1,)
    assert dataset.truth["val/n2/val_1.JPEG"].xyxy.tolist() == [[1, 2, 3, 4]]


def test_an_unlabeled_validation_image_is_refused(imagenet: Any, files: Any) -> None:
    (files.root / "Annotations/CLS-LOC/val/val_1.xml").unlink()
    with pytest.raises(InputError, match=r"val_1\.xml does not exist"):
        imagenet()


def test_a_missing_train_folder_says_what_root_is(files: Any) -> None:
    with pytest.raises(InputError, match=r"data\.root must be the ILSVRC folder"):
        files.open("imagenet")
