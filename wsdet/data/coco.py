"""COCO: one JSON file a split beside folders of images.

<root>/annotations/instances_<split>.json
<root>/<split>/*.jpg
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from wsdet.data.annotations import Object, checked_boxes, number
from wsdet.data.image_files import ImageFiles, LazyMapping
from wsdet.data.images import MAX_PIXELS, read_size
from wsdet.data.paths import existing_folder, inside
from wsdet.data.splits import equal_content, split_by_fraction
from wsdet.storage.untrusted import read_json
from wsdet.types import Boxes, InputError

log = logging.getLogger(__name__)


class _Annotation(NamedTuple):
    """One annotation: its place in the file, for messages; its category; its box, not yet checked, if it has one."""

    where: str
    category: int
    bbox: Any
    crowd: bool


class _Listing(NamedTuple):
    """What one JSON file says: names by category id, and annotations by image id (a path); None when it has none."""

    categories: dict[int, str]
    images: list[str]
    annotations: dict[str, list[_Annotation]] | None


class Coco(ImageFiles):
    """Images and boxes in COCO's JSON.

    Image ids are paths relative to `root`; classes are the categories in the order of their ids. An image's labels
    are the categories of which it has an annotation that is not a crowd; a crowd's box is true but `difficult`.
    Every image of a file with annotations has truth, empty where nothing is on it. Boxes (x, y, width, height) are
    continuous and checked by `wsdet.data.annotations.checked_boxes`.

    Args:
        root: the folder that holds the images and the JSON files.
        train_split: what {split} stands for in the training images' file and folder; None: one file is split by seed.
        test_split: the same for the test images; None for none.
        annotations: the JSON file relative to `root`.
        images: the folder relative to `root` that its file names start from.
        test_fraction: without `train_split`, the share of images for the test split, in [0, 1].
        seed: without `train_split`, draws the split. Images of equal content come to one side.
        max_pixels: larger images are refused.

    Raises:
        InputError: a file is missing or does not follow COCO's schema, or the splits name different categories.
    """

    def __init__(
        self,
        root: Path | str,
        train_split: str | None = "train2017",
        test_split: str | None = "val2017",
        annotations: str = "annotations/instances_{split}.json",
        images: str = "{split}",
        test_fraction: float = 0.2,
        seed: int = 0,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = existing_folder(root, "the folder of the images and the JSON files")
        splits = ["" if train_split is None else train_split, *([] if test_split is None else [test_split])]
        if train_split is None and (test_split is not None or "{split}" in annotations + images):
            raise ValueError("without train_split, test_split must be None, and annotations and images without {split}")
        listings = {
            split: _read_listing(folder / annotations.replace("{split}", split), images.replace("{split}", split))
            for split in splits
        }
        categories = _common_categories(listings, folder)
        indices = {category: index for index, category in enumerate(sorted(categories))}
        found = {i: items for listing in listings.values() for i, items in (listing.annotations or {}).items()}
        labels = {i: {indices[item.category] for item in items if not item.crowd} for i, items in found.items()}

        boxed = [image_id for image_id, items in found.items() if all(item.bbox is not None for item in items)]
        train, test = listings[splits[0]].images, listings[splits[1]].images if test_split is not None else []
        if train_split is None:
            groups = equal_content({image_id: folder / image_id for image_id in train})
            train, test = split_by_fraction(groups, labels, test_fraction, seed)
        super().__init__(
            name=str(folder),
            classes=[categories[category] for category in sorted(categories)],
            train=train,
            test=test,
            path_of=folder.joinpath,
            labels=labels,
            truth=LazyMapping(boxed, partial(_read_truth, folder, found, indices, max_pixels)),
            max_pixels=max_pixels,
        )


def _read_listing(path: Path, images: str) -> _Listing:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object with images, annotations and categories")
    info = content.get("info")
    if isinstance(info, dict) and info.get("description") == "boxes by wsdet":
        log.warning(
            "%s: its boxes were made by %s, not by people: figures against them say nothing", path, info.get("method")
        )
    names: dict[int, str] = {}
    for entry, where in _entries(content, "categories", path):
        _add(names, _get(entry, "id", int, where), _get(entry, "name", str, where), where)
    paths: dict[int | str, str] = {}
    for entry, where in _entries(content, "images", path):
        name = inside(str(PurePosixPath(images) / _get(entry, "file_name", str, where)), where)
        _add(paths, _get(entry, "id", (int, str), where), name, where)
    listed = list(dict.fromkeys(paths.values()))
    if "annotations" not in content:
        return _Listing(names, listed, None)
    return _Listing(names, listed, _read_annotations(content, path, names, paths))


def _read_annotations(
    content: dict[str, Any], path: Path, names: Mapping[int, str], paths: Mapping[int | str, str]
) -> dict[str, list[_Annotation]]:
    annotations: dict[str, list[_Annotation]] = {image_id: [] for image_id in paths.values()}
    astray = 0
    for entry, where in _entries(content, "annotations", path):
        category = _get(entry, "category_id", int, where)
        if category not in names:
            raise InputError(f"{where}: category_id {category} is not the id of a category in that file")
        image = _get(entry, "image_id", (int, str), where)
        if image not in paths:
            astray += 1
            continue
        crowd = bool(entry.get("iscrowd", 0))
        annotations[paths[image]].append(_Annotation(where, category, entry.get("bbox"), crowd))
    if astray:
        log.warning("%s: %d annotations are of images that it does not list; they are left out", path, astray)
    return annotations


def _entries(content: dict[str, Any], key: str, path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise InputError(f"{path} must have a list {key!r}, as COCO's format says")
    for n, entry in enumerate(entries):
        where = f"{path}, {key}[{n}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where} must be a JSON object")
        yield entry, where


def _get(entry: dict[str, Any], key: str, types: type | tuple[type, ...], where: str) -> Any:
    value = entry.get(key)
    if not isinstance(value, types) or isinstance(value, bool):
        allowed = " or ".join(kind.__name__ for kind in (types if isinstance(types, tuple) else (types,)))
        raise InputError(f"{where}: {key} must be {allowed}, got {type(value).__name__}")
    return value


def _add(names: dict[Any, str], key: int | str, name: str, where: str) -> None:
    if names.setdefault(key, name) != name:
        raise InputError(f"{where}: its id {key!r} is that of {names[key]!r} before it; give each its own")


def _common_categories(listings: Mapping[str, _Listing], folder: Path) -> dict[int, str]:
    first, *others = (listing.categories for listing in listings.values())
    if any(categories != first for categories in others):
        raise InputError(
            f"{folder}: the files of {' and '.join(listings)} must have the same categories with the same ids"
        )
    return first


def _read_truth(
    folder: Path,
    annotations: Mapping[str, list[_Annotation]],
    indices: Mapping[int, int],
    max_pixels: int,
    image_id: str,
) -> Boxes:
    objects = [Object(_corners(item), indices[item.category], item.crowd) for item in annotations[image_id]]
    return checked_boxes(objects, read_size(folder / image_id, max_pixels), f"image {image_id!r} in {folder}")


def _corners(item: _Annotation) -> tuple[float, float, float, float]:
    if not isinstance(item.bbox, list) or len(item.bbox) != 4:
        raise InputError(f"{item.where}: bbox must be a list of x, y, width and height")
    x, y, w, h = (number(value, f"{item.where}: a value of bbox") for value in item.bbox)
    return x, y, x + w, y + h
