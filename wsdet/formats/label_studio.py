"""Label Studio: tasks with predictions, for people to correct, and the labeling interface that they need.

<out>/tasks.json      import this
<out>/interface.xml   paste this as the project's labeling interface
<out>/images/*        serve <out> as local storage (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element

from wsdet.formats.contents import Contents, ExportedImage
from wsdet.formats.xml_file import add, write_xml
from wsdet.storage.files import write_json
from wsdet.types import Boxes

_LOCAL_FILES = "/data/local-files/?d="


def image_path(exported: ExportedImage) -> str:
    """Where the image lies in the export."""
    return f"images/{exported.file_name}"


def write_label_studio(folder: Path, contents: Contents) -> None:
    """Writes the tasks and the interface. Boxes are predictions, never annotations: no person has seen them."""
    write_json(folder / "tasks.json", [_task(exported, contents) for exported in contents.images])
    view = Element("View")
    add(view, "Image", name="image", value="$image")
    labels = add(view, "RectangleLabels", name="label", toName="image")
    for name in contents.classes:
        add(labels, "Label", value=name)
    write_xml(folder / "interface.xml", view)


def _task(exported: ExportedImage, contents: Contents) -> dict[str, Any]:
    scores = exported.boxes.scores
    place = image_path(exported) if contents.with_images else exported.file_name
    prediction = {
        "model_version": contents.made_by,
        "score": float(scores.max()) if len(scores) else 0.0,
        "result": [_region(box, number, exported, contents) for number, box in enumerate(exported.boxes)],
    }
    data = {"image": _LOCAL_FILES + quote(place), "image_id": exported.image_id, "split": exported.split}
    return {"data": data, "predictions": [prediction]}


def _region(box: Boxes, number: int, exported: ExportedImage, contents: Contents) -> dict[str, Any]:
    """One box; Label Studio counts in percent of the image."""
    h, w = exported.size_hw
    x1, y1, x2, y2 = box.xyxy[0].tolist()
    value = {
        "x": 100 * x1 / w,
        "y": 100 * y1 / h,
        "width": 100 * (x2 - x1) / w,
        "height": 100 * (y2 - y1) / h,
        "rotation": 0,
        "rectanglelabels": [contents.classes[box.labels[0]]],
    }
    return {
        "id": f"box{number}",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": w,
        "original_height": h,
        "image_rotation": 0,
        "score": float(box.scores[0]),
        "value": value,
    }
