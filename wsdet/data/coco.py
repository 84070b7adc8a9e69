"""COCO: one JSON file a split beside folders of images.

<root>/annotations/instances_<split>.json
<root>/<split>/*.jpg
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

from wsdet.data.annotations import XYXY, Skipped, extent, number
from wsdet.data.image_files import Unlabeled
from wsdet.data.images import MAX_PIXELS
from wsdet.data.paths import existing_folder
from wsdet.data.records import Item, Record, RecordFiles
from wsdet.storage.untrusted import read_json, shown
from wsdet.types import InputError

log = logging.getLogger(__name__)


class Coco(RecordFiles):
    """Images and boxes in COCO's JSON.

    Image ids are paths relative to `root`; classes are the categories in the order of their ids, without those that no
    annotation uses and that others name as their supercategory. An image's labels are the categories of which it has an
    annotation, a crowd too; a crowd's box is true but `difficult`, unless the file says of every object that it is a
    crowd, as exports of masks do. Every image of a file with annotations has truth, empty where nothing is on it; but
    not where an object has neither a box nor a shape to take it from. Boxes (x, y, width, height) are continuous.

    An entry that cannot be used costs its image: loading it says why.

    Args:
        root: the folder that holds the images and the JSON files.
        train_split: what {split} stands for in the training images' file and folder; None: one file is split by seed.
        test_split: the same for the test images; None for none.
        annotations: the JSON file relative to `root`.
        images: the folder relative to `root` that its file names start from; others are searched after it.
        test_fraction: without `train_split`, the share of images for the test split, in [0, 1].
        seed: without `train_split`, draws the split. Images of equal content come to one side.
        unlabeled: what an image without an annotation shows.
        max_pixels: larger images are refused.

    Raises:
        InputError: a file is missing, does not follow COCO's schema, or names no image that is there.
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
        unlabeled: Unlabeled = "unknown",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = existing_folder(root, "the folder of the images and the JSON files")
        if train_split is None and (test_split is not None or "{split}" in annotations + images):
            raise ValueError("without train_split, test_split must be None, and annotations and images without {split}")
        splits = [train_split] if test_split is None else [train_split, test_split]
        files = [_File(folder, split, annotations, images) for split in splits]
        super().__init__(
            root=folder,
            name=str(folder),
            records=[record for file in files for record in file.records()],
            classes=_classes(files),
            train_split=train_split,
            test_split=test_split,
            test_fraction=test_fraction,
            seed=seed,
            unlabeled=unlabeled,
            max_pixels=max_pixels,
        )


def is_coco(content: bytes) -> bool:
    """Whether a file's bytes look like COCO's JSON."""
    return b'"images"' in content and b'"categories"' in content


