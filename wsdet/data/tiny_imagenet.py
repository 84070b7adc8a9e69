"""Tiny ImageNet: 64 x 64 images, one class and one box each.

<root>/wnids.txt, words.txt
<root>/train/<wnid>/images/*.JPEG, <wnid>_boxes.txt     file, x1, y1, x2, y2
<root>/val/images/*.JPEG, val_annotations.txt           file, wnid, x1, y1, x2, y2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from wsdet.data.annotations import Checked, Object, boxes_in_image, class_indices, number, read_lines
from wsdet.data.image_files import ImageFiles, Truth
from wsdet.data.images import MAX_PIXELS
from wsdet.data.paths import existing_folder, image_names, inside
from wsdet.data.wordnet import class_names
from wsdet.types import InputError


class TinyImageNet(ImageFiles):
    """Tiny ImageNet, `val` as the test split (the set's own test images have no labels).

    Image ids are paths relative to `root`. The lists count pixels from 0 and include the last one; ground-truth boxes
    are
    continuous: (x1, y1, x2 + 1, y2 + 1). An image whose corners lie on one line has no truth: the set cuts boxes
    that its images do not show to such lines.

    Args:
        root: the folder with wnids.txt.
        max_pixels: larger images are refused.

    Attributes:
        wnids: WordNet ids in the order of `classes`.

    Raises:
        InputError: a folder or list is missing or malformed.
    """

    def __init__(self, root: Path | str, max_pixels: int = MAX_PIXELS) -> None:
        folder = existing_folder(root, "the Tiny ImageNet folder, with wnids.txt")
        wnids = [inside(wnid, where) for where, wnid in read_lines(folder / "wnids.txt")]
        indices = class_indices(wnids)
        train, rows = _read_train(folder, wnids)
        test = _read_rows(folder / "val" / "val_annotations.txt", "val/images", n_columns=6)
        labels = {image_id: (indices[wnid],) for image_id, wnid in train.items()}
        for image_id, (where, wnid, *_) in test.items():
            if wnid not in indices:
                raise InputError(f"{where}, has class {wnid!r}, which wnids.txt does not name")
            labels[image_id] = (indices[wnid],)
        corners = {image_id: (row[0], row[-4:]) for image_id, row in (rows | test).items()}

        boxed = [image_id for image_id in labels if image_id in corners and not _is_line(corners[image_id][1])]

        self.wnids = tuple(wnids)
        super().__init__(
            name=str(folder),
            classes=class_names(folder / "words.txt", wnids),
            train=train,
            test=test,
            path_of=folder.joinpath,
            labels=labels,
            truth=Truth(boxed, partial(_read_truth, folder, corners, labels, max_pixels)),
            max_pixels=max_pixels,
        )


def _read_train(folder: Path, wnids: Sequence[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """WordNet id by training image, and the rows of their lists of boxes."""
    wnid_of: dict[str, str] = {}
    rows: dict[str, list[str]] = {}
    for wnid in wnids:
        images = f"train/{wnid}/images"
        wnid_of |= {f"{images}/{name}": wnid for name in image_names(folder / images)}
        listed = folder / "train" / wnid / f"{wnid}_boxes.txt"
        if listed.exists():
            rows |= _read_rows(listed, images, n_columns=5)
    return wnid_of, rows


def _read_rows(path: Path, images: str, n_columns: int) -> dict[str, list[str]]:
    """By image: where its line stands, and the columns after the file's name."""
    rows = {}
    for where, line in read_lines(path):
        name, *columns = line.split("\t")
        if len(columns) != n_columns - 1:
            raise InputError(f"{where}, must have {n_columns} columns between tabs, got {line!r}")
        rows[f"{images}/{inside(name, where)}"] = [where, *columns]
    return rows


def _is_line(corners: Sequence[str]) -> bool:
    x1, y1, x2, y2 = corners
    return x1 == x2 or y1 == y2


def _read_truth(
    folder: Path,
    corners: Mapping[str, tuple[str, list[str]]],
    labels: Mapping[str, tuple[int, ...]],
    max_pixels: int,
    image_id: str,
) -> Checked:
    where, texts = corners[image_id]
    x1, y1, x2, y2 = (number(text, f"{where}: a corner") for text in texts)
    item = Object((x1, y1, x2 + 1, y2 + 1), labels[image_id][0])
    return boxes_in_image([item], folder / image_id, where, max_pixels)
