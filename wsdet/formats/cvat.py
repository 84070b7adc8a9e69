"""CVAT's XML for images, version 1.1: one file, the score as an attribute of each box.

<out>/annotations.xml
<out>/images/*
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from wsdet.formats.contents import Contents, ExportedImage
from wsdet.formats.xml_file import add, write_xml
from wsdet.version import __version__


def image_path(exported: ExportedImage) -> str:
    """Where the image lies in the export."""
    return f"images/{exported.file_name}"


def write_cvat(folder: Path, contents: Contents) -> None:
    """Writes annotations.xml; the boxes' source is `auto`: no person has seen them."""
    root = Element("annotations")
    add(root, "version", "1.1")
    _add_meta(root, contents)
    for number, exported in enumerate(contents.images):
        h, w = exported.size_hw
        image = add(root, "image", id=number, name=exported.file_name, subset=exported.split, width=w, height=h)
        for box in exported.boxes:
            corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), box.xyxy[0].tolist(), strict=True))
            label = contents.classes[box.labels[0]]
            item = add(image, "box", label=label, source="auto", occluded=0, **corners, z_order=0)
            add(item, "attribute", float(box.scores[0]), name="score")
    write_xml(folder / "annotations.xml", root)


def _add_meta(root: Element, contents: Contents) -> None:
    """The task with its labels, as CVAT writes it, and beside it who made the boxes, which CVAT passes over."""
    meta = add(root, "meta")
    task = add(meta, "task")
    add(task, "name", contents.made_by)
    add(task, "size", len(contents.images))
    add(task, "mode", "annotation")
    labels = add(task, "labels")
    for name in contents.classes:
        label = add(labels, "label")
        add(label, "name", name)
        attribute = add(add(label, "attributes"), "attribute")
        fields = {"name": "score", "mutable": "False", "input_type": "text", "default_value": "", "values": ""}
        for tag, value in fields.items():
            add(attribute, tag, value)
    add(meta, "method", contents.method)
    add(meta, "wsdet", __version__)
