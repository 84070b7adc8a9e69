"""A CSV file of labels beside images.

image,label            image,labels                image,label,label,...        image,label,split
a/1.jpg,cat            1.jpg,"cat dog"             1.jpg,cat,dog                1.jpg,cat,train
a/1.jpg,dog            2.jpg,cat;dog               2.jpg,cat                    2.jpg,dog,test
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from wsdet.data.annotations import class_indices, read_text
from wsdet.data.image_files import ImageFiles
from wsdet.data.images import MAX_PIXELS, SUFFIXES
from wsdet.data.paths import existing_folder, inside
from wsdet.data.splits import equal_content, split_by_fraction
from wsdet.types import InputError


class _Row(NamedTuple):
    image_id: str
    names: list[str]
    split: str | None
    where: str


class CsvFile(ImageFiles):
    """Images with the labels that a CSV file gives them. There is no truth.

    The first column is the image, a path relative to `root` and its image id; every other column holds labels, but
    for one that the header calls "split". A first row whose first cell has no image's suffix is the header. An empty
    cell is no label, and an image in several rows has the labels of all.

    Args:
        root: the folder that the file names start from.
        file: the CSV file, relative to `root`.
        separator: between the labels in one cell. None: ";" if the cell has one, white space in a column that the
            header calls "labels", and otherwise the cell is one label, as it may be "king penguin".
        classes: class names, in the order of the labels; None: those in the file, in alphabetical order.
        train_split: which of the column "split" is the training split.
        test_split: which is the test split. Other rows are left out.
        test_fraction: without a column "split", the share of images for the test split, in [0, 1].
        seed: without a column "split", draws the split. Images of equal content come to one side.
        max_pixels: larger images are refused.

    Raises:
        InputError: the file is missing, is no CSV, names a file outside `root` or a class that is not in `classes`.
    """

    def __init__(
        self,
        root: Path | str,
        file: str = "labels.csv",
        separator: str | None = None,
        classes: Sequence[str] | None = None,
        train_split: str = "train",
        test_split: str = "test",
        test_fraction: float = 0.2,
        seed: int = 0,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = existing_folder(root, "the folder that the CSV file's image names start from")
        rows = list(_read_rows(folder / file, separator))
        if classes is None:
            classes = sorted({name for row in rows for name in row.names})
        labels = _labels(rows, class_indices(classes))
        if any(row.split is not None for row in rows):
            train = [row.image_id for row in rows if row.split == train_split]
            test = [row.image_id for row in rows if row.split == test_split]
        else:
            groups = equal_content({image_id: folder / image_id for image_id in labels})
            train, test = split_by_fraction(groups, labels, test_fraction, seed)
        super().__init__(
            name=str(folder / file),
            classes=classes,
            train=train,
            test=test,
            path_of=folder.joinpath,
            labels=labels,
            truth={},
            max_pixels=max_pixels,
        )


def _read_rows(path: Path, separator: str | None) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True, skipinitialspace=True)
    header: list[str] = []
    try:
        for n, cells in enumerate(reader):
            if n == 0 and cells and PurePosixPath(cells[0]).suffix.lower() not in SUFFIXES:
                header = [cell.strip().lower() for cell in cells]
            elif cells:
                yield _row(cells, header, separator, f"{path}, line {reader.line_num}")
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}, is not CSV: {error}; quote cells that hold commas"
        ) from error


def _row(cells: list[str], header: list[str], separator: str | None, where: str) -> _Row:
    columns = [header[i] if i < len(header) else "label" for i in range(len(cells))]
    names, split = [], None
    for cell, column in zip(cells[1:], columns[1:], strict=True):
        if column == "split":
            split = cell.strip()
        else:
            names += _labels_in(cell, column, separator)
    return _Row(inside(cells[0].strip(), where), names, split, where)


def _labels_in(cell: str, column: str, separator: str | None) -> list[str]:
    if separator is not None:
        parts = cell.split(separator)
    elif ";" in cell:
        parts = cell.split(";")
    else:
        parts = cell.split() if column == "labels" else [cell]
    return [part.strip() for part in parts if part.strip()]


def _labels(rows: Sequence[_Row], indices: Mapping[str, int]) -> dict[str, set[int]]:
    labels: dict[str, set[int]] = {row.image_id: set() for row in rows}
    for row in rows:
        for name in row.names:
            if name not in indices:
                raise InputError(f"{row.where}, has the label {name!r}, which is none of data.classes; correct either")
            labels[row.image_id].add(indices[name])
    return labels
