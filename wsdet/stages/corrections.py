"""What people corrected, read back from the export of an annotation tool, and how it differs from what they were shown.

An export names images as the tool does: with a hash of the upload, a folder of its server, without the suffix. So its
annotation files and the run's images are laid side by side in a folder, where `wsdet.data.auto.open_any` reads them,
and an image of it is the run's by the id that `wsdet.review` wrote, else by its name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import lzma
import shutil
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from wsdet.boxes import iou
from wsdet.data.auto import open_any
from wsdet.data.images import SUFFIXES
from wsdet.data.label_studio import is_label_studio
from wsdet.data.locate import normalized, without_upload_hash
from wsdet.formats.contents import file_name
from wsdet.stages.export import image_name, place_image
from wsdet.storage.box_store import BoxStore
from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_bytes, read_json, shown
from wsdet.types import Boxes, Dataset, InputError, Ints, readable

log = logging.getLogger(__name__)

CHANGES = ("unchanged", "moved", "relabeled", "added", "deleted")
_SAME_PIXELS = 1.0  # corners that differ by less are the same: some formats round
_RELABELED_IOU = 0.5
_MAX_UNPACKED = 2**32  # bytes of an archive's content
_FOLDERS = {"labels": "images", "Annotations": "JPEGImages"}  # of annotations, and of their images beside it


def read_corrections(path: Path, dataset: Dataset, ids: Sequence[str], work: Path) -> dict[str, Boxes]:
    """The boxes of those of the images `ids` that an export has annotations of; empty where a person left none.

    Tasks of Label Studio that nobody submitted are left out.

    Args:
        path: a file (JSON, XML), a folder or a zip archive: Label Studio, CVAT, COCO, VOC, YOLO and the others that
            `wsdet.data.auto.open_any` reads, with or without the images.
        dataset: the run's.
        ids: the images that can be corrected.
        work: a folder that is emptied, for the files as they are read.

    Raises:
        InputError: nothing there can be read, is of one of the images, or it has a class that the data has not.
    """
    if not path.exists():
        raise InputError(f"corrections={shown(path)} does not exist; give the file or folder that the tool exported")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    _lay_out(path, work)
    names = _Names({image_id: file_name(image_name(dataset, image_id)) for image_id in ids})
    of_file = _add_images(work, dataset, names)
    _prepare_label_studio(work, {image_id: name for name, image_id in of_file.items()})
    found = open_any(work)
    labels = _labels(found.classes, dataset.classes, path)
    corrected: dict[str, Boxes] = {}
    every = [image_id for split in ("train", "test") for image_id in found.ids(split)]
    for name, boxes in readable(found.truth, every, "is left out"):
        image_id = of_file.get(name) or names.match(name)
        if image_id is not None:
            corrected[image_id] = replace(boxes, labels=labels[boxes.labels], scores=np.ones(len(boxes), np.float32))
        else:
            log.warning("%s is no image to train on, and is left out", shown(name))
    if not corrected:
        raise InputError(
            f"corrections={shown(path)} has boxes of none of the {len(ids)} images of the run; are they of another run?"
        )
    return corrected


def _lay_out(path: Path, work: Path) -> None:
    """Links to the files of an export in `work`, or its unpacked content."""
    if path.is_file() and zipfile.is_zipfile(path):
        _unpack(path, work)
        return
    files = [path] if path.is_file() else [one for one in sorted(path.rglob("*")) if one.is_file()]
    for file in files:
        target = work / (file.name if path.is_file() else file.relative_to(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file.resolve())


def _unpack(path: Path, work: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > _MAX_UNPACKED:
                raise InputError(f"{shown(path)} unpacks to more than {_MAX_UNPACKED >> 30} GiB; unpack it yourself")
            archive.extractall(work)  # names that lead elsewhere stay inside
    # damaged, encrypted, of a method or version that zipfile does not know, or with names that no file can have
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{shown(path)} cannot be unpacked: {error}; unpack it yourself, and give the folder"
        ) from error


class _Names:
    """The images of a run by the names that a tool may give them.

    Args:
        names: relative path by image id.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = dict(names)
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for image_id, name in names.items():
            last = PurePosixPath(normalized(name))
            for key in {last.name, last.stem}:
                self._by_name[key].append(image_id)

    def match(self, name: str) -> str | None:
        """The image of a path's name, with or without suffix and upload hash, in the most similar folder."""
        path = PurePosixPath(normalized(name))
        for last in dict.fromkeys((path.name, path.stem, *map(without_upload_hash, (path.name, path.stem)))):
            found = self._by_name.get(last, [])
            tails = [
                _common_tail(path.parts[:-1], PurePosixPath(normalized(self.names[one])).parts[:-1]) for one in found
            ]
            best = [one for one, tail in zip(found, tails, strict=True) if tail == max(tails)]
            if len(best) == 1:
                return best[0]
        return None


