"""Any of the layouts that people keep labeled images in, detected from what lies in the folder.

`FORMATS` is the table: the first whose recognizer finds its files decides. A recognizer gives the arguments of its
reader; it never guesses classes from the names of folders that merely hold images.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from wsdet.data.coco import Coco, is_coco
from wsdet.data.csv_file import CsvFile, names_images
from wsdet.data.cvat import Cvat, is_cvat
from wsdet.data.folder import Folder
from wsdet.data.foreign import (
    AFTER_OTHERS,
    BEFORE_OTHERS,
    READ_INSTEAD,
    WITHOUT_CLASSES,
    refuse_folder_names,
    refuse_foreign,
    refuse_lists,
)
from wsdet.data.image_files import ImageFiles, Unlabeled
from wsdet.data.imagenet import ImageNet
from wsdet.data.images import MAX_PIXELS, SUFFIXES
from wsdet.data.inspection import describe
from wsdet.data.label_studio import LabelStudio, is_label_studio
from wsdet.data.labelme import Labelme, is_labelme
from wsdet.data.paths import existing_folder
from wsdet.data.splits import TEST_NAMES, TRAIN_NAMES, named_splits
from wsdet.data.tiny_imagenet import TinyImageNet
from wsdet.data.voc import Voc, lists_of
from wsdet.data.voc_folder import VocFolder, is_voc_xml
from wsdet.data.yolo import NAMES_FILES, Yolo, entry_exists, is_label_file, read_description
from wsdet.storage.untrusted import read_bytes, shown
from wsdet.types import InputError

log = logging.getLogger(__name__)

Arguments = dict[str, Any]

_LOOKED_AT = 200  # files of a kind that are opened to tell what they are


class Format(NamedTuple):
    """A row of the table: what people call it, how it is recognized, what reads it.

    Attributes:
        name: for messages.
        find: gives the reader's arguments, or None where the folder holds something else.
        reader: takes `root` and these arguments.
        at_any_depth: it looks into every folder, so a folder in which everything lies is entered before it is asked.
    """

    name: str
    find: Callable[[Path], Arguments | None]
    reader: type[ImageFiles]
    at_any_depth: bool = False


def open_any(
    root: Path | str,
    test_fraction: float = 0.2,
    seed: int = 0,
    unlabeled: Unlabeled = "unknown",
    max_pixels: int = MAX_PIXELS,
) -> ImageFiles:
    """The dataset in `root`, whatever its layout; logs what was found, what was guessed and what looks wrong.

    It reads one folder for each class, with or without folders of splits; PASCAL VOC with and without its year and its
    lists; COCO's JSON; YOLO with a data.yaml, classes.txt or obj.names; labels or boxes in CSV; the JSON of Label
    Studio and labelme; CVAT's XML; ImageNet and Tiny ImageNet; and images without labels. What is none of these is
    refused by name.

    Example:
        >>> dataset = open_any("PHOTOS")  # doctest: +SKIP
        >>> dataset.classes, len(dataset.ids("train")), len(dataset.ids("test"))  # doctest: +SKIP
        (('cat', 'dog'), 80, 20)

    Args:
        root: the folder.
        test_fraction: where the data has no test split, the share of images for it, in [0, 1].
        seed: where the data has no splits, draws them. Images of equal content come to one side.
        unlabeled: what an image without a label shows: "unknown" (it is left out of training on labels), "background"
            (none of the classes, a negative example) or "error" (there should be none).
        max_pixels: larger images are refused.

    Returns:
        A `wsdet.types.Dataset` whose images are files.

    Raises:
        InputError: there is no such folder, nothing in it is known, or what is there is malformed.
    """
    folder = existing_folder(root, "the folder of the images and their labels")
    try:
        return _open(folder, test_fraction, seed, unlabeled, max_pixels)
    except OSError as error:  # a folder without permission, a name that is too long
        name = shown(error.filename or folder)
        raise InputError(
            f"{name} cannot be read: {error.strerror or error}; mend that, or move it elsewhere"
        ) from error


def find_layout(folder: Path) -> tuple[type[ImageFiles], Arguments]:
    """The reader for what lies in `folder`, and its arguments; "root" is among them where it is not `folder`.

    Raises:
        InputError: what lies there is of a format that is known and not read.
    """
    refuse_foreign(folder, BEFORE_OTHERS)
    inner = _only_folder(folder)
    for format in FORMATS:
        arguments = format.find(folder) if inner is None or not format.at_any_depth else None
        if arguments is not None:
            return format.reader, arguments
    if inner is not None:
        reader, arguments = find_layout(inner)
        return reader, {"root": inner} | arguments
    refuse_foreign(folder, AFTER_OTHERS)
    return Folder, _split_folders(folder)


def _open(folder: Path, test_fraction: float, seed: int, unlabeled: Unlabeled, max_pixels: int) -> ImageFiles:
    reader, arguments = find_layout(folder)
    options = {"test_fraction": test_fraction, "seed": seed, "unlabeled": unlabeled, "max_pixels": max_pixels}
    known = inspect.signature(reader).parameters
    told = ", ".join([reader.__name__, *(f"{key}={shown(str(value))}" for key, value in arguments.items())])
    log.info("%s is read as %s", folder, told)
    arguments = {"root": folder} | arguments | {key: value for key, value in options.items() if key in known}
    dataset = reader(**arguments)
    _refuse_guesses(arguments["root"], dataset)
    if not dataset.ids("test"):
        dataset = dataset.with_test_split(test_fraction, seed)
        log.info("%s has no test split: %d images are drawn for it", folder, len(dataset.ids("test")))
    found, warnings = describe(dataset)
    log.info("found %s", found)
    for warning in warnings:
        log.warning("%s: %s", folder, warning)
    return dataset


def _refuse_guesses(folder: Path, dataset: ImageFiles) -> None:
    """Refuses classes that are very likely something else."""
    if isinstance(dataset, Folder):
        if len(dataset.classes) <= 1:
            refuse_foreign(folder, WITHOUT_CLASSES)
        refuse_folder_names(folder, dataset.classes)
        if len(dataset.classes) <= 1:
            refuse_lists(folder, [*dataset.ids("train"), *dataset.ids("test")])
    if isinstance(dataset, Voc) and not dataset.classes:
        raise InputError(
            f"{folder}: none of the images in its lists has an annotation, Annotations/NAME.xml, so there are no "
            f"classes; of images without labels give the folder of images itself, or {READ_INSTEAD}"
        )
    if isinstance(dataset, Yolo) and not dataset.truth:
        raise InputError(
            f"{folder}: none of its images has a label file in YOLO's format: labels/NAME.txt for images/NAME.jpg, or "
            f"NAME.txt beside it; of images without labels give the folder of images itself, or {READ_INSTEAD}"
        )
    if isinstance(dataset, CsvFile) and dataset.classes and all(map(_are_numbers, dataset.classes)):
        raise InputError(
            f"{folder}: the classes that its CSV file gives are numbers, {', '.join(dataset.classes[:5])}: boxes, or a "
            "column for each class, without a header that names xmin, ymin, xmax, ymax or the classes? Give the "
            f"columns names; or, if the numbers are the classes, data=csv data.root={folder}"
        )


def _are_numbers(text: str) -> bool:
    """Whether a class is a number, several, or has so many in it that they may be a box."""
    numbers = re.findall(r"(?<!\w)[-+]?\d*[.,]?\d+(?!\w)", text)
    return len(numbers) >= 4 or (bool(numbers) and re.fullmatch(r"[-+\d.,;:\s\[\]()]+", text) is not None)


def _voc(folder: Path) -> Arguments | None:
    if lists_of(folder):
        return {}
    years = sorted(path.parent.parent for path in folder.glob("VOC*/ImageSets/Main") if lists_of(path.parent.parent))
    if len(years) > 1:
        log.warning("%s holds %s; %s is read", folder, ", ".join(path.name for path in years), years[-1].name)
    return {"year": years[-1].name.removeprefix("VOC")} if years else None


def _yolo(folder: Path) -> Arguments | None:
    patterns = ("data.yaml", "*.yaml", "*.yml", "obj.data", "*.data")
    for file in dict.fromkeys(path for pattern in patterns for path in sorted(folder.glob(pattern))):
        try:
            content = read_description(file)
        except InputError:
            if file.name in ("data.yaml", "obj.data"):
                raise
            continue  # of another program
        keys = [str(key) for key in content]
        if "names" in keys:
            test = _first(TEST_NAMES, [key for key in keys if entry_exists(content, key, folder)])
            return {"file": file.name, "train_split": _first(TRAIN_NAMES, keys) or "train", "test_split": test}
    return None


def _yolo_names(folder: Path) -> Arguments | None:
    """Label files in YOLO's rows, with a list of classes instead of a data.yaml."""
    texts = islice((path for path in sorted(folder.rglob("*.txt")) if path.is_file()), _LOOKED_AT)
    if not any(is_label_file(path) for path in texts):
        return None
    file = next((name for name in NAMES_FILES if (folder / name).is_file()), None)
    if file is None:
        raise InputError(
            f"{folder} holds label files in YOLO's format, but nothing that names the classes; put a classes.txt with "
            f"one class per line there, or a data.yaml; or {READ_INSTEAD}"
        )
    return {"file": file}


