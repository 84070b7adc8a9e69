"""YOLO: a data.yaml, and one text file an image.

<root>/data.yaml                     train: images/train    val: images/val    names: [cat, dog]
<root>/images/train/*.jpg
<root>/labels/train/*.txt            class, center x, center y, width, height, as fractions of the image
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import yaml  # type: ignore[import-untyped]

from wsdet.data.annotations import Object, checked_boxes, number, read_lines, read_text
from wsdet.data.image_files import ImageFiles, LazyMapping
from wsdet.data.images import MAX_PIXELS, read_size
from wsdet.data.paths import existing_folder, image_names, inside
from wsdet.types import Boxes, InputError

log = logging.getLogger(__name__)


class Yolo(ImageFiles):
    """Images and boxes in YOLO's layout; a polygon counts as its bounding box.

    Image ids are paths relative to `root`. The labels of images/a/1.jpg are in labels/a/1.txt: each "images" in the
    path is tried, the last one first. An image without such a file has no label and no truth; one with an empty file
    has no objects. The key `path` of data.yaml, which says where the set lay on its author's machine, is not used,
    and "../" before an entry, which some tools write, is dropped: everything is looked for in `root`.

    Args:
        root: the folder that holds the data.yaml.
        file: its name, relative to `root`.
        train_split: the key of the training images in it.
        test_split: the key of the test images; None for no test split.
        max_pixels: larger images are refused.

    Raises:
        InputError: the file or a folder that it names is missing, malformed or outside `root`.
    """

    def __init__(
        self,
        root: Path | str,
        file: str = "data.yaml",
        train_split: str = "train",
        test_split: str | None = "val",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = existing_folder(root, "the folder that holds the data.yaml")
        content = read_data_yaml(folder / file)
        if "wsdet" in content:
            made_by = content.get("method")
            log.warning("%s: its boxes were made by %s, not by people: figures against them say nothing", root, made_by)
        classes = _classes(content, folder / file)
        train = list(_images(content, train_split, folder, file))
        test = list(_images(content, test_split, folder, file)) if test_split is not None else []
        listed = [image_id for image_id in [*train, *test] if _label_file(folder, image_id).is_file()]
        super().__init__(
            name=str(folder / file),
            classes=classes,
            train=train,
            test=test,
            path_of=folder.joinpath,
            labels=LazyMapping(listed, partial(_read_labels, folder, len(classes))),
            truth=LazyMapping(listed, partial(_read_truth, folder, len(classes), max_pixels)),
            max_pixels=max_pixels,
        )


def read_data_yaml(path: Path) -> dict[Any, Any]:
    """What a data.yaml holds.

    Raises:
        InputError: it is missing, is no YAML, or holds no keys.
    """
    try:
        content = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not YAML: {error}; correct it") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold keys such as train, val and names")
    return content


def _classes(content: dict[Any, Any], path: Path) -> list[str]:
    names = content.get("names")
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, (str, int, float)) for name in names):
        raise InputError(f"{path}: names must be a list of class names, or give one for each number from 0 on")
    return [str(name) for name in names]


def _images(content: dict[Any, Any], split: str, folder: Path, file: str) -> Iterator[str]:
    """The images of a split: its entry names folders, or text files that list images."""
    entries = content.get(split)
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, str):
            keys = ", ".join(str(key) for key in content)
            raise InputError(f"{folder / file} must say under {split!r} where its images are; it has the keys {keys}")
        name = _inside_root(entry, str(folder / file))
        if name.endswith(".txt"):
            yield from (_inside_root(line, where) for where, line in read_lines(folder / name))
        elif (folder / name).is_dir():
            yield from (str(PurePosixPath(name) / image) for image in image_names(folder / name))
        else:
            raise InputError(f"{folder / file} says that {split!r} is in {entry!r}, but {folder / name} is no folder")


def _inside_root(entry: str, where: str) -> str:
    while entry.startswith("../"):
        entry = entry[3:]
    return inside(entry, where)


def _label_file(folder: Path, image_id: str) -> Path:
    """The first file there is with one "images" in its path turned to "labels"; a missing one if there is none."""
    parts = PurePosixPath(image_id).with_suffix(".txt").parts
    places = [i for i in reversed(range(len(parts) - 1)) if parts[i] == "images"]
    candidates = [folder.joinpath(*parts[:i], "labels", *parts[i + 1 :]) for i in places]
    return next((path for path in candidates if path.is_file()), folder.joinpath(*parts))


def _read_labels(folder: Path, n_classes: int, image_id: str) -> set[int]:
    rows = read_lines(_label_file(folder, image_id))
    return {_label(line.split()[0], n_classes, where) for where, line in rows}


def _read_truth(folder: Path, n_classes: int, max_pixels: int, image_id: str) -> Boxes:
    path, size_hw = _label_file(folder, image_id), read_size(folder / image_id, max_pixels)
    objects = []
    for where, line in read_lines(path):
        label, *coordinates = line.split()
        objects.append(Object(_corners(coordinates, size_hw, where), _label(label, n_classes, where)))
    return checked_boxes(objects, size_hw, str(path))


def _label(text: str, n_classes: int, where: str) -> int:
    label = number(text, f"{where}: the class")
    if label not in range(n_classes):
        raise InputError(f"{where}: the class must be a whole number from 0 to {n_classes - 1}, got {text!r}")
    return int(label)


def _corners(texts: list[str], size_hw: tuple[int, int], where: str) -> tuple[float, float, float, float]:
    values = [number(text, f"{where}: a coordinate") for text in texts]
    h, w = size_hw
    if len(values) == 4:
        x, y, box_w, box_h = values
        return (x - box_w / 2) * w, (y - box_h / 2) * h, (x + box_w / 2) * w, (y + box_h / 2) * h
    if len(values) < 6 or len(values) % 2:
        raise InputError(f"{where} must have a class, then x, y, width, height or a polygon, got {len(values)} numbers")
    return min(values[::2]) * w, min(values[1::2]) * h, max(values[::2]) * w, max(values[1::2]) * h
