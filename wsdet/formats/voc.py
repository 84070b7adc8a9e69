"""PASCAL VOC: an XML file per image, in the folders of the VOCdevkit of 2007 that its readers know.

<out>/VOCdevkit/VOC2007/Annotations/<name>.xml
<out>/VOCdevkit/VOC2007/ImageSets/Main/<trainval|test>.txt
<out>/VOCdevkit/VOC2007/JPEGImages/*
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

from wsdet.formats.contents import Contents, ExportedImage
from wsdet.formats.xml_file import add, write_xml
from wsdet.storage.files import replacing
from wsdet.types import Boxes, Split
from wsdet.version import __version__

_YEAR = "VOCdevkit/VOC2007"
_LISTS: dict[Split, str] = {"train": "trainval", "test": "test"}


def image_path(exported: ExportedImage) -> str:
    """Where the image lies in the export."""
    return f"{_YEAR}/JPEGImages/{exported.file_name}"


def write_voc(folder: Path, contents: Contents) -> None:
    """Writes the annotations, then the lists of images.

    A box's score is a further element of its object, `score`; readers of VOC pass over it. Corners are rounded to
    whole pixels, which VOC counts from 1 and includes: (x1 + 1, y1 + 1, x2, y2).
    """
    year = folder / _YEAR
    for exported in contents.images:
        write_xml(year / "Annotations" / f"{_stem(exported)}.xml", _annotation(exported, contents))
    for split, name in _LISTS.items():
        with replacing(year / "ImageSets" / "Main" / f"{name}.txt") as beside:
            lines = [f"{_stem(exported)}\n" for exported in contents.of_split(split)]
            beside.write_text("".join(lines), encoding="utf-8")


def _stem(exported: ExportedImage) -> str:
    return exported.file_name.removesuffix(PurePosixPath(exported.file_name).suffix)


def _annotation(exported: ExportedImage, contents: Contents) -> Element:
    h, w = exported.size_hw
    root = Element("annotation")
    add(root, "folder", "VOC2007")
    add(root, "filename", exported.file_name)
    source = add(root, "source")
    add(source, "database", f"wsdet {__version__}")
    add(source, "annotation", contents.method)
    size = add(root, "size")
    for name, value in (("width", w), ("height", h), ("depth", 3)):
        add(size, name, value)
    add(root, "segmented", 0)
    for box in exported.boxes:
        _add_object(root, box, contents.classes[box.labels[0]])
    return root


def _add_object(root: Element, box: Boxes, name: str) -> None:
    item = add(root, "object")
    fields = {"name": name, "pose": "Unspecified", "truncated": 0, "difficult": int(box.difficult[0])}
    for tag, value in fields.items():
        add(item, tag, value)
    add(item, "score", float(box.scores[0]))
    corners = add(item, "bndbox")
    x1, y1, x2, y2 = (round(value) for value in box.xyxy[0].tolist())
    # a box thinner than a pixel still has one
    for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), (min(x1 + 1, x2), min(y1 + 1, y2), x2, y2), strict=True):
        add(corners, tag, max(value, 1))