def _common_tail(one: Sequence[str], other: Sequence[str]) -> int:
    n = 0
    while n < min(len(one), len(other)) and one[-1 - n] == other[-1 - n]:
        n += 1
    return n


def _add_images(work: Path, dataset: Dataset, names: _Names) -> dict[str, str]:
    """Puts the run's images where the annotations look for them; image id by path, those that were there too."""
    files = [path.relative_to(work) for path in sorted(work.rglob("*")) if path.is_file()]
    of_file: dict[str, str] = {}
    for file in files:
        if file.suffix.lower() in SUFFIXES and (image_id := names.match(file.as_posix())) is not None:
            of_file[file.as_posix()] = image_id
    for file in files:
        place = _image_place(file)
        if place is None or (image_id := names.match(place.as_posix())) is None or image_id in of_file.values():
            continue
        of_file[place.as_posix() + PurePosixPath(names.names[image_id]).suffix] = image_id
    there = set(of_file.values())
    of_file |= {f"images/{name}": image_id for image_id, name in names.names.items() if image_id not in there}
    for name, image_id in of_file.items():
        if not (work / name).exists():
            try:
                place_image(work / name, dataset, image_id, link=True)
            except InputError as error:
                log.warning("%s: %s", image_id, error)
    return of_file


def _image_place(file: Path) -> Path | None:
    """Where the image of an annotation file lies, without its suffix, if the layout says so."""
    for place, part in reversed([*enumerate(file.parts[:-1])]):
        if part in _FOLDERS and file.suffix.lower() in (".txt", ".xml"):
            return Path(*file.parts[:place], _FOLDERS[part], *file.parts[place + 1 : -1], file.stem)
    return None


def _prepare_label_studio(work: Path, file_of: Mapping[str, str]) -> None:
    """Leaves out tasks that nobody submitted, and has the others name the file of the id that we wrote."""
    for path in sorted(work.glob("*.json")):
        if not is_label_studio(read_bytes(path)):
            continue
        content = read_json(path)
        tasks = [task for task in content if isinstance(task, dict) and _is_submitted(task)]
        if content and not tasks:
            raise InputError(f"{shown(path)}: no task has an annotation; press Submit on those that you have looked at")
        log.info("%d of %d tasks were submitted", len(tasks), len(content))
        for task in tasks:
            data = task["data"] if isinstance(task.get("data"), dict) else task
            image_id = data.get("image_id")
            if isinstance(image_id, str) and image_id in file_of:
                data["image"] = file_of[image_id]
        path.unlink()
        write_json(path, tasks)


def _is_submitted(task: Mapping[str, Any]) -> bool:
    if "data" not in task:  # JSON-MIN has annotations alone
        return True
    annotations = task.get("annotations")
    kept = annotations if isinstance(annotations, list) else []
    return any(isinstance(one, dict) and not one.get("was_cancelled") for one in kept)