def _coco(folder: Path) -> Arguments | None:
    patterns = ("annotations/instances_*.json", "annotations/*.json", "*/_annotations.coco.json", "*.json", "*/*.json")
    found = ([path for path in _files(folder, pattern) if is_coco(_content(path))] for pattern in patterns)
    names = [path.relative_to(folder).as_posix() for path in next(filter(None, found), [])]
    if not names:
        return None
    for train, word in [(name, word) for name in names for word in _words(name, TRAIN_NAMES)]:
        template = train.replace(word, "{split}")
        test = next((w for n in names for w in _words(n, TEST_NAMES) if template.replace("{split}", w) == n), None)
        if test is not None or len(names) == 1:
            return {"annotations": template, "train_split": word, "test_split": test, "images": "{split}"}
    if len(names) > 1:
        raise InputError(
            f"{folder} holds {len(names)} JSON files, {', '.join(names[:5])}, and none is told to be the training "
            "split's; say which by data=coco data.annotations=... data.train_split=..."
        )
    return {"annotations": names[0], "train_split": None, "test_split": None, "images": "images"}


def _words(name: str, splits: Iterable[str]) -> Iterator[str]:
    """What stands for the split in a name such as annotations/instances_train2017.json: "train2017"."""
    for split in splits:
        if found := re.search(rf"(?<![a-z]){split}\d*(?![a-z])", name, re.IGNORECASE):
            yield found[0]


