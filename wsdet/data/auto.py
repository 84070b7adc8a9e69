"""Any of the layouts that people keep labelled images in, told by what lies in the folder.

The first of these that is there decides:

VOC<year>/ImageSets/Main             PASCAL VOC; also where `root` is the VOC<year> folder itself
data.yaml (or one other YAML file)   YOLO
annotations/*.json, *.json or
<split>/_annotations.coco.json       COCO
Data/CLS-LOC, or wnids.txt           ImageNet, Tiny ImageNet
labels.csv (or one other CSV file)   CSV
<split>/<class>/*                    a folder a class, with given splits
<class>/*, or images alone           a folder a class, or images without labels, split by seed
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wsdet.data.coco import Coco
from wsdet.data.csv_file import CsvFile
from wsdet.data.folder import Folder
from wsdet.data.image_files import ImageFiles
from wsdet.data.imagenet import ImageNet
from wsdet.data.images import MAX_PIXELS
from wsdet.data.inspection import describe
from wsdet.data.paths import existing_folder
from wsdet.data.tiny_imagenet import TinyImageNet
from wsdet.data.voc import VOC_CLASSES, Voc
from wsdet.data.voc_xml import class_names
from wsdet.data.yolo import Yolo, read_data_yaml
from wsdet.types import InputError

log = logging.getLogger(__name__)

Layout = tuple[type[ImageFiles], dict[str, Any]]

_TRAIN = ("train", "training")
_TEST = ("val", "valid", "validation", "test", "testing")


def open_any(root: Path | str, test_fraction: float = 0.2, seed: int = 0, max_pixels: int = MAX_PIXELS) -> ImageFiles:
    """The dataset in `root`, whatever its layout; logs what was found and what looks wrong.

    Args:
        root: the folder.
        test_fraction: where the data has no test split, the share of images for it, in [0, 1].
        seed: where the data has no splits, draws them. Images of equal content come to one side.
        max_pixels: larger images are refused.

    Raises:
        InputError: there is no such folder, nothing in it is known, or what is there is malformed.
    """
    folder = existing_folder(root, "the folder of the images and their labels")
    reader, arguments = find_layout(folder)
    if reader in (Coco, CsvFile, Folder):
        arguments |= {"test_fraction": test_fraction, "seed": seed}
    log.info("%s is read as %s", folder, ", ".join([reader.__name__, *(f"{k}={v}" for k, v in arguments.items())]))
    dataset = reader(**({"root": folder} | arguments), max_pixels=max_pixels)  # type: ignore[arg-type]
    if not dataset.ids("test"):
        dataset = dataset.with_test_split(test_fraction, seed)
    found, warnings = describe(dataset)
    log.info("found %s", found)
    for warning in warnings:
        log.warning("%s: %s", folder, warning)
    return dataset


def find_layout(folder: Path) -> Layout:
    """The reader for what lies in `folder`, and its arguments beside the root and those of a drawn split."""
    for find in (_voc, _yolo, _coco, _imagenet, _csv, _split_folders):
        layout = find(folder)
        if layout is not None:
            return layout
    return Folder, {}


def _voc(folder: Path) -> Layout | None:
    if (folder / "ImageSets" / "Main").is_dir() and folder.name.startswith("VOC"):
        years = [folder]
    else:
        years = sorted(path.parent.parent for path in folder.glob("VOC*/ImageSets/Main") if path.is_dir())
    if not years:
        return None
    year = years[-1]
    if len(years) > 1:
        log.warning("%s holds %s; %s is read", folder, ", ".join(path.name for path in years), year.name)
    lists = {path.stem for path in (year / "ImageSets" / "Main").glob("*.txt")}
    train = _first(("trainval", *_TRAIN), lists)
    if train is None:
        raise InputError(f"{year}/ImageSets/Main must hold a list trainval.txt or train.txt, got {sorted(lists)}")
    test = _first(("test", "testing") if train == "trainval" else _TEST, lists)
    arguments = {"root": year.parent, "year": year.name.removeprefix("VOC"), "train_split": train, "test_split": test}
    if not lists.issuperset(f"{name}_{train}" for name in VOC_CLASSES):  # the challenge's own lists name its classes
        arguments["classes"] = class_names((year / "Annotations").rglob("*.xml"))
    return Voc, arguments


def _yolo(folder: Path) -> Layout | None:
    files = [path for pattern in ("data.yaml", "*.yaml", "*.yml") for path in sorted(folder.glob(pattern))]
    for file in files:
        try:
            keys = [str(key) for key in read_data_yaml(file)]
        except InputError:
            if file.name == "data.yaml":
                raise
            continue  # of another program
        if "names" in keys:
            train = _first(_TRAIN, keys) or "train"
            return Yolo, {"file": file.name, "train_split": train, "test_split": _first(_TEST, keys)}
    return None


def _coco(folder: Path) -> Layout | None:
    patterns = ("annotations/instances_*.json", "annotations/*.json", "*/_annotations.coco.json", "*.json")
    found = ([path for path in sorted(folder.glob(pattern)) if _is_coco(path)] for pattern in patterns)
    names = [path.relative_to(folder).as_posix() for path in next(filter(None, found), [])]
    if not names:
        return None
    trains = [(name, word) for name in names for word in _words(name, _TRAIN)]
    for train, word in trains:
        template = train.replace(word, "{split}")
        test = next((w for n in names for w in _words(n, _TEST) if template.replace("{split}", w) == n), None)
        if test is not None or len(names) == 1:
            images = _image_folder(folder, train, word)
            return Coco, {"annotations": template, "train_split": word, "test_split": test, "images": images}
    if len(names) > 1:
        raise InputError(
            f"{folder} holds {len(names)} JSON files, {', '.join(names[:5])}, and none is told to be the training "
            "split's; say which by data=coco data.annotations=... data.train_split=..."
        )
    images = _image_folder(folder, names[0], None)
    return Coco, {"annotations": names[0], "train_split": None, "test_split": None, "images": images}


def _is_coco(path: Path) -> bool:
    content = path.read_bytes()
    return b'"images"' in content and b'"categories"' in content


def _words(name: str, splits: Iterable[str]) -> list[str]:
    """What stands for the split in a name such as annotations/instances_train2017.json: "train2017"."""
    return [found[0] for split in splits if (found := re.search(rf"(?<![a-z]){split}\d*(?![a-z])", name))]


def _image_folder(folder: Path, annotations: str, split: str | None) -> str:
    """Where the first image that a COCO file names is, with {split} for the split."""
    found = re.search(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")', (folder / annotations).read_bytes())
    try:
        name = json.loads(found[1].decode("utf-8", "replace")) if found else ""
    except ValueError:  # the reader says what is wrong with the file
        name = ""
    beside = str(Path(annotations).parent).replace(split or "{split}", "{split}")
    places = ["{split}", "images/{split}", "images", beside, "."]
    if split is None:
        places = [place for place in places if "{split}" not in place]
    there = [
        place
        for place in places
        if os.path.isfile(folder / place.replace("{split}", split or "") / name)  # noqa: PTH113  (a name may be too long)
    ]
    return there[0] if name and there else places[0]


def _imagenet(folder: Path) -> Layout | None:
    if (folder / "Data" / "CLS-LOC").is_dir():
        return ImageNet, {}
    return (TinyImageNet, {}) if (folder / "wnids.txt").is_file() else None


def _csv(folder: Path) -> Layout | None:
    files = [path.name for path in folder.glob("*.csv")]
    if len(files) > 1 and "labels.csv" not in files:
        raise InputError(f"{folder} holds {len(files)} CSV files; say which by data=csv data.file=NAME")
    return (CsvFile, {"file": "labels.csv" if "labels.csv" in files else files[0]}) if files else None


def _split_folders(folder: Path) -> Layout | None:
    names = {path.name for path in folder.iterdir() if path.is_dir()}
    train = _first(_TRAIN, names)
    return None if train is None else (Folder, {"train_split": train, "test_split": _first(_TEST, names)})


def _first(wanted: Iterable[str], there: Iterable[str]) -> str | None:
    by_lower = {name.lower(): name for name in there}
    return next((by_lower[name] for name in wanted if name in by_lower), None)
