"""YOLO: a file that names the classes, and one text file per image.

<root>/data.yaml                     train: images/train    val: images/val    names: [cat, dog]
<root>/images/train/*.jpg
<root>/labels/train/*.txt            class, center x, center y, width, height, in relative coordinates

<root>/classes.txt or obj.names      one class per line, without splits: labelImg, Label Studio
<root>/obj.data                      train = data/train.txt    names = data/obj.names: darknet, CVAT
"""

from __future__ import annotations

import logging
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from wsdet.data.annotations import XYXY, Checked, Object, boxes_in_image, extent, number, read_lines
from wsdet.data.image_files import ImageFiles, LazyMapping, Truth, Unlabeled
from wsdet.data.images import MAX_PIXELS
from wsdet.data.locate import existing_tail, locate, normalized, plain_name, without_upload_hash
from wsdet.data.paths import existing_folder, image_names
from wsdet.data.splits import named_splits, split_in_path, without_twin
from wsdet.storage.untrusted import read_yaml, shown
from wsdet.types import InputError

log = logging.getLogger(__name__)

_RELATIVE = 2  # the largest coordinate of a box that is partly outside

NAMES_FILES = (
    *("classes.txt", "obj.names", "labels/classes.txt", "classes.names"),
    *("train/_darknet.labels", "_darknet.labels"),  # Roboflow
)


