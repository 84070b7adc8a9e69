"""`RecordFiles`: a dataset from records, one for each image that an annotation file names, in whatever format.

A reader of a format turns its file into `Record`s. Where the images lie, which classes there are, how the images are
split and what is wrong with the boxes is the same for all formats, and is found here.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import ClassVar

from wsdet.data.annotations import XYXY, Checked, Object, boxes_in_image, class_indices
from wsdet.data.image_files import ImageFiles, LazyMapping, Truth, Unlabeled
from wsdet.data.images import MAX_PIXELS
from wsdet.data.locate import locate, plain_name
from wsdet.data.paths import existing_folder
from wsdet.data.splits import equal_content, named_splits, split_by_fraction, without_twin
from wsdet.storage.untrusted import is_unicode, shown
from wsdet.types import InputError, Split

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One object or label of an image, as the file tells it.

    Attributes:
        name: its class.
        xyxy: its box, in the units of its record; None where there is a label without a box.
        difficult: VOC's flag.
    """

    name: str
    xyxy: XYXY | None = None
    difficult: bool = False


@dataclass(frozen=True)
class Record:
    """One image, as an annotation file tells it.

    Attributes:
        image: its name, as it stands in the file.
        items: what is on it.
        where: the place in the file, for messages.
        has_boxes: every object on the image has its box among `items`.
        size_hw: height and width that the file gives; None where it gives none.
        relative: boxes are in relative coordinates, not in pixels.
        split: the split's name, if the file tells one.
        places: folders below the root in which `image` may start; others are searched after them.
        problem: why the annotation cannot be used; empty where it can.
    """

    image: str
    items: tuple[Item, ...] = ()
    where: str = ""
    has_boxes: bool = True
    size_hw: tuple[int, int] | None = None
    relative: bool = False
    split: str | None = None
    places: tuple[str, ...] = ("",)
    problem: str = ""