class _File:
    """One JSON file.

    Attributes:
        names: class name by category id.
        parents: names that categories give as their supercategory.
        used: ids of categories that annotations use.
    """

    def __init__(self, folder: Path, split: str | None, annotations: str, images: str) -> None:
        file, place = (text.replace("{split}", split or "") for text in (annotations, images))
        path = folder / file
        content = read_json(path)
        if not isinstance(content, dict):
            raise InputError(f"{path} must hold a JSON object with images, annotations and categories")
        _warn_of_our_own(content, path)
        self._path = path
        self._split = split
        places = [place, f"images/{split}" if split else "images", "images", str(PurePosixPath(file).parent), ""]
        self._places = tuple(dict.fromkeys(places))
        self._skipped = Skipped(path, "entries")
        self.names, self.parents = self._categories(content)
        self.used: set[int] = set()
        self._images = self._listed(content)
        self._annotations = self._by_image(content)
        self._skipped.say()

    def records(self) -> Iterator[Record]:
        """What the file says of each image."""
        every = [entry for entries in (self._annotations or {}).values() for entry, _ in entries]
        all_crowds = bool(every) and all(bool(entry.get("iscrowd")) for entry in every)
        if all_crowds:
            log.info("%s: every object is a crowd (iscrowd), so they are taken as objects", self._path)
        for key, (name, entry, where) in self._images.items():
            found = None if self._annotations is None else self._annotations.get(key, [])
            yield self._record(name, entry, where, found, all_crowds)

    def _record(
        self,
        name: str,
        image: dict[str, Any],
        where: str,
        found: Sequence[tuple[dict[str, Any], str]] | None,
        all_crowds: bool,
    ) -> Record:
        items, problem = [], ""
        for entry, place in found or ():
            try:
                xyxy = _box(entry, place)
                items.append(Item(self._name(entry, place), xyxy, bool(entry.get("iscrowd")) and not all_crowds))
            except InputError as error:
                problem = problem or str(error)
        return Record(
            name,
            # a crowd is no reason to leave out a label: its class is there
            (*items, *(Item(item.name) for item in items if item.difficult)),
            where,
            has_boxes=found is not None and all(item.xyxy is not None for item in items),
            size_hw=_size(image),
            split=self._split,
            places=self._places,
            problem=problem,
        )

    def _categories(self, content: dict[str, Any]) -> tuple[dict[int, str], set[str]]:
        names: dict[int, str] = {}
        parents = set()
        for entry, where in _entries(content, "categories", self._path):
            key, name = _get(entry, "id", int, where), _get(entry, "name", str, where).strip()
            if names.setdefault(key, name) != name:
                raise InputError(f"{where}: its id {key!r} is that of {names[key]!r} before it; give each its own")
            parents.add(entry.get("supercategory") if isinstance(entry.get("supercategory"), str) else None)
        return names, {parent for parent in parents if parent}

    def _listed(self, content: dict[str, Any]) -> dict[int | str, tuple[str, dict[str, Any], str]]:
        listed: dict[int | str, tuple[str, dict[str, Any], str]] = {}
        for entry, where in _entries(content, "images", self._path):
            try:
                named_by = "coco_url" if "file_name" not in entry and "coco_url" in entry else "file_name"  # LVIS
                key, name = _get(entry, "id", (int, str), where), _get(entry, named_by, str, where)
                if listed.setdefault(key, (name, entry, where))[0] != name:
                    raise InputError(f"{where}: its id {key!r} is that of {listed[key][0]!r} before it")
            except InputError as error:
                self._skipped(error)
        return listed

    def _by_image(self, content: dict[str, Any]) -> dict[int | str, list[tuple[dict[str, Any], str]]] | None:
        if "annotations" not in content:
            return None
        found: dict[int | str, list[tuple[dict[str, Any], str]]] = {}
        for entry, where in _objects(content, self._path):
            image = self._same_id(entry.get("image_id"))
            if isinstance(image, bool) or not isinstance(image, int | str) or image not in self._images:
                self._skipped(f"{where}: image_id {image!r} is not the id of an image in that file")
                continue
            found.setdefault(image, []).append((entry, where))
            if isinstance(entry.get("category_id"), int):
                self.used.add(entry["category_id"])
        if not found and content["annotations"]:
            raise InputError(
                f"{self._path}: none of its {len(content['annotations'])} annotations has the image_id of an image in "
                "that file; are they of another one?"
            )
        return found

    def _same_id(self, given: Any) -> Any:
        """An image's id as the list of images has it: some tools write "1" in one place and 1 in the other."""
        if isinstance(given, str) and given.isdecimal() and len(given) < 20:
            other: int | str = int(given)
        elif isinstance(given, int):
            other = str(given)
        else:
            return given
        return other if other in self._images and given not in self._images else given

    def _name(self, entry: dict[str, Any], where: str) -> str:
        category = _get(entry, "category_id", int, where)
        if category not in self.names:
            raise InputError(f"{where}: category_id {category} is not the id of a category in that file")
        return self.names[category]


def _classes(files: Sequence[_File]) -> list[str]:
    """The names of the categories of all files, in the order of the first one's ids, without mere group names."""
    used = {file.names[key] for file in files for key in file.used & file.names.keys()}
    parents = {parent for file in files for parent in file.parents}
    names = [file.names[key] for file in files[:1] for key in sorted(file.names)]
    for file in files[1:]:
        names += [name for key, name in sorted(file.names.items()) if name not in names]
    groups = [name for name in names if name in parents and name not in used] if used else []
    if groups:
        log.info("categories that only group others are no classes: %s", ", ".join(map(shown, groups)))
    return [name for name in names if name not in groups]


