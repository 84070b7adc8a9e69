"""PASCAL VOC: a VOCdevkit folder, of the challenge or of one's own in the same layout.

<root>/VOC<year>/JPEGImages/<id>.jpg
<root>/VOC<year>/Annotations/<id>.xml
<root>/VOC<year>/ImageSets/Main/<split>.txt, <class>_<split>.txt
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from xml.etree.ElementTree import Element

from wsdet.data.annotations import Object, checked_boxes, class_indices, number, read_lines, read_xml
from wsdet.data.image_files import ImageFiles, LazyMapping
from wsdet.data.images import MAX_PIXELS, read_size
from wsdet.data.paths import existing_folder, inside
from wsdet.types import Boxes, InputError

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


class Voc(ImageFiles):
    """PASCAL VOC.

    An image's labels are the classes of which it has an object that is not `difficult`. They come from the lists
    `<class>_<split>.txt` (1: has one, 0: difficult ones only, -1: none) where every class has one, and otherwise
    from the image's annotation; an image with neither has no label.

    VOC counts pixels from 1 and includes the last one; true boxes here are continuous: (x1 - 1, y1 - 1, x2, y2).
    They are checked by `wsdet.data.annotations.checked_boxes` against the size of the image itself.

    Args:
        root: the VOCdevkit folder.
        year: which VOC<year> in it.
        train_split: the list of training images in ImageSets/Main.
        test_split: the list of test images; None for no test split.
        classes: class names, in the order of the labels.
        max_pixels: larger images are refused.

    Raises:
        InputError: a folder or list is missing or malformed, or an image is in both splits.
    """

    def __init__(
        self,
        root: Path | str,
        year: int | str = 2007,
        train_split: str = "trainval",
        test_split: str | None = "test",
        classes: Sequence[str] = VOC_CLASSES,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = _voc_folder(root, year)
        ids = {split: _read_ids(_main(folder, split)) for split in (train_split, test_split) if split is not None}
        indices = class_indices(classes)
        annotated = _annotated(folder, chain(*ids.values()))

        def objects(image_id: str) -> tuple[Path, list[Element]]:
            path = annotated[image_id]
            return path, read_xml(path).findall("object")

        def labels_of(image_id: str) -> tuple[int, ...]:
            path, elements = objects(image_id)
            return tuple(_label(item, indices, path) for item in elements if not _difficult(item, path))

        def truth_of(image_id: str) -> Boxes:
            path, elements = objects(image_id)
            size_hw = read_size(_image_path(folder, image_id), max_pixels)
            return checked_boxes([_object(item, indices, path) for item in elements], size_hw, str(path))

        super().__init__(
            name=str(folder),
            classes=classes,
            train=ids[train_split],
            test=ids[test_split] if test_split is not None else (),
            path_of=lambda image_id: _image_path(folder, image_id),
            labels=_listed_labels(folder, classes, ids) or LazyMapping(annotated, labels_of),
            truth=LazyMapping(annotated, truth_of),
            max_pixels=max_pixels,
        )


def _voc_folder(root: Path | str, year: int | str) -> Path:
    folder = existing_folder(root, "the VOCdevkit folder") / f"VOC{year}"
    if not (folder / "ImageSets" / "Main").is_dir():
        raise InputError(
            f"{folder} has no ImageSets/Main; data.root must be the VOCdevkit folder that holds VOC{year}, "
            f"and data.year one that is there: {sorted(path.name for path in folder.parent.glob('VOC*'))}"
        )
    return folder


def _main(folder: Path, name: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{name}.txt"


def _read_ids(path: Path) -> list[str]:
    return [inside(line, f"{path}, line {n},") for n, line in enumerate(read_lines(path), start=1)]


def _annotated(folder: Path, ids: chain[str]) -> dict[str, Path]:
    paths = {image_id: folder / "Annotations" / f"{image_id}.xml" for image_id in ids}
    return {image_id: path for image_id, path in paths.items() if path.exists()}


def _image_path(folder: Path, image_id: str) -> Path:
    images = folder / "JPEGImages"
    candidates = [images / f"{image_id}{suffix}" for suffix in _IMAGE_SUFFIXES]
    return next((path for path in candidates if path.exists()), candidates[0])


def _listed_labels(
    folder: Path, classes: Sequence[str], ids: Mapping[str, Sequence[str]]
) -> dict[str, list[int]] | None:
    """Labels from the lists of the classes; None where a class has no list."""
    labels: dict[str, list[int]] = {}
    for split in ids:
        lists = [_main(folder, f"{name}_{split}") for name in classes]
        if not all(path.exists() for path in lists):
            return None
        for label, path in enumerate(lists):
            for image_id in _read_positives(path):
                labels.setdefault(image_id, []).append(label)
    return labels


def _read_positives(path: Path) -> list[str]:
    positives = []
    for n, line in enumerate(read_lines(path), start=1):
        image_id, _, flag = line.rpartition(" ")
        if flag not in ("1", "0", "-1") or not image_id.strip():
            raise InputError(f"{path}, line {n}, must be an image and 1, 0 or -1, got {line!r}")
        if flag == "1":
            positives.append(image_id.strip())
    return positives


def _object(item: Element, indices: Mapping[str, int], path: Path) -> Object:
    label = _label(item, indices, path)
    x1, y1, x2, y2 = (
        number(item.findtext(f"bndbox/{name}"), f"{path}, {name} of an object")
        for name in ("xmin", "ymin", "xmax", "ymax")
    )
    return Object((x1 - 1, y1 - 1, x2, y2), label, _difficult(item, path))


def _label(item: Element, indices: Mapping[str, int], path: Path) -> int:
    name = (item.findtext("name") or "").strip()
    if name not in indices:
        raise InputError(
            f"{path} has an object of class {name!r}, which is none of {', '.join(indices)}; "
            "correct it, or name the classes with data.classes=[...]"
        )
    return indices[name]


def _difficult(item: Element, path: Path) -> bool:
    text = (item.findtext("difficult") or "0").strip()
    if text not in ("0", "1"):
        raise InputError(f"{path}: difficult must be 0 or 1, got {text!r}")
    return text == "1"
