"""A CSV file of labels or boxes beside images.

image,label         image,labels        image,label,split      filename,width,height,class,xmin,ymin,xmax,ymax
a/1.jpg,cat         1.jpg,"cat dog"     1.jpg,cat,train        1.jpg,640,480,cat,10,20,200,300
a/1.jpg,dog         2.jpg,cat;dog       2.jpg,dog,test

filename,cat,dog    1.jpg,10,20,200,300,cat    (no header)      ImageID,LabelName,XMin,XMax,YMin,YMax (Open Images)
1.jpg,1,0           2.jpg,,,,,                                  0001eeaf4aed83f9,/m/01g317,0.02,0.9,0.1,1

cat,10,20,190,280,1.jpg,640,480    (no header, make sense: corner and size)
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from wsdet.data.annotations import Skipped, number
from wsdet.data.foreign import READ_INSTEAD
from wsdet.data.image_files import Unlabeled
from wsdet.data.images import MAX_PIXELS, SUFFIXES
from wsdet.data.locate import locate
from wsdet.data.paths import existing_folder
from wsdet.data.records import Item, Record, RecordFiles
from wsdet.storage.untrusted import read_bytes, read_text, shown
from wsdet.types import InputError

log = logging.getLogger(__name__)

# what tools call the columns, in small letters; the first that is there counts
_IMAGE = (
    *("filename", "file_name", "image", "imageid", "image_id", "image_name", "image_path", "path", "filepath", "file"),
    *("img", "photo", "picture", "id"),
)
_LABEL = (
    *("labelname", "class", "label", "labels", "class_name", "label_name", "classname", "category", "tags", "species"),
    *("choice", "tag", "class_id", "classid", "label_id", "category_id", "target"),
)
_NUMBERED_LABEL = re.compile(r"(label|class|tag|category)[ _-]?\d+")
_SPLIT = ("split", "set", "subset")
_CORNERS = (
    *(("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"), ("x_min", "y_min", "x_max", "y_max")),
    ("left", "top", "right", "bottom"),
)
_CORNER_AND_SIZE = (
    *(("bbox_x", "bbox_y", "bbox_width", "bbox_height"), ("x", "y", "w", "h"), ("x", "y", "width", "height")),
    ("left", "top", "width", "height"),
)
_LOOKED_AT = 20  # rows that tell whether a file is of images
_NO_CLASS = "unlabeled"  # a column of Roboflow's: 1 where no class is present
_ABSENT, _PRESENT = {"0", "0.0", "-1", ""}, {"1", "1.0"}
_SPLIT_WORD = re.compile(r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?![a-z])", re.IGNORECASE)


class CsvFile(RecordFiles):
    """Images with the labels or boxes that a CSV file gives them.

    Read are: a column of the image and one or more of labels; a column a class with 1 where it is present; a row for
    each box, with its corners (in pixels, continuous; Open Images': 0 to 1). The image is a path relative to `root`,
    and its image id; where a name has no suffix, the image of that name. Without a header the image comes first, then
    labels, or four corners and the class. A column "split" tells the split. Cells are parted by commas, semicolons or
    tabs. An image in several rows has the labels of all; an empty cell is no label.

    Args:
        root: the folder that the file names start from.
        file: the CSV file, relative to `root`, or several, such as train/labels.csv and val/labels.csv: then their
            paths tell the split.
        separator: between the labels in one cell, such as ";". None: ";" where the cell has one, blanks in a column
            that the header calls "labels", and otherwise the cell is one label, as it may be "king penguin".
        classes: class names, in the order of the labels; None: those in the file, in alphabetical order.
        train_split: which of the column "split" is the training split; None: what is called so.
        test_split: which is the test split; None: what is called so. Other rows are left out.
        test_fraction: where no split is told, the share of images for the test split, in [0, 1].
        seed: where no split is told, draws it. Images of equal content come to one side.
        unlabeled: what an image without a label shows.
        max_pixels: larger images are refused.

    Raises:
        InputError: the file is missing, is no CSV, or names no image that is there.
    """

    def __init__(
        self,
        root: Path | str,
        file: str | Sequence[str] = "labels.csv",
        separator: str | None = None,
        classes: Sequence[str] | None = None,
        train_split: str | None = None,
        test_split: str | None = None,
        test_fraction: float = 0.2,
        seed: int = 0,
        unlabeled: Unlabeled = "unknown",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = existing_folder(root, "the folder that the CSV file's image names start from")
        files = [file] if isinstance(file, str) else list(file)
        names = _class_descriptions(folder)
        records = [record for name in files for record in _records(folder, name, separator, names, len(files) > 1)]
        bare = {record.image for record in records} - {record.image for record in records if record.items}
        if bare:
            log.info("%s: %d images have no label; unlabeled=%s says what they show", files[0], len(bare), unlabeled)
        super().__init__(
            root=folder,
            name=str(folder / files[0]),
            records=records,
            classes=classes,
            train_split=train_split,
            test_split=test_split,
            test_fraction=test_fraction,
            seed=seed,
            unlabeled=unlabeled,
            max_pixels=max_pixels,
        )


def names_images(folder: Path, file: str) -> bool:
    """Whether one of the first rows of a CSV file names an image below `folder`."""
    try:
        rows, _ = _read_rows(folder / file)
    except InputError:
        return False
    cells = {cell for row in rows[:_LOOKED_AT] for cell in row.cells if cell}
    return any(locate(folder, cells, (str(PurePosixPath(file).parent), "", "images")).values())


class _Columns(NamedTuple):
    """Where things stand in a row; what is not there is None."""

    image: int
    labels: tuple[int, ...]
    by_blanks: bool = False
    split: int | None = None
    box: tuple[int, ...] | None = None
    box_is_corners: bool = True
    size: tuple[int, int] | None = None
    confidence: int | None = None
    group: int | None = None
    classes: Mapping[int, str] | None = None


class _Row(NamedTuple):
    cells: list[str]
    where: str


def _records(
    folder: Path, file: str, separator: str | None, names: Mapping[str, str], split_by_name: bool
) -> Iterator[Record]:
    """What one file says, row by row."""
    rows, decimal_comma = _read_rows(folder / file)
    if not rows:
        return
    header = [] if any(map(_is_image, rows[0].cells)) else [cell.lower() for cell in rows[0].cells]
    body = rows[1:] if header else rows
    columns = _find_columns(header, rows[0].cells, [row.cells for row in body], str(folder / file))
    found = _SPLIT_WORD.search(file) if split_by_name else None
    split = found[1].lower() if found else None
    places = [str(PurePosixPath(file).parent), "", "images", *([split, f"images/{split}"] if split else [])]
    skipped = Skipped(folder / file, "rows")
    records = []
    for row in body:
        cells = [*row.cells, *[""] * (len(rows[0].cells) - len(row.cells))]
        try:
            items = _items(columns, cells, row.where, separator, names, decimal_comma)
            records.append(_record(columns, cells, row.where, items, split, tuple(dict.fromkeys(places))))
        except InputError as error:
            skipped(error)
    skipped.say()
    corners = [item.xyxy for record in records for item in record.items if item.xyxy is not None]
    relative = bool(corners) and max(map(max, corners)) <= 1  # in pixels no box would be wider than one
    yield from (replace(record, relative=relative) for record in records)


def _read_rows(path: Path) -> tuple[list[_Row], bool]:
    """The rows that are not blank, without blanks around cells; and whether numbers have decimal commas."""
    text = _text(path)
    if text.lower().startswith("sep="):  # Excel's own line, which names the delimiter
        text = text.partition("\n")[2]
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True, delimiter=delimiter)
    try:
        rows = [_Row([cell.strip() for cell in cells], f"{path}, line {reader.line_num}") for cells in reader if cells]
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}, is not CSV: {error}; quote cells that hold commas"
        ) from error
    return rows, delimiter != ","


def _text(path: Path) -> str:
    content = read_bytes(path)
    if content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return read_text(path)
    try:
        return content.decode("utf-16")  # what Excel calls Unicode text
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-16 text: {error}; save it as UTF-8") from error


def _delimiter(text: str) -> str:
    """The first of tab, comma and semicolon that parts an image or the name of a column from the rest."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    for delimiter in "\t,;":
        try:
            parted = next(csv.reader([first], skipinitialspace=True, delimiter=delimiter), [])
        except csv.Error:  # said when the file is read
            continue
        cells = [cell.strip() for cell in parted]
        if len(cells) > 1 and (_is_image(cells[0]) or {cell.lower() for cell in cells} & {*_IMAGE, *_LABEL}):
            return delimiter
    return ","


def _is_image(cell: str) -> bool:
    return PurePosixPath(cell).suffix.lower() in SUFFIXES


def _find_columns(header: list[str], first: list[str], body: list[list[str]], file: str) -> _Columns:
    if not header:
        return _columns_without_header(first, body, file)
    at = {name: header.index(name) for name in header}
    image = next((at[name] for name in _IMAGE if name in at), 0)
    split = next((at[name] for name in _SPLIT if name in at), None)
    label = next((name for name in _LABEL if name in at), None)
    others = [i for i in range(len(header)) if i not in (image, split)]
    box = next(((names, True) for names in _CORNERS if at.keys() >= set(names)), None) or next(
        ((names, False) for names in _CORNER_AND_SIZE if at.keys() >= set(names)), None
    )
    if box is None and label is None and _are_flags([row[i] for row in body for i in others if i < len(row)]):
        classes = {i: first[i] for i in others if first[i].lower() != _NO_CLASS}
        return _Columns(image, (), split=split, classes=classes)
    labels = _label_columns(header, others, label, file)
    _refuse_json([row[i] for row in body for i in labels if i < len(row)], file)
    passed_over = [name for name in header if "box" in name and not (box and name in box[0])]
    if passed_over:
        log.warning("%s: boxes are not read from the columns %s", file, ", ".join(map(shown, passed_over)))
    return _Columns(
        image,
        tuple(labels),
        by_blanks=label == "labels",
        split=split,
        box=tuple(at[name] for name in box[0]) if box else None,
        box_is_corners=box is None or box[1],
        size=(at["height"], at["width"]) if box and at.keys() - set(box[0]) >= {"height", "width"} else None,
        confidence=at.get("confidence") if label == "labelname" else None,
        group=at.get("isgroupof"),
    )


def _columns_without_header(first: list[str], body: list[list[str]], file: str) -> _Columns:
    image = next(i for i, cell in enumerate(first) if _is_image(cell))
    if image == 0 and len(first) == 6 and all(_is_number(cell) or not cell for cell in first[1:5]):
        return _Columns(0, (5,), box=(1, 2, 3, 4))
    if image == 0:
        return _Columns(0, tuple(range(1, max(map(len, body)))))
    if image == 5 and all(map(_is_number, first[1:5])):  # make sense
        return _Columns(5, (0,), box=(1, 2, 3, 4), box_is_corners=False)
    raise InputError(
        f"{file} names an image in column {image + 1} of its first row and has no header; put the image first, or add "
        "a header such as image,label or filename,class,xmin,ymin,xmax,ymax"
    )


def _label_columns(header: list[str], others: list[int], label: str | None, file: str) -> list[int]:
    """The columns that hold labels; others are never taken for them, dates and authors among them."""
    if label is not None:
        return [i for i in others if header[i] == label]
    if len(others) > 1 and not all(_NUMBERED_LABEL.fullmatch(header[i]) for i in others):
        names = ", ".join(shown(header[i]) for i in others)
        if "region_shape_attributes" in header:
            raise InputError(f"{file} is a CSV file of VGG Image Annotator (VIA), which is not read; {READ_INSTEAD}")
        raise InputError(
            f"{file}: which of its columns {names} has the labels? Call it label, or, with several in a cell, labels; "
            "if none has, move the file elsewhere"
        )
    return others


def _refuse_json(cells: Iterable[str], file: str) -> None:
    if any(cell.startswith(("[{", '{"')) for cell in cells):
        raise InputError(f"{file} holds JSON in its cells, as Label Studio's CSV does; export JSON from there")


def _are_flags(cells: Iterable[str]) -> bool:
    found = set(cells)
    return bool(found & _PRESENT) and found <= _PRESENT | _ABSENT


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _record(
    columns: _Columns, cells: list[str], where: str, items: list[Item], split: str | None, places: tuple[str, ...]
) -> Record:
    if not cells[columns.image]:
        raise InputError(f"{where}, names no image")
    size = [int(cells[i]) if cells[i].isdecimal() else 0 for i in columns.size or ()]
    return Record(
        cells[columns.image],
        tuple(items),
        where,
        has_boxes=columns.box is not None and all(item.xyxy is not None for item in items[:1]),
        size_hw=(size[0], size[1]) if size and min(size) > 0 else None,
        split=(cells[columns.split] or None) if columns.split is not None else split,
        places=places,
    )


def _items(
    columns: _Columns,
    cells: list[str],
    where: str,
    separator: str | None,
    names: Mapping[str, str],
    decimal_comma: bool,
) -> list[Item]:
    """The objects or labels of a row."""
    if columns.classes is not None:
        return [Item(name) for i, name in columns.classes.items() if cells[i] in _PRESENT]
    if columns.confidence is not None and cells[columns.confidence] in _ABSENT - {""}:
        return []  # Open Images: a person has looked, and it is not there
    labels = [
        names.get(label, label)
        for i in columns.labels
        if i < len(cells)
        for label in _labels_in(cells[i], columns.by_blanks, separator)
    ]
    if columns.box is None or not any(cells[i] for i in columns.box):
        return [Item(label) for label in labels]
    values = [cells[i].replace(",", ".") if decimal_comma else cells[i] for i in columns.box]
    x, y, right, bottom = (number(value, f"{where}: a corner") for value in values)
    xyxy = (x, y, right, bottom) if columns.box_is_corners else (x, y, x + right, y + bottom)
    difficult = columns.group is not None and cells[columns.group] in _PRESENT
    items = [Item(label, xyxy, difficult) for label in labels]
    return items + [Item(label) for label in labels] if difficult else items  # a group of them: the class is there


def _labels_in(cell: str, by_blanks: bool, separator: str | None) -> list[str]:
    if separator is not None:
        parts = cell.split(separator)
    elif ";" in cell:
        parts = cell.split(";")
    else:
        parts = cell.split() if by_blanks else [cell]
    return [part.strip() for part in parts if part.strip()]


def _class_descriptions(folder: Path) -> dict[str, str]:
    """Names by the machine ids ("/m/01g317") of Open Images, where a file of them lies beside the images."""
    files = [*folder.glob("class-descriptions*.csv"), *folder.glob("metadata/class*.csv")]
    rows = [row.cells for file in files for row in _read_rows(file)[0]]
    return {cells[0]: cells[1] for cells in rows if len(cells) == 2 and cells[0].startswith(("/m/", "/g/", "/t/"))}