def _warn_of_our_own(content: dict[str, Any], path: Path) -> None:
    info = content.get("info")
    if isinstance(info, dict) and info.get("description") == "boxes by wsdet":
        log.warning(
            "%s: its boxes were made by %s, not by people: figures against them say nothing",
            path,
            shown(str(info.get("method"))),
        )


def _entries(content: dict[str, Any], key: str, path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise InputError(f"{path} must have a list {key!r}, as COCO's format says")
    for n, entry in enumerate(entries):
        where = f"{path}, {key}[{n}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where} must be a JSON object")
        yield entry, where


def _objects(content: dict[str, Any], path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The annotations; of a panoptic one, which is a whole image's, its segments."""
    for entry, where in _entries(content, "annotations", path):
        if "segments_info" not in entry:
            yield entry, where
            continue
        for segment, place in _entries(entry, "segments_info", Path(where)):
            yield segment | {"image_id": entry.get("image_id")}, place


def _get(entry: Mapping[str, Any], key: str, types: type | tuple[type, ...], where: str) -> Any:
    value = entry.get(key)
    if not isinstance(value, types) or isinstance(value, bool):
        allowed = " or ".join(kind.__name__ for kind in (types if isinstance(types, tuple) else (types,)))
        raise InputError(f"{where}: {key} must be {allowed}, got {type(value).__name__}")
    return value


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width as the file gives them; None where it gives none that can be."""
    size = image.get("height"), image.get("width")
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in size)
    return size if whole else None  # type: ignore[return-value]


def _box(entry: Mapping[str, Any], where: str) -> XYXY | None:
    """The object's box: `bbox`, or the extent of its shape; None where there is neither."""
    bbox, shape = entry.get("bbox"), entry.get("segmentation")
    if bbox not in (None, []):
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise InputError(f"{where}: bbox must be a list of x, y, width and height")
        x, y, w, h = (number(value, f"{where}: a value of bbox") for value in bbox)
        return x, y, x + w, y + h
    if isinstance(shape, list) and shape:
        polygons = [polygon for polygon in shape if isinstance(polygon, list) and len(polygon) >= 4]
        values = [[number(value, f"{where}: a value of segmentation") for value in polygon] for polygon in polygons]
        points = [point for polygon in values for point in zip(polygon[::2], polygon[1::2], strict=False)]
        return extent(points) if points else None
    return _run_length_box(shape, where) if isinstance(shape, dict) else None


def _run_length_box(shape: Mapping[str, Any], where: str) -> XYXY | None:
    """The extent of a mask in run lengths, column after column; None where there is no mask."""
    size, counts = shape.get("size"), shape.get("counts")
    if isinstance(counts, str):
        counts = _decompressed(counts, where)
    if not isinstance(counts, list):
        return None
    if not isinstance(size, list) or len(size) != 2:
        raise InputError(f"{where}: size of segmentation must be a list of height and width")
    h = max(1, _whole(size[0], f"{where}: the height of segmentation"))
    ends = list(accumulate(_whole(count, f"{where}: a run length of segmentation") for count in counts))
    runs = [(start, end - 1) for start, end in zip(ends[::2], ends[1::2], strict=False) if end > start]
    if not runs:
        return None
    whole_columns = any(first // h != last // h for first, last in runs)
    rows = (0, h - 1) if whole_columns else (min(f % h for f, _ in runs), max(last % h for _, last in runs))
    return runs[0][0] // h, rows[0], runs[-1][1] // h + 1, rows[1] + 1


def _whole(value: Any, where: str) -> int:
    given = number(value, where)
    if not math.isfinite(given):
        raise InputError(f"{where} must be a whole number, got {value!r}")
    return int(given)


def _decompressed(text: str, where: str) -> list[int]:
    """Run lengths from COCO's text: five bits a character from the lowest on, from the third run on as a difference."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise InputError(f"{where}: counts of segmentation must be run lengths as COCO compresses them")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:  # more of this number follows
            continue
        if bits & 16:  # negative
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts
