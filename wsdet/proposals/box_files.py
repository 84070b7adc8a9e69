"""Reads the files in which people publish boxes: MATLAB, NumPy, JSON, COCO results, YOLO text.

A reader gives rows of numbers as they stand in the file; `wsdet.proposals.files` knows what they mean. Nothing here
runs what it reads: no pickled objects, no MATLAB objects.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from wsdet.data.annotations import number, read_lines
from wsdet.data.paths import inside
from wsdet.proposals.mat_file import check_mat
from wsdet.storage.untrusted import read_json
from wsdet.types import InputError

Rows = npt.NDArray[Any]  # (n, 4), or (n, 5) with a score

_MAX_BYTES = 256 * 2**20  # of one image's boxes in an archive
_MAT_SCORES = "scores"
_MAT_NAMES = "images"


def read_mat_cells(path: Path, variable: str, ids: Path | None) -> dict[str, Rows]:
    """Boxes by image id from a cell array with one cell an image, as Selective Search and EdgeBoxes are published.

    Args:
        path: the .mat file (MATLAB 5 to 7.2).
        variable: the name of the cell array.
        ids: a text file with the image ids in the cells' order, one a line; None takes the cell array `images`.

    Raises:
        InputError: the file cannot be read, or the cells and the ids do not match.
    """
    content = _load_mat(path, [variable, _MAT_NAMES])
    cells = content[variable]
    if cells.dtype != object:
        raise InputError(
            f"{path}: {variable!r} must be a cell array with one cell an image, got {cells.dtype} of shape "
            f"{cells.shape}; files with the boxes of one image each go into a folder, and path= names the folder"
        )
    if ids is not None:
        names = [line for _, line in read_lines(ids)]
    elif _MAT_NAMES in content:
        names = [_text(cell, f"{path}: {_MAT_NAMES!r}") for cell in content[_MAT_NAMES].ravel()]
    else:
        raise InputError(f"{path} has no {_MAT_NAMES!r} that names its images; give ids=FILE, a text file of image ids")
    if len(names) != cells.size:
        raise InputError(f"{path}: {variable!r} has {cells.size} cells for {len(names)} image ids")
    return dict(zip(names, cells.ravel(), strict=True))


def read_mat_image(path: Path, variable: str) -> Rows:
    """The boxes of one image from a .mat file, with the scores beside them in `scores` if there are any, as MCG's.

    Raises:
        InputError: the file cannot be read, or the scores do not fit the boxes.
    """
    content = _load_mat(path, [variable, _MAT_SCORES])
    rows = checked_rows(content[variable], f"{path}: {variable!r}")
    if _MAT_SCORES not in content or rows.shape[1] == 5:
        return rows
    scores = content[_MAT_SCORES]
    if scores.dtype.kind not in "iuf" or scores.size != len(rows):
        raise InputError(f"{path}: {_MAT_SCORES!r} must hold {len(rows)} numbers, got shape {scores.shape}")
    return np.column_stack([rows, scores.ravel()])


class NpzBoxes(Mapping[str, Rows]):
    """Boxes by image id from an .npz archive with one array an image, each read when it is asked for.

    Raises:
        InputError: the file cannot be read; or, on reading an image's boxes, they cannot.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not zipfile.is_zipfile(path):
            raise InputError(f"{path} is not an .npz archive")
        try:
            zipfile.ZipFile(path).close()  # NumPy would leave a file open that zipfile cannot read
            self._archive = np.load(path, allow_pickle=False)
            self._names = dict.fromkeys(self._archive.files)
        except Exception as error:  # zipfile and NumPy let through whatever a broken file makes them trip over
            raise InputError(f"{path} is not an .npz archive that can be read: {error}") from error

    def __getitem__(self, image_id: str) -> Rows:
        if image_id not in self._names:
            raise KeyError(image_id)
        size = max(info.file_size for info in self._archive.zip.infolist() if info.filename in _members(image_id))
        if size > _MAX_BYTES:
            raise InputError(f"{self._path}: {image_id!r} takes {size} bytes; at most {_MAX_BYTES} are read")
        try:
            return np.asarray(self._archive[image_id])
        except Exception as error:  # as above
            raise InputError(f"{self._path}: {image_id!r} cannot be read: {error}") from error

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class CocoResults(dict[str, Rows]):
    """Boxes by image from COCO results; an image is found by its file's name without folders too, or its number."""

    def __missing__(self, image_id: str) -> Rows:
        name = PurePosixPath(image_id)
        for known_as in (name.name, name.stem, name.stem.lstrip("0")):
            if known_as in self:
                return self[known_as]
        raise KeyError(image_id)


def read_coco_results(path: Path, results: list[Any], ids: Path | None) -> CocoResults:
    """(n, 5) rows x1, y1, x2, y2, score by image, from a list of COCO results.

    Args:
        path: the file, for messages.
        results: what it holds: [{"image_id":, "bbox": [x, y, width, height], "score":}, ...].
        ids: COCO's annotations, whose `images` name the file of each image id; None takes the ids themselves.

    Raises:
        InputError: a result or the file of ids does not follow COCO's schema.
    """
    names = None if ids is None else _coco_names(ids)
    rows: dict[str, list[list[float]]] = {}
    for index, result in enumerate(results):
        where = f"{path}, result {index}"
        try:
            image_id, bbox, score = result["image_id"], result["bbox"], result.get("score", 0)
            name = str(image_id) if names is None else names[image_id]
            x, y, width, height, score = (number(value, where) for value in (*bbox, score))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{where} must have a known image_id and a bbox of 4 numbers, got {result!r}") from error
        rows.setdefault(name, []).append([x, y, x + width, y + height, score])
    return CocoResults({name: np.array(values) for name, values in rows.items()})


def read_yolo_image(path: Path, size_hw: tuple[int, int]) -> Rows:
    """(n, 5) rows x1, y1, x2, y2, score from a YOLO text file of an image of height and width `size_hw`.

    Raises:
        InputError: the file cannot be read, or a line is not a class, 4 numbers and perhaps a confidence.
    """
    rows = []
    for where, line in read_lines(path):
        texts = line.split()
        if len(texts) not in (5, 6):
            raise InputError(f"{where} must hold a class, 4 numbers and perhaps a confidence, got {len(texts)} words")
        x, y, width, height, score = (number(text, where) for text in [*texts[1:], "0"][:5])
        rows.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2, score])
    h, w = size_hw
    return np.array(rows).reshape(-1, 5) * [w, h, w, h, 1]


def checked_rows(rows: Any, where: str) -> Rows:
    """`rows` as (n, 4) or (n, 5) numbers; anything empty is (0, 4).

    Raises:
        InputError: it is something else.
    """
    try:
        array = np.asarray(rows)
    except ValueError as error:
        raise InputError(f"{where} must hold rows of 4 or 5 numbers: {error}") from error
    if array.size == 0:
        return np.zeros((0, 4))
    if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] not in (4, 5):
        raise InputError(f"{where} must hold rows of 4 or 5 numbers, got {array.dtype} of shape {array.shape}")
    return array


def file_of_image(folder: Path, image_id: str) -> Path | None:
    """The .mat or .txt file in `folder` that is named after the image, with or without the image's own suffix."""
    name = PurePosixPath(inside(image_id, str(folder)))
    stems = dict.fromkeys([str(name), str(name.with_suffix(""))])
    candidates = [folder / f"{stem}{suffix}" for stem in stems for suffix in (".mat", ".txt")]
    return next((path for path in candidates if path.is_file()), None)


def _load_mat(path: Path, variables: list[str]) -> dict[str, npt.NDArray[Any]]:
    try:
        check_mat(path)
        content = scipy.io.loadmat(path, variable_names=variables)
        there = [] if variables[0] in content else [name for name, _, _ in scipy.io.whosmat(path)]
    except NotImplementedError as error:  # HDF5 inside
        raise InputError(f"{path} is a MATLAB 7.3 file; save it with `save -v7`") from error
    except Exception as error:  # scipy lets through whatever a broken file makes its parser trip over
        raise InputError(f"{path} is not a MATLAB file that can be read: {error}") from error
    if variables[0] not in content:
        raise InputError(
            f"{path} has no variable {variables[0]!r}; it has {', '.join(there) or 'none'} (variable=NAME)"
        )
    return {name: value for name, value in content.items() if isinstance(value, np.ndarray)}


def _text(cell: Any, where: str) -> str:
    array = np.asarray(cell)
    if array.dtype.kind != "U" or array.size != 1:
        raise InputError(f"{where} must be a cell array of names, got a cell with {array.dtype} of shape {array.shape}")
    return str(array.ravel()[0])


def _coco_names(path: Path) -> dict[Any, str]:
    try:
        return {image["id"]: str(image["file_name"]) for image in read_json(path)["images"]}
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} must be COCO annotations with `images` that have id and file_name") from error


def _members(image_id: str) -> tuple[str, str]:
    return image_id, f"{image_id}.npy"