def _label_studio(folder: Path) -> Arguments | None:
    return _one_file(folder, "*.json", lambda path: is_label_studio(_content(path)), "label_studio")


def _cvat(folder: Path) -> Arguments | None:
    return _one_file(folder, "*.xml", is_cvat, "cvat")


def _labelme(folder: Path) -> Arguments | None:
    files = islice((path for path in folder.rglob("*.json") if path.is_file()), _LOOKED_AT)
    return {} if any(is_labelme(_content(path)) for path in files) else None


def _voc_folder(folder: Path) -> Arguments | None:
    files = islice((path for path in folder.rglob("*.xml") if path.is_file()), _LOOKED_AT)
    return {} if any(map(is_voc_xml, files)) else None


def _imagenet(folder: Path) -> Arguments | None:
    return {} if (folder / "Data" / "CLS-LOC").is_dir() else None


def _tiny_imagenet(folder: Path) -> Arguments | None:
    return {} if (folder / "wnids.txt").is_file() else None


def _csv(folder: Path) -> Arguments | None:
    paths = [path for pattern in ("*.csv", "*/*.csv", "*.tsv", "*/*.tsv") for path in _files(folder, pattern)]
    names = [path.relative_to(folder).as_posix() for path in paths]
    if "labels.csv" in names:
        return {"file": "labels.csv"}
    named = [name for name in names if names_images(folder, name)]
    if not named:
        if names:
            log.warning("%s: %s names no image that is there and is not read", folder, ", ".join(map(shown, names[:5])))
        return None
    if len(named) == 1:
        return {"file": named[0]}
    if all(any(_words(name, (*TRAIN_NAMES, *TEST_NAMES))) for name in named):
        return {"file": named}
    raise InputError(f"{folder} holds {len(named)} CSV files; say which by data=csv data.file=NAME")


def _split_folders(folder: Path) -> Arguments:
    train, test = named_splits(path.name for path in folder.iterdir() if path.is_dir())
    return {} if train is None or train.lower() == "default" else {"train_split": train, "test_split": test}


def _one_file(folder: Path, pattern: str, is_it: Callable[[Path], bool], data: str) -> Arguments | None:
    found = [path.name for path in _files(folder, pattern) if is_it(path)]
    if len(found) > 1:
        raise InputError(f"{folder} holds {', '.join(found[:5])}; say which by data={data} data.file=NAME")
    return {"file": found[0]} if found else None


def _only_folder(folder: Path) -> Path | None:
    """The folder in which everything lies, as in an unpacked archive; None where there is more, or images in it."""
    entries = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    if len(entries) != 1 or not entries[0].is_dir() or entries[0].is_symlink():
        return None
    inside = [path.suffix.lower() for path in entries[0].iterdir()]
    return None if SUFFIXES.intersection(inside) else entries[0]


def _files(folder: Path, pattern: str) -> Sequence[Path]:
    return [path for path in sorted(folder.glob(pattern))[:_LOOKED_AT] if path.is_file()]


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except InputError:  # the reader says why, if it is the one
        return b""


def _first(wanted: Iterable[str], there: Iterable[str]) -> str | None:
    by_lower = {name.lower(): name for name in there}
    return next((by_lower[name] for name in wanted if name in by_lower), None)


FORMATS = (
    Format("PASCAL VOC", _voc, Voc),
    Format("YOLO with data.yaml or obj.data", _yolo, Yolo),
    Format("CVAT for images", _cvat, Cvat),
    Format("COCO", _coco, Coco),
    Format("Label Studio", _label_studio, LabelStudio),
    Format("ImageNet", _imagenet, ImageNet),
    Format("Tiny ImageNet", _tiny_imagenet, TinyImageNet),
    Format("labelme", _labelme, Labelme, at_any_depth=True),
    Format("VOC's XML without VOC's folders", _voc_folder, VocFolder, at_any_depth=True),
    Format("YOLO with classes.txt or obj.names", _yolo_names, Yolo, at_any_depth=True),
    Format("CSV", _csv, CsvFile),
)
