"""Formats that are known and not read: refused by name, with the way to one that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path, PurePosixPath

from wsdet.data.images import SUFFIXES
from wsdet.data.paths import image_names
from wsdet.storage.untrusted import read_bytes
from wsdet.types import InputError

READ_INSTEAD = (
    "export it as COCO, YOLO or VOC from the tool that made it, or make one folder for each class or a labels.csv of "
    "image,label"
)
_LOOKED_AT = 20  # files of each kind
_NO_CLASSES = {
    *("images", "image", "imgs", "img", "data", "dataset", "jpegimages", "photos", "pictures", "frames", "raw", "all"),
    *("train", "training", "val", "valid", "validation", "test", "testing", "obj_train_data", "obj_valid_data"),
    *("labels", "annotations", "masks", "segmentationclass", "segmentationobject", "upload", "default", "files"),
}


def refuse_foreign(folder: Path) -> None:
    """Refuses a folder whose files belong to a format that is not read.

    Raises:
        InputError: it names the format.
    """
    for name, is_it in _FOREIGN:
        if is_it(folder):
            raise InputError(f"{folder} looks like {name}, which is not read; {READ_INSTEAD}")


def refuse_folder_names(folder: Path, classes: tuple[str, ...]) -> None:
    """Refuses to take the names of folders that merely hold images for classes.

    Raises:
        InputError: all `classes` are such names.
    """
    if not classes or not {name.lower() for name in classes} <= _NO_CLASSES:
        return
    others = Counter(path.suffix.lower() for path in islice(folder.rglob("*.*"), 10_000) if path.is_file())
    for suffix in SUFFIXES:
        del others[suffix]
    beside = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(3))
    raise InputError(
        f"{folder}: {', '.join(classes)} are no classes but folders of images, and nothing that is known says what is "
        f"on them (other files there: {beside or 'none'}). YOLO needs a data.yaml or classes.txt, COCO its JSON, VOC "
        f"its XML; of images without labels give the folder itself: data.root={folder / classes[0]}"
    )


def _any_file(*patterns: str) -> Callable[[Path], bool]:
    def is_it(folder: Path) -> bool:
        return any(path.is_file() for pattern in patterns for path in folder.glob(pattern))

    return is_it


def _json_with(*keys: str) -> Callable[[Path], bool]:
    def is_it(folder: Path) -> bool:
        files = islice((path for path in folder.rglob("*.json") if path.is_file()), _LOOKED_AT)
        return any(all(f'"{key}"'.encode() in _content(path) for key in keys) for path in files)

    return is_it


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except InputError:
        return b""


def _files_for_each_image(folder: Path) -> bool:
    """Whether most images of a folder have a .json, .txt or .xml of their name that no reader knows."""
    images = {str(PurePosixPath(name).with_suffix("")) for name in image_names(folder)}
    for suffix in (".json", ".txt", ".xml", ".cls"):
        stems = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(f"*{suffix}")}
        if images and len(images & stems) > len(images) / 2:
            return True
    return False


_FOREIGN: tuple[tuple[str, Callable[[Path], bool]], ...] = (
    (
        "WebDataset (shards, or a .cls file beside each image)",
        _any_file("*.tar", "*.tar.gz", "*.cls", "*/*.tar", "*/*.cls"),
    ),
    ("TFRecord", _any_file("*.tfrecord*", "*/*.tfrecord*")),
    ("a VGG Image Annotator (VIA) project", _json_with("shape_attributes", "regions")),
    ("CreateML", _json_with("coordinates", "annotations", "image")),
    ("Supervisely", _json_with("classTitle", "objects")),
    ("Datumaro", _json_with("dm_format_version")),
    ("Labelbox", _any_file("*.ndjson")),
    ("KITTI", _any_file("label_2/*.txt", "training/label_2/*.txt")),
    (
        "images with a file for each of them, of a format that is not known (WebDataset keeps them so)",
        _files_for_each_image,
    ),
)