def _labels(theirs: Sequence[str], ours: Sequence[str], path: Path) -> Ints:
    """(n,) our label of each of their classes."""
    unknown = [name for name in theirs if name not in ours]
    if unknown:
        raise InputError(
            f"corrections={shown(path)} has the class {shown(unknown[0])}; known are {', '.join(map(shown, ours))}. "
            "Name it as one of these, or label the data anew and start another run"
        )
    return np.array([ours.index(name) for name in theirs], np.int64)


@dataclass(frozen=True)
class Changes:
    """What a person did to the boxes of an image: numbers of boxes."""

    unchanged: int = 0
    moved: int = 0
    relabeled: int = 0
    added: int = 0
    deleted: int = 0

    @property
    def verified(self) -> bool:
        """All boxes were right, and none was missing."""
        return not (self.moved or self.relabeled or self.added or self.deleted)

    def __add__(self, other: Changes) -> Changes:
        return Changes(*(getattr(self, name) + getattr(other, name) for name in CHANGES))


def changes(before: Boxes, after: Boxes) -> Changes:
    """How boxes were corrected.

    Boxes are paired so that their IoU is largest in sum: those of one class that overlap, and those of two classes
    with an IoU of 0.5 or more.

    Example:
        >>> changes(Boxes([[0, 0, 9, 9]], labels=[0]), Boxes([[0, 0, 9, 5], [20, 20, 30, 30]], labels=[0, 1]))
        Changes(unchanged=0, moved=1, relabeled=0, added=1, deleted=0)
    """
    overlap = iou(before.xyxy, after.xyxy)
    same = before.labels[:, None] == after.labels
    value = np.where(same, overlap * 2, np.where(overlap >= _RELABELED_IOU, overlap, 0))
    pairs = [(i, j) for i, j in zip(*linear_sum_assignment(-value), strict=True) if value[i, j] > 0]
    count = dict.fromkeys(CHANGES, 0)
    for i, j in pairs:
        is_there = np.abs(before.xyxy[i] - after.xyxy[j]).max() <= _SAME_PIXELS
        count["relabeled" if not same[i, j] else "unchanged" if is_there else "moved"] += 1
    return Changes(**count | {"added": len(after) - len(pairs), "deleted": len(before) - len(pairs)})


def corrections_of(run: Path, dataset: Dataset, data: Mapping[str, Any]) -> BoxStore:
    """The store of all boxes that people gave for a run, `<run>/corrections`: no stage of a run writes there."""
    return BoxStore(run / "corrections", {"made_by": "people", "data": dict(data), "classes": list(dataset.classes)})


def keep_corrections(store: BoxStore, corrected: Mapping[str, Boxes]) -> None:
    """Adds corrected images to a store; a later correction of an image takes the place of an earlier one."""
    fingerprints = {image_id: digest_of({image_id: boxes}) for image_id, boxes in corrected.items()}
    replaced = store.forget_changed(corrected, fingerprints.__getitem__)
    if replaced:
        log.info("%d images had been corrected before; the later boxes count", len(replaced))
    store.fill(
        list(corrected),
        lambda ids: ((image_id, corrected[image_id]) for image_id in ids),
        "corrections",
        fingerprint=fingerprints.__getitem__,
    )


def digest_of(boxes: Mapping[str, Boxes]) -> str:
    """16 characters that stand for boxes by image id."""
    rows = [[i, one.xyxy.tolist(), one.labels.tolist(), one.difficult.tolist()] for i, one in sorted(boxes.items())]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def summary(of_images: Mapping[str, Changes]) -> str:
    """What was corrected, in a line."""
    total = sum(of_images.values(), Changes())
    parts = [f"{getattr(total, name)} {name}" for name in CHANGES]
    verified = sum(one.verified for one in of_images.values())
    return f"{len(of_images)} images corrected, {verified} of them verified unchanged; boxes: {', '.join(parts)}"


def pseudo_boxed(ids: Iterable[str], corrected: Mapping[str, Boxes]) -> list[str]:
    """The images that nobody has corrected yet."""
    return [image_id for image_id in ids if image_id not in corrected]
