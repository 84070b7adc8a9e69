"""Boxes that others computed and published, or that an earlier run stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from wsdet import check
from wsdet.boxes import area, clip
from wsdet.proposals.box_files import (
    NpzBoxes,
    Rows,
    checked_rows,
    file_of_image,
    read_coco_results,
    read_mat_cells,
    read_mat_image,
    read_yolo_image,
)
from wsdet.proposals.ordering import distinct
from wsdet.storage.box_store import BoxStore
from wsdet.storage.untrusted import read_json
from wsdet.types import Boxes, Doubles, InputError, Sample

_ORDERS = ("xyxy", "yxyx", "xywh")
_COUNTINGS = ("continuous", "from_0", "from_1")
_TOLERANCE = 2.0  # pixels by which a rounded box may stand out of its image


class Files:
    """Boxes from files, whose format their suffix tells.

    - a .mat file with a cell array of one cell an image (Selective Search, EdgeBoxes), or a folder of one .mat file an
      image (MCG). `order` and `counting` must be given, as authors differ.
    - an .npz file with one (n, 4) or (n, 5) array an image, or a .json file {image id: [[...], ...], ...}; `xyxy` and
      `continuous` if not given otherwise.
    - a .json file of COCO results, a folder of YOLO's .txt files, or the folder of a `BoxStore`, such as STL-WL's
      boxes of an earlier run. Order and counting are the format's own.

    A fifth column is the score; without scores the files' order is from best to worst. An image's boxes go by its id,
    with or without suffix.

    Args:
        path: the file or folder.
        order: `xyxy`, `yxyx` (Selective Search, MCG) or `xywh` (EdgeBoxes).
        counting: `continuous`; or the numbers are indices of pixels, the last one inside the box, counted `from_0`, or
            `from_1` as MATLAB does.
        ids: for .mat, a text file of image ids in the cells' order; for COCO results, the annotations that give the
            images' file names.
        variable: for .mat, the name of the boxes' variable.
        max_boxes: maximum number of boxes per image; 0: all.

    Raises:
        InputError: an argument is none of its values, or is missing for this file; or the file cannot be read.
    """

    def __init__(
        self,
        path: Path | str,
        order: str | None = None,
        counting: str | None = None,
        ids: Path | str | None = None,
        variable: str = "boxes",
        max_boxes: int = 2000,
    ) -> None:
        check.one_of((*_ORDERS, None), order=order)
        check.one_of((*_COUNTINGS, None), counting=counting)
        check.at_least(0, max_boxes=max_boxes)
        self.path = Path(path).expanduser()
        self.order = order
        self.counting = counting
        self.ids = None if ids is None else Path(ids).expanduser()
        self.variable = variable
        self.max_boxes = max_boxes
        self._content = self._opened()

    def __reduce__(self) -> tuple[Any, ...]:
        # a worker process opens the files itself: handing over their content would copy it to each
        return Files, (self.path, self.order, self.counting, self.ids, self.variable, self.max_boxes)

    def propose(self, sample: Sample) -> Boxes:
        """The image's boxes, clipped to it, without repeats and empty ones, best first.

        Raises:
            InputError: the files have none for the image, or boxes that cannot be its.
        """
        rows, where = self._rows(sample)
        xyxy = _checked(rows[:, :4], sample.size_hw, where)
        scores = rows[:, 4] if rows.shape[1] == 5 else -np.arange(len(rows), dtype=np.float64)
        if not (np.abs(scores) <= np.finfo(np.float32).max).all():
            raise InputError(f"{where}: a score is not finite as float32; correct or remove its box")
        order = np.argsort(-scores, kind="stable")
        order = order[area(xyxy[order]) > 0]
        order = order[distinct(xyxy[order])][: self.max_boxes or None]
        return Boxes(xyxy[order], scores=scores[order].astype(np.float32))

    def _opened(self) -> Mapping[str, Any] | None:
        """Everything at `path` by image id; None for a folder with one file per image."""
        if not self.path.exists():
            raise InputError(f"proposals.path={self.path} does not exist; it must be a file or folder of boxes")
        if self.path.is_dir():
            if (self.path / "settings.json").is_file():
                self._refuse_conventions("a box store")
                return BoxStore(self.path)
            return None
        match self.path.suffix.lower():
            case ".mat":
                self._demand_conventions()
                return read_mat_cells(self.path, self.variable, self.ids)
            case ".npz":
                return NpzBoxes(self.path)
            case ".json":
                return self._opened_json()
        raise InputError(f"proposals.path={self.path} must be a .mat, .npz or .json file, or a folder")

    def _opened_json(self) -> Mapping[str, Any]:
        content = read_json(self.path)
        if isinstance(content, list):
            self._refuse_conventions("a list of COCO results")
            return read_coco_results(self.path, content, self.ids)
        if isinstance(content, dict):
            return content
        raise InputError(f"{self.path} must be a list of COCO results or an object {{image id: boxes}}")

    def _rows(self, sample: Sample) -> tuple[Doubles, str]:
        """(n, 4 or 5) rows with continuous x1, y1, x2, y2 in front, and where they come from."""
        where = f"{self.path}, image {sample.image_id!r}"
        if isinstance(self._content, BoxStore):
            stored = self._found(sample.image_id)
            return np.column_stack([stored.xyxy, stored.scores]), where
        if self._content is not None:
            rows = checked_rows(self._found(sample.image_id), where)
            return _continuous(rows, self.order or "xyxy", self.counting or "continuous"), where
        path = file_of_image(self.path, sample.image_id)
        if path is None:
            raise InputError(f"{self.path} has no .mat or .txt file for image {sample.image_id!r}")
        if path.suffix == ".txt":
            self._refuse_conventions("a folder of YOLO files")
            return read_yolo_image(path, sample.size_hw), str(path)
        order, counting = self._demand_conventions()
        return _continuous(read_mat_image(path, self.variable), order, counting), str(path)

    def _found(self, image_id: str) -> Any:
        content: Mapping[str, Any] = self._content or {}
        name = PurePosixPath(image_id)
        for candidate in (image_id, str(name.with_suffix("")) if name.name else image_id):
            try:
                return content[candidate]
            except KeyError:
                continue
        raise InputError(f"{self.path} has no boxes for image {image_id!r}; it has {len(content)} images")

    def _demand_conventions(self) -> tuple[str, str]:
        if self.order is None or self.counting is None:
            raise InputError(
                f"{self.path}: authors of .mat files differ, so say proposals.order={'|'.join(_ORDERS)} and "
                f"proposals.counting={'|'.join(_COUNTINGS)} (Selective Search and MCG: yxyx, from_1; EdgeBoxes: xywh, "
                "from_1)"
            )
        return self.order, self.counting

    def _refuse_conventions(self, what: str) -> None:
        if self.order is not None or self.counting is not None:
            raise InputError(f"{self.path} is {what}, which fixes order and counting; leave both out")


def _continuous(rows: Rows, order: str, counting: str) -> Doubles:
    rows = np.array(rows, np.float64)
    first = 1 if counting == "from_1" else 0
    if order == "xywh":
        rows[:, :2] -= first
        rows[:, 2:4] += rows[:, :2]
        return rows
    if order == "yxyx":
        rows[:, :4] = rows[:, [1, 0, 3, 2]]
    rows[:, :4] -= first
    rows[:, 2:4] += counting != "continuous"  # the last pixel is inside the box
    return rows


def _checked(xyxy: Doubles, size_hw: tuple[int, int], where: str) -> npt.NDArray[np.float32]:
    h, w = size_hw
    problems = {
        "is not finite": ~np.isfinite(xyxy).all(axis=1),
        "is inverted": (xyxy[:, 2:] < xyxy[:, :2]).any(axis=1),
        f"stands out of the image of {w} x {h} pixels": (xyxy < -_TOLERANCE).any(axis=1)
        | (xyxy[:, [0, 2]] > w + _TOLERANCE).any(axis=1)
        | (xyxy[:, [1, 3]] > h + _TOLERANCE).any(axis=1),
    }
    for problem, bad in problems.items():
        if bad.any():
            raise InputError(
                f"{where}: the box {xyxy[bad][0].tolist()} (x1, y1, x2, y2) {problem}; check order and counting"
            )
    return clip(xyxy.astype(np.float32), size_hw)