class Yolo(ImageFiles):
    """Images and boxes in YOLO's layout; a polygon or a turned box counts as its extent, key points are passed over.

    Image ids are paths relative to `root`. The labels of images/a/1.jpg are in labels/a/1.txt: each "images" in the
    path is tried, the last one first; then beside the image; then a file of its name elsewhere, with the hash that
    Label Studio puts before it. An image without such a file has no label and no truth; one with an empty file has no
    objects. Folders and lists of another machine are looked for in `root` by the longest tail of their path.

    Args:
        root: the folder that holds `file`.
        file: the data.yaml, obj.data, or a list of classes (classes.txt, obj.names), relative to `root`. With such a
            list all images below `root` are read, and folders called as splits are splits.
        train_split: the key of the training images in it.
        test_split: the key of the test images; None for no test split.
        unlabeled: what an image without a label shows.
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
        unlabeled: Unlabeled = "unknown",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = existing_folder(root, "the folder that holds the data.yaml")
        content = read_description(folder / file)
        classes = _classes(content, folder / file)
        if "train" in content or train_split in content:
            train = list(_images(content, train_split, folder, file))
            test = list(_images(content, test_split, folder, file)) if test_split is not None else []
        else:
            train, test = _by_folders(image_names(folder))
        labels = _label_files(folder, dict.fromkeys([*train, *test]))
        read = partial(_read_rows, folder, labels, tuple(classes), _n_keypoint_values(content, folder / file))
        super().__init__(
            name=str(folder / file),
            classes=list(classes.values()),
            train=train,
            test=without_twin(train, test, str(folder / file)),
            path_of=folder.joinpath,
            labels=LazyMapping(labels, partial(_read_labels, folder, labels, tuple(classes))),
            truth=Truth(labels, partial(_read_truth, folder, labels, read, max_pixels)),
            max_pixels=max_pixels,
            unlabeled=unlabeled,
        )


def read_description(path: Path) -> dict[Any, Any]:
    """The keys of a data.yaml or an obj.data; of a list of classes, the key `names`.

    Raises:
        InputError: it is missing, is no YAML, or holds no keys.
    """
    if path.suffix in (".txt", ".names", ".labels"):
        return {"names": [line for _, line in read_lines(path)]}
    if path.suffix == ".data":
        pairs = (line.partition("=") for _, line in read_lines(path))
        content: Any = {key.strip(): value.strip() for key, _, value in pairs}
        names = existing_tail(path.parent, str(content.get("names", "")))
        if names is None:
            raise InputError(f"{path} must say by names= where the list of classes lies; got {content.get('names')!r}")
        return content | {"names": [line for _, line in read_lines(path.parent / names)]}
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold keys such as train, val and names")
    if "wsdet" in content:
        made_by = shown(str(content.get("method")))
        log.warning("%s: its boxes were made by %s, not by people: figures against them say nothing", path, made_by)
    return content


def is_label_file(path: Path) -> bool:
    """Whether a text file looks like the labels of an image: a whole number, then coordinates of about 0 to 1."""
    try:
        first = next((line.split() for _, line in read_lines(path)), [])
        values = [float(text) for text in first]
        is_relative = all(abs(value) <= _RELATIVE for value in values[1:5])
        return len(first) >= 5 and first[0].isdecimal() and all(map(math.isfinite, values)) and is_relative
    except (InputError, ValueError):
        return False


def _classes(content: dict[Any, Any], path: Path) -> dict[int, str]:
    """Names by the number that stands for them in the label files."""
    given = content.get("names")
    names = dict(enumerate(given)) if isinstance(given, list) else given
    if (
        not isinstance(names, dict)
        or not all(str(key).isdecimal() for key in names)
        or not all(isinstance(name, str | int | float) for name in names.values())
    ):
        raise InputError(f"{path}: names must be a list of class names, or give one for each number")
    return {int(key): str(names[key]).strip() for key in sorted(names, key=int)}


def _n_keypoint_values(content: dict[Any, Any], path: Path) -> int:
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise InputError(f"{path}: kpt_shape must be [number of key points, 2 or 3], got {shape!r}")
    return int(shape[0] * shape[1])


def entry_exists(content: Mapping[Any, Any], split: Any, folder: Path) -> bool:
    """Whether the images of a split are named and there."""
    entries = content.get(split)
    entries = entries if isinstance(entries, list) else [entries]
    return any(isinstance(entry, str) and _place(content, entry, folder) is not None for entry in entries)


def _images(content: dict[Any, Any], split: str, folder: Path, file: str) -> Iterator[str]:
    """The images of a split: its entry names folders, or text files that list images."""
    entries = content.get(split)
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, str):
            keys = ", ".join(shown(str(key)) for key in content)
            raise InputError(f"{folder / file} must say under {split!r} where its images are; it has the keys {keys}")
        place = _place(content, entry, folder)
        if place is None:
            raise InputError(
                f"{folder / file} says that {split!r} is in {entry!r}, but nothing below {folder} is called so; "
                "correct the file, or put the images there"
            )
        if (folder / place).is_dir():
            yield from (str(PurePosixPath(place) / image) for image in image_names(folder / place))
        else:
            names = [line for _, line in read_lines(folder / place)]
            found = locate(folder, names, (str(PurePosixPath(place).parent), ""))
            yield from (found[name] or plain_name(name) for name in names)


def _place(content: Mapping[Any, Any], entry: str, folder: Path) -> str | None:
    """Where an entry lies below `folder`, also if it speaks of the machine on which it was written."""
    base = content.get("path")
    below = existing_tail(folder, f"{base}/{entry}") if isinstance(base, str) and base else None
    return below or existing_tail(folder, entry) or ("." if plain_name(entry) == "" and entry else None)


def _by_folders(images: Sequence[str]) -> tuple[list[str], list[str]]:
    """Training and test images by folders that are called as splits; all to train where there is none."""
    train, test = named_splits(split for image in images if (split := split_in_path(image)))
    if train is None:
        return list(images), []
    return [i for i in images if split_in_path(i) == train], [i for i in images if test and split_in_path(i) == test]


def _label_files(folder: Path, images: Mapping[str, None]) -> dict[str, str]:
    """The label file of each image that has one, relative to `folder`."""
    found = {image: file for image in images if (file := _label_file(folder, image)) is not None}
    missing = [image for image in images if image not in found]
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    if missing:
        taken = set(found.values())
        for path in sorted(folder.rglob("*.txt")):
            if (file := path.relative_to(folder).as_posix()) not in taken:
                by_stem[without_upload_hash(normalized(path.stem))].append(file)
    for image in missing:
        files = by_stem.get(without_upload_hash(normalized(PurePosixPath(image).stem)), [])
        if len(files) == 1:
            found[image] = files[0]
    return {image: found[image] for image in images if image in found}


def _label_file(folder: Path, image_id: str) -> str | None:
    """The first file there is with one "images" in its path turned to "labels", or beside the image."""
    parts = PurePosixPath(image_id).with_suffix(".txt").parts
    places = [i for i in reversed(range(len(parts) - 1)) if parts[i] == "images"]
    candidates = ["/".join([*parts[:i], "labels", *parts[i + 1 :]]) for i in places]
    return next((file for file in [*candidates, "/".join(parts)] if os.path.isfile(folder / file)), None)  # noqa: PTH113


def _read_labels(folder: Path, files: Mapping[str, str], numbers: Sequence[int], image_id: str) -> set[int]:
    rows = read_lines(folder / files[image_id])
    return {_label(line.split()[0], numbers, where) for where, line in rows}


def _read_rows(
    folder: Path, files: Mapping[str, str], numbers: Sequence[int], n_keypoint_values: int, image_id: str
) -> list[Object]:
    objects = []
    for where, line in read_lines(folder / files[image_id]):
        label, *values = line.split()
        objects.append(Object(_box(values, n_keypoint_values, where), _label(label, numbers, where)))
    return objects


def _read_truth(folder: Path, files: Mapping[str, str], read: Any, max_pixels: int, image_id: str) -> Checked:
    where = str(folder / files[image_id])
    return boxes_in_image(read(image_id), folder / image_id, where, max_pixels, relative=True)


def _label(text: str, numbers: Sequence[int], where: str) -> int:
    value = number(text, f"{where}: the class")
    if value not in numbers:
        last = max(numbers, default=0)
        raise InputError(f"{where}: the class must be a whole number with a name, up to {last}, got {text!r}")
    return numbers.index(int(value))


def _box(texts: Sequence[str], n_keypoint_values: int, where: str) -> XYXY:
    """The box of a row: a box, a box with key points, or a polygon, each with or without a confidence behind it."""
    values = [number(text, f"{where}: a coordinate") for text in texts]
    is_tracked = len(values) == 6 and values[5] > 1 and values[5].is_integer()  # a confidence and a track's number
    if len(values) in (4, 5, 4 + n_keypoint_values, 5 + n_keypoint_values) or is_tracked:
        x, y, w, h = values[:4]
        return x - w / 2, y - h / 2, x + w / 2, y + h / 2
    if len(values) < 6:
        raise InputError(f"{where} must have a class, then x, y, width, height or a polygon, got {len(values)} numbers")
    return extent(zip(values[::2], values[1::2], strict=False))
