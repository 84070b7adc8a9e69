"""PASCAL VOC: a VOCdevkit folder, of the challenge or of one's own in the same layout.

<root>/VOC<year>/JPEGImages/<id>.jpg                                    VOC<year> may be left out
<root>/VOC<year>/Annotations/<id>.xml
<root>/VOC<year>/ImageSets/Main/<split>.txt, <class>_<split>.txt
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

from wsdet.data.annotations import Checked, boxes_in_image, class_indices, read_lines
from wsdet.data.image_files import ImageFiles, LazyMapping, Truth, Unlabeled
from wsdet.data.images import MAX_PIXELS
from wsdet.data.paths import existing_folder, inside
from wsdet.data.splits import without_twin
from wsdet.data.voc_xml import class_names, read_labels, read_objects
from wsdet.types import InputError

log = logging.getLogger(__name__)

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
AUTO = "auto"
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp", ".tif", ".tiff", ".webp")
_SPLITS = (("trainval", "test"), ("train", "val"), ("train", "test"), ("default", "test"))


class Voc(ImageFiles):
    """PASCAL VOC.

    An image's labels are the classes of which it has an object that is not `difficult`. They come from the lists
    `<class>_<split>.txt` (1: has one, 0: difficult ones only, -1: none) where every class has one, and otherwise
    from the image's annotation; an image with neither has no label.

    VOC counts pixels from 1 and includes the last one; ground-truth boxes here are continuous: (x1 - 1, y1 - 1, x2,
    y2). They are checked by `wsdet.data.annotations.boxes_in_image` against the size of the image itself.

    Args:
        root: the VOCdevkit folder, or the folder with Annotations and JPEGImages itself.
        year: which VOC<year> in it.
        train_split: the list of training images in ImageSets/Main; auto: trainval where test or no other is beside it,
            else train, or the only one there is.
        test_split: the list of test images; auto: test beside trainval, val or test beside train; None for none.
        classes: class names, in the order of the labels; None: the challenge's twenty where each has its lists, else
            those of the annotations.
        unlabeled: what an image without an object shows.
        max_pixels: larger images are refused.

    Raises:
        InputError: a folder or list is missing or malformed, or an image is in both splits.
    """

    def __init__(
        self,
        root: Path | str,
        year: int | str = 2007,
        train_split: str = AUTO,
        test_split: str | None = AUTO,
        classes: Sequence[str] | None = None,
        unlabeled: Unlabeled = "unknown",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = _voc_folder(root, year)
        train_split, test_split = _splits(folder, train_split, test_split)
        ids = {split: _read_ids(folder, split) for split in (train_split, test_split) if split is not None}
        annotated = [image_id for image_id in chain(*ids.values()) if _is_file(_annotation_path(folder, image_id))]
        listed = _listed_labels(folder, VOC_CLASSES if classes is None else classes, ids)
        if classes is None and listed is None:
            classes = class_names(_annotation_path(folder, image_id) for image_id in annotated)
            listed = _listed_labels(folder, classes, ids) if classes else None
        classes = VOC_CLASSES if classes is None else classes
        indices = class_indices(classes)
        super().__init__(
            name=str(folder),
            classes=classes,
            train=ids[train_split],
            test=without_twin(ids[train_split], ids[test_split], str(folder)) if test_split is not None else (),
            path_of=partial(_image_path, folder),
            labels=LazyMapping(annotated, partial(_read_labels, folder, indices)) if listed is None else listed,
            truth=Truth(annotated, partial(_read_truth, folder, indices, max_pixels)),
            max_pixels=max_pixels,
            unlabeled=unlabeled,
        )


def lists_of(folder: Path) -> list[str]:
    """The lists of images in ImageSets/Main, without those of single classes where there is one of all images."""
    names = sorted(path.stem for path in (folder / "ImageSets" / "Main").glob("*.txt"))
    return [name for name in names if not any(name.endswith(f"_{other}") for other in names)]


def _voc_folder(root: Path | str, year: int | str) -> Path:
    given = existing_folder(root, "the VOCdevkit folder, or the one with Annotations and JPEGImages")
    for folder in (given / f"VOC{year}", given):
        if (folder / "ImageSets" / "Main").is_dir():
            return folder
    raise InputError(
        f"{given / f'VOC{year}'} has no ImageSets/Main, nor has {given}; data.root must be the VOCdevkit folder that "
        f"holds VOC{year}, and data.year one that is there: {sorted(path.name for path in given.glob('VOC*'))}"
    )


def _splits(folder: Path, train_split: str, test_split: str | None) -> tuple[str, str | None]:
    """The lists to read, those that are left to us chosen by what is there."""
    there = lists_of(folder)
    if train_split == AUTO:
        pairs = [pair for pair in _SPLITS if set(pair) <= set(there)] or [
            (train, "") for train, _ in _SPLITS if train in there
        ]
        if not pairs and len(there) == 1:
            pairs = [(there[0], "")]
        if not pairs:
            raise InputError(
                f"{folder}/ImageSets/Main must hold a list trainval.txt or train.txt, got {there}; name the lists by "
                "data=voc data.train_split=NAME data.test_split=NAME"
            )
        train_split, found = pairs[0]
        test_split = (found or None) if test_split == AUTO else test_split
    elif test_split == AUTO:
        wanted = [test for train, test in _SPLITS if train == train_split]
        test_split = next((test for test in (*wanted, "test", "val") if test in there and test != train_split), None)
    for split in (train_split, test_split):
        if split is not None and not _is_file(_main(folder, split)):
            raise InputError(f"{_main(folder, split)} does not exist; the lists there are {there}")
    log.info("%s: %s.txt to train, %s to test", folder, train_split, f"{test_split}.txt" if test_split else "no list")
    return train_split, test_split


def _main(folder: Path, name: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{name}.txt"


def _read_ids(folder: Path, split: str) -> list[str]:
    """Images by their names without the folder and the suffix, which some tools write."""
    lines = [
        (where, line.replace("\\", "/").rpartition("JPEGImages/")[2])
        for where, line in read_lines(_main(folder, split))
    ]
    names = [inside(line, where) for where, line in lines]
    with_suffix = [name for name in names if PurePosixPath(name).suffix in _IMAGE_SUFFIXES]
    if len(with_suffix) == len(names):
        return [str(PurePosixPath(name).with_suffix("")) for name in names]
    return names


def _annotation_path(folder: Path, image_id: str) -> Path:
    return folder / "Annotations" / f"{image_id}.xml"


def _image_path(folder: Path, image_id: str) -> Path:
    images = folder / "JPEGImages"
    candidates = [images / f"{image_id}{suffix}" for suffix in _IMAGE_SUFFIXES]
    return next((path for path in candidates if _is_file(path)), candidates[0])


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  (false for any name; Path.is_file raises for one that is too long)


def _listed_labels(
    folder: Path, classes: Sequence[str], ids: Mapping[str, Sequence[str]]
) -> dict[str, list[int]] | None:
    """Labels from the lists of the classes; None where a class has no list."""
    labels: dict[str, list[int]] = {}
    for split in ids:
        # a class name from an annotation may be any text, also ../../x: such a class has no list
        lists = [_main(folder, f"{name}_{split}") for name in classes if "/" not in name and "\\" not in name]
        if len(lists) < len(classes) or not all(map(_is_file, lists)):
            return None
        for label, path in enumerate(lists):
            for image_id in _read_positives(path):
                labels.setdefault(image_id, []).append(label)
    return labels


def _read_positives(path: Path) -> list[str]:
    positives = []
    for where, line in read_lines(path):
        image_id, *flag = line.rsplit(maxsplit=1)
        if flag not in (["1"], ["0"], ["-1"]):
            raise InputError(f"{where}, must be an image and 1, 0 or -1, got {line!r}")
        if flag == ["1"]:
            positives.append(inside(image_id, where))
    return positives


def _read_labels(folder: Path, indices: Mapping[str, int], image_id: str) -> set[int]:
    return read_labels(_annotation_path(folder, image_id), indices)


def _read_truth(folder: Path, indices: Mapping[str, int], max_pixels: int, image_id: str) -> Checked:
    path = _annotation_path(folder, image_id)
    objects, size_hw = read_objects(path, indices, first_pixel=1)
    return boxes_in_image(objects, _image_path(folder, image_id), str(path), max_pixels, size_hw)