class RecordFiles(ImageFiles):
    """Images with what records say of them.

    Image ids are paths relative to `root`. An image whose file is missing keeps its place; loading it says so. An
    image in several records has the objects of all.

    Args:
        root: the folder of the images.
        name: what messages call the dataset.
        records: one or more for each image.
        classes: class names in the order of the labels; None: those of the records in alphabetical order.
        train_split: the training split's name in the records; None: as `named_splits` tells it.
        test_split: the test split's name; None: as `named_splits` tells it.
        test_fraction: where the records tell no split, the share of images for the test split, in [0, 1].
        seed: where the records tell no split, draws it. Images of equal content come to one side.
        unlabeled: see `wsdet.data.image_files.Unlabeled`.
        max_pixels: larger images are refused.

    Raises:
        InputError: no image is found, or a class is not among `classes`.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        records: Iterable[Record],
        classes: Sequence[str] | None = None,
        train_split: str | None = None,
        test_split: str | None = None,
        test_fraction: float = 0.2,
        seed: int = 0,
        unlabeled: Unlabeled = "unknown",
        *,
        max_pixels: int,
    ) -> None:
        by_id, splits_of = _by_id(root, name, list(records))
        if classes is None:
            classes = sorted({item.name for record in by_id.values() for item in record.items})
        _check_classes(by_id.values(), classes)
        indices = class_indices(classes)
        boxed = [i for i, record in by_id.items() if record.has_boxes]
        labels = LazyMapping(by_id, partial(_labels, by_id, indices))
        ids = _splits(root, name, by_id, splits_of, labels, train_split, test_split, test_fraction, seed)
        super().__init__(
            name=name,
            classes=classes,
            train=ids["train"],
            test=ids["test"],
            path_of=root.joinpath,
            labels=labels,
            truth=Truth(boxed, partial(_read_truth, root, by_id, indices, max_pixels)),
            max_pixels=max_pixels,
            unlabeled=unlabeled,
        )


class AnnotationFile(RecordFiles):
    """Images that one file annotates, which lies beside them.

    Args:
        root: the folder of the file and the images.
        file: the annotations, relative to `root`; None: under the name that the tool gives.
        test_fraction: where the file tells no split, the share of images for the test split, in [0, 1].
        seed: where the file tells no split, draws it.
        unlabeled: what an image without an annotated object shows.
        max_pixels: larger images are refused.

    Raises:
        InputError: the file is missing, cannot be used, or names no image that is there.
    """

    usual_file: ClassVar[str]

    def __init__(
        self,
        root: Path | str,
        file: str | None = None,
        test_fraction: float = 0.2,
        seed: int = 0,
        unlabeled: Unlabeled = "unknown",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = existing_folder(root, f"the folder of {self.usual_file} and the images")
        path = folder / (file or self.usual_file)
        records, classes = self.read(path)
        super().__init__(
            root=folder,
            name=str(path),
            records=records,
            classes=classes,
            test_fraction=test_fraction,
            seed=seed,
            unlabeled=unlabeled,
            max_pixels=max_pixels,
        )

    @abstractmethod
    def read(self, path: Path) -> tuple[list[Record], Sequence[str] | None]:
        """The records of a file, and its classes in their order; None: in alphabetical order.

        Raises:
            InputError: it cannot be used.
        """


def _by_id(root: Path, name: str, records: Sequence[Record]) -> tuple[dict[str, Record], dict[str, set[str]]]:
    """The records by the paths of their images, those of one image made one; and the splits that each image is in."""
    names: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for record in records:
        names[record.places].append(record.image)
    files = {places: locate(root, of_places, places) for places, of_places in names.items()}
    missing = [image for found in files.values() for image, file in found.items() if file is None]
    _say_missing(name, missing, sum(map(len, files.values())))
    by_id: dict[str, Record] = {}
    splits_of: defaultdict[str, set[str]] = defaultdict(set)
    for record in records:
        image_id = files[record.places][record.image] or _where_it_should_be(record)
        if image_id is None:
            log.warning("%s names %r, which no file is called; it is left out", record.where, shown(record.image))
            continue
        by_id[image_id] = _together(by_id[image_id], record) if image_id in by_id else record
        if record.split:
            splits_of[image_id].add(record.split)
    return by_id, splits_of


def _where_it_should_be(record: Record) -> str | None:
    image_id = str(PurePosixPath(record.places[0], plain_name(record.image)))
    usable = plain_name(record.image) and "\0" not in image_id and is_unicode(image_id)
    return image_id if usable else None


def _say_missing(name: str, missing: Sequence[str], n_images: int) -> None:
    if not missing:
        return
    if len(missing) == n_images:
        raise InputError(
            f"{name} names {n_images} images and none of them is there, {shown(missing[0])!r} for one; put the images "
            "below data.root, under the names that the file gives"
        )
    log.warning(
        "%s: %d of its %d images are missing, or more than one could be meant: %r for one",
        shown(name),
        len(missing),
        n_images,
        shown(missing[0]),
    )


def _together(first: Record, second: Record) -> Record:
    """What two records say of one image."""
    return replace(
        first,
        items=tuple(dict.fromkeys(first.items + second.items)),
        has_boxes=first.has_boxes and second.has_boxes,
        problem=first.problem or second.problem,
    )


def _labels(records: Mapping[str, Record], indices: Mapping[str, int], image_id: str) -> set[int]:
    """The classes of the objects that are not difficult."""
    record = records[image_id]
    if record.problem:
        raise InputError(record.problem)
    return {indices[item.name] for item in record.items if not item.difficult}


def _check_classes(records: Iterable[Record], classes: Sequence[str]) -> None:
    known = set(classes)
    for record in records:
        for item in record.items:
            if item.name not in known:
                raise InputError(
                    f"{record.where}, has the label {item.name!r}, which is none of data.classes "
                    f"({', '.join(list(classes)[:30])}); correct either"
                )


def _splits(
    root: Path,
    name: str,
    records: Mapping[str, Record],
    splits_of: Mapping[str, set[str]],
    labels: Mapping[str, Iterable[int]],
    train_split: str | None,
    test_split: str | None,
    test_fraction: float,
    seed: int,
) -> dict[Split, list[str]]:
    told = {split for splits in splits_of.values() for split in splits}
    if not told:
        groups = equal_content({image_id: root / image_id for image_id in records})
        readable = {i: labels[i] for i, record in records.items() if not record.problem}
        train, test = split_by_fraction(groups, readable, test_fraction, seed)
        return {"train": train, "test": test}
    found = named_splits(told)
    train_split, test_split = train_split or found[0], test_split or found[1]
    if train_split is None:
        raise InputError(f"{name} has the splits {', '.join(sorted(told))}, and none is the training split by its name")
    left_out = sorted(told - {train_split, test_split})
    if left_out:
        log.warning("%s: images of the splits %s are left out", name, ", ".join(map(shown, left_out)))
    without = [image_id for image_id in records if not splits_of[image_id]]
    if without:
        log.warning("%s: %d images are in no split and left out, %r for one", name, len(without), shown(without[0]))
    train = [image_id for image_id in records if train_split in splits_of[image_id]]
    test = [image_id for image_id in records if test_split in splits_of[image_id]]
    return {"train": train, "test": without_twin(train, test, name)}


def _read_truth(
    root: Path, records: Mapping[str, Record], indices: Mapping[str, int], max_pixels: int, image_id: str
) -> Checked:
    record = records[image_id]
    if record.problem:
        raise InputError(record.problem)
    objects = [Object(item.xyxy, indices[item.name], item.difficult) for item in record.items if item.xyxy is not None]
    return boxes_in_image(objects, root / image_id, record.where, max_pixels, record.size_hw, relative=record.relative)
