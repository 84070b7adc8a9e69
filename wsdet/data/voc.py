"""PASCAL VOC: a VOCdevkit folder, of the challenge or of one's own in the same layout.

<root>/VOC<year>/JPEGImages/<id>.jpg
<root>/VOC<year>/Annotations/<id>.xml
<root>/VOC<year>/ImageSets/Main/<split>.txt, <class>_<split>.txt
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from wsdet.data.annotations import checked_boxes, class_indices, read_lines
from wsdet.data.image_files import ImageFiles, LazyMapping
from wsdet.data.images import MAX_PIXELS, read_size
from wsdet.data.paths import existing_folder, inside
from wsdet.data.voc_xml import read_labels, read_objects
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
        classes: class names, in the order of the labels; None: the challenge's twenty.
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
        classes: Sequence[str] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = _voc_folder(root, year)
        ids = {split: _read_ids(_main(folder, split)) for split in (train_split, test_split) if split is not None}
        classes = VOC_CLASSES if classes is None else classes
        indices = class_indices(classes)
        annotated = [image_id for image_id in chain(*ids.values()) if _annotation_path(folder, image_id).is_file()]
        listed = _listed_labels(folder, classes, ids)
        super().__init__(
            name=str(folder),
            classes=classes,
            train=ids[train_split],
            test=ids[test_split] if test_split is not None else (),
            path_of=partial(_image_path, folder),
            labels=LazyMapping(annotated, partial(_read_labels, folder, indices)) if listed is None else listed,
            truth=LazyMapping(annotated, partial(_read_truth, folder, indices, max_pixels)),
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
    return [inside(line, where) for where, line in read_lines(path)]


def _annotation_path(folder: Path, image_id: str) -> Path:
    return folder / "Annotations" / f"{image_id}.xml"


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
    for where, line in read_lines(path):
        image_id, *flag = line.rsplit(maxsplit=1)
        if flag not in (["1"], ["0"], ["-1"]):
            raise InputError(f"{where}, must be an image and 1, 0 or -1, got {line!r}")
        if flag == ["1"]:
            positives.append(inside(image_id, where))
    return positives


def _read_labels(folder: Path, indices: Mapping[str, int], image_id: str) -> set[int]:
    return read_labels(_annotation_path(folder, image_id), indices)


def _read_truth(folder: Path, indices: Mapping[str, int], max_pixels: int, image_id: str) -> Boxes:
    path = _annotation_path(folder, image_id)
    objects = read_objects(path, indices, first_pixel=1)
    return checked_boxes(objects, read_size(_image_path(folder, image_id), max_pixels), str(path))
