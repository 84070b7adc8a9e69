"""Formats that are known and not read: refused by name, with the way to one that is."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from wsdet.data.images import SUFFIXES
from wsdet.data.paths import image_names
from wsdet.storage.lock import is_run_folder
from wsdet.storage.untrusted import opened, read_bytes, shown
from wsdet.types import InputError

READ_INSTEAD = (
    "export it as COCO, YOLO or VOC from the tool that made it, or make one folder for each class or a labels.csv of "
    "image,label"
)
_LOOKED_AT = 20  # files of each kind
_LISTS = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".manifest", ".xml", ".yaml", ".yml")
_LIST_BYTES = 2**20  # of each, from its beginning
_NO_CLASSES = {
    *("images", "image", "imgs", "img", "data", "dataset", "jpegimages", "photos", "pictures", "frames", "raw", "all"),
    *("train", "training", "val", "valid", "validation", "test", "testing", "obj_train_data", "obj_valid_data"),
    *("labels", "annotations", "masks", "segmentationclass", "segmentationobject", "upload", "default", "files"),
    *("leftimg8bit", "color", "rgb"),
}
_NO_CLASS = re.compile(r"(.*_)?(train|val|test|images?|img)\d*")  # "img1", "WIDER_train"


Format = tuple[str, Callable[[Path], bool]]  # its name, and whether a folder is of it


def refuse_foreign(folder: Path, formats: Sequence[Format]) -> None:
    """Refuses a folder whose files belong to a format that is not read, of one of the tables below.

    Raises:
        InputError: it names the format.
    """
    for name, is_it in formats:
        if is_it(folder):
            raise InputError(f"{folder} looks like {name}, which is not read; {READ_INSTEAD}")


def refuse_folder_names(folder: Path, classes: tuple[str, ...]) -> None:
    """Refuses to take the names of folders that merely hold images for classes.

    Raises:
        InputError: all `classes` are such names.
    """
    if not classes or not all(name.lower() in _NO_CLASSES or _NO_CLASS.fullmatch(name.lower()) for name in classes):
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


def refuse_lists(folder: Path, images: Iterable[str]) -> None:
    """Refuses images without labels, or of one class, that a file beside them names: it may say what is on them.

    Raises:
        InputError: it names the file.
    """
    names = {os.fsencode(PurePosixPath(image).name) for image in islice(images, 100)}
    for suffix in _LISTS:
        for path in _files(folder, suffix):
            content = _head(path, _LIST_BYTES)
            if any(name in content for name in names):
                raise InputError(
                    f"{shown(path)} names images, in a format that is not known; {READ_INSTEAD}. If it does not say "
                    "what is on them, move it elsewhere"
                )


def _any_file(*patterns: str) -> Callable[[Path], bool]:
    def is_it(folder: Path) -> bool:
        return any(path.is_file() for pattern in patterns for path in folder.glob(pattern))

    return is_it


def _json_with(*keys: str) -> Callable[[Path], bool]:
    def is_it(folder: Path) -> bool:
        contents = map(_content, _files(folder, ".json"))
        return any(all(f'"{key}"'.encode() in content for key in keys) for content in contents)

    return is_it


def _files(folder: Path, suffix: str) -> Iterator[Path]:
    """The first files with a suffix below `folder`, but for what runs wrote there."""
    runs = {path.parent for path in folder.rglob(".lock") if is_run_folder(path.parent)}
    found = (path for path in folder.rglob(f"*{suffix}") if path.is_file() and not runs.intersection(path.parents))
    return islice(found, _LOOKED_AT)


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except InputError:
        return b""


def _head(path: Path, n_bytes: int) -> bytes:
    try:
        with opened(path) as file:
            return file.read(n_bytes)
    except (InputError, OSError):
        return b""


def _files_for_each_image(folder: Path) -> bool:
    """Whether most images of a folder have a .json, .txt or .xml of their name that no reader knows."""
    images = {str(PurePosixPath(name).with_suffix("")) for name in image_names(folder)}
    for suffix in (".json", ".txt", ".xml", ".cls"):
        stems = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(f"*{suffix}")}
        if images and len(images & stems) > len(images) / 2:
            return True
    return False


def _kitti(folder: Path) -> bool:
    """Whether text files hold rows of a class and fourteen numbers or more."""
    for path in _files(folder, ".txt"):
        words = _head(path, 2**12).partition(b"\n")[0].decode("utf-8", "replace").split()
        if len(words) >= 15 and not _is_number(words[0]) and all(map(_is_number, words[1:])):
            return True
    return False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# some files of these would be taken for another format's
BEFORE_OTHERS: tuple[Format, ...] = (
    ("DOTA (turned boxes in labelTxt)", _any_file("labelTxt/*.txt", "*/labelTxt/*.txt")),
)
AFTER_OTHERS: tuple[Format, ...] = (
    (
        "WebDataset (shards, or a .cls file beside each image)",
        _any_file("*.tar", "*.tar.gz", "*.cls", "*/*.tar", "*/*.cls"),
    ),
    ("TFRecord", _any_file("*.tfrecord*", "*/*.tfrecord*")),
    ("Parquet of Hugging Face", _any_file("*-of-*.parquet", "*/*-of-*.parquet")),
    ("a VGG Image Annotator (VIA) project", _json_with("shape_attributes", "regions")),
    ("CreateML", _json_with("coordinates", "annotations", "image")),
    ("Supervisely", _json_with("classTitle", "objects")),
    ("Datumaro", _json_with("dm_format_version")),
    ("Labelbox", _any_file("*.ndjson")),
    ("Cityscapes", _any_file("gtFine/*/*/*_polygons.json")),
    ("WIDER FACE", _any_file("*/wider_face_*_bbx_gt.txt", "wider_face_*_bbx_gt.txt")),
    ("MOT", _any_file("gt/gt.txt", "*/gt/gt.txt", "*/*/gt/gt.txt")),
    ("KITTI", _any_file("label_2/*.txt", "training/label_2/*.txt")),
    (
        "images with a file for each of them, of a format that is not known (WebDataset keeps them so)",
        _files_for_each_image,
    ),
)
# beside folders of several classes such files may be of something else
WITHOUT_CLASSES: tuple[Format, ...] = (
    ("Labelbox", _json_with("data_row", "projects")),
    ("Labelbox", _json_with("External ID", "Label")),
    ("Hugging Face's imagefolder with a metadata.jsonl", _any_file("metadata.jsonl", "*/metadata.jsonl")),
    ("Datumaro", _json_with("categories", "items", "label_id")),
    ("FiftyOne's own JSON", _json_with("classes", "labels")),
    ("Scalabel (BDD100K)", _json_with("box2d", "category")),
    ("CrowdHuman (.odgt)", _any_file("*.odgt", "*/*.odgt")),
    ("annotations in MATLAB's, pickle's or HDF5 files", _any_file("*.mat", "*/*.mat", "*.pkl", "*.h5", "*.hdf5")),
    ("SageMaker Ground Truth", _any_file("*.manifest")),
    ("KITTI", _kitti),
)
