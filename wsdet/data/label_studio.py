"""Label Studio: a JSON file of tasks beside the images, as "JSON" or "JSON-MIN" exports it.

<root>/*.json                [{"data": {"image": "/data/upload/1/1a2b3c4d-a.jpg"}, "annotations": [{"result": [...]}]}]
<root>/images/*, or anywhere below; with or without the hash before the names
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wsdet.data.annotations import XYXY, Skipped, extent, number, rotated_extent
from wsdet.data.images import SUFFIXES
from wsdet.data.locate import plain_name
from wsdet.data.records import AnnotationFile, Item, Record
from wsdet.storage.untrusted import read_json, shown
from wsdet.types import InputError

log = logging.getLogger(__name__)


class LabelStudio(AnnotationFile):
    """Images with what people drew in Label Studio; of several people's work on an image the first that was kept.

    Rectangles (turned ones by their extent), polygons and ellipses are boxes; brushes, key points and choices are
    labels without a box. Tasks that only have predictions are read as those, with a warning. Image ids are paths
    relative to `root`. See `AnnotationFile` for the arguments.
    """

    usual_file = "tasks.json"

    def read(self, path: Path) -> tuple[list[Record], None]:
        """See `AnnotationFile`."""
        return list(_records(path)), None


def is_label_studio(content: bytes) -> bool:
    """Whether a file's bytes look like Label Studio's JSON or JSON-MIN."""
    full = b'"data"' in content and (b'"annotations"' in content or b'"predictions"' in content)
    is_list = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    return is_list and (full or b'"annotation_id"' in content or b'"original_width"' in content)


def _records(path: Path) -> Iterator[Record]:
    tasks = read_json(path)
    if not isinstance(tasks, list):
        raise InputError(f"{path} must hold a list of tasks, as Label Studio's JSON export does")
    skipped, predicted = Skipped(path, "tasks"), set()
    for n, task in enumerate(tasks):
        where = f"{path}, task {n}"
        try:
            if not isinstance(task, dict):
                raise InputError(f"{where} must be a JSON object")
            record, model = _record(task, where)
        except InputError as error:
            skipped(error)
            continue
        predicted.add(model)
        yield record
    skipped.say()
    for model in sorted(predicted - {""}):
        log.warning(
            "%s: tasks that nobody has annotated are read as %s predicted them: figures against them say nothing",
            path,
            shown(model),
        )


def _record(task: Mapping[str, Any], where: str) -> tuple[Record, str]:
    """A task's image, and the model whose predictions are taken for want of annotations ("" for annotations)."""
    inner = task.get("data")
    data = inner if isinstance(inner, dict) else task
    image = _image(data, where)
    result, model = _result(task)
    problem = ""
    items: list[Item] = []
    try:
        items = [item for region in result or () for item in _items(region, where)]
    except InputError as error:
        problem = str(error)
    split = data.get("split")
    return (
        Record(
            image,
            tuple(items),
            where,
            has_boxes=result is not None and all(item.xyxy is not None for item in items),
            relative=True,
            split=split if isinstance(split, str) and split else None,
            places=("images", ""),
            problem=problem,
        ),
        model,
    )


def _image(data: Mapping[str, Any], where: str) -> str:
    """The value that names an image: under "image", or the first that ends as image files do."""
    named = [data.get("image"), *data.values()]
    for value in named:
        if isinstance(value, str) and Path(plain_name(value)).suffix.lower() in SUFFIXES:
            return value
    raise InputError(f"{where} names no image file among {', '.join(shown(str(key)) for key in data)}")


def _result(task: Mapping[str, Any]) -> tuple[list[Any] | None, str]:
    """The regions of a task: of the first annotation that was kept, or of the first prediction."""
    if "data" not in task:  # JSON-MIN: the regions stand under the names that the labeling interface gives
        regions = [value for value in task.values() if isinstance(value, list)]
        choices = [{"choices": [task[key]]} for key in ("choice", "label") if isinstance(task.get(key), str)]
        choices += [value for value in task.values() if isinstance(value, dict) and "choices" in value]
        return [*(region for of_key in regions for region in of_key), *choices], ""
    kept = [one for one in _dicts(task.get("annotations")) if not one.get("was_cancelled")]
    kept.sort(key=lambda one: not one.get("ground_truth"))
    for one in kept:
        return list(_dicts(one.get("result"))), ""
    for one in _dicts(task.get("predictions")):
        return list(_dicts(one.get("result"))), str(one.get("model_version") or "a model")
    return None, ""


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    yield from (one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()


def _items(region: Any, where: str) -> Iterable[Item]:
    """The objects of one region, boxes in relative coordinates."""
    if not isinstance(region, dict):
        return
    inner = region.get("value")
    value = inner if isinstance(inner, dict) else region
    labels = next((value[key] for key in value if key.endswith("labels") or key == "choices"), None)
    names = [labels] if isinstance(labels, str) else labels
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        return  # a relation, a text, a rating
    box = _box(value, region, where)
    for name in names:
        yield Item(name.strip(), box)


def _box(value: Mapping[str, Any], region: Mapping[str, Any], where: str) -> XYXY | None:
    """A region's extent; Label Studio counts in percent of the sides, and turns in pixels."""
    if isinstance(value.get("points"), list):
        points = [point for point in value["points"] if isinstance(point, list) and len(point) == 2]
        corners = [(number(x, f"{where}: x") / 100, number(y, f"{where}: y") / 100) for x, y in points]
        return extent(corners) if corners else None
    sides = ("original_width", "original_height")
    w, h = (number(region.get(key, value.get(key)) or 1, f"{where}: {key}") for key in sides)
    if "radiusX" in value:
        x, y, rx, ry = (number(value.get(key), f"{where}: {key}") / 100 for key in ("x", "y", "radiusX", "radiusY"))
        xyxy, pivot = (x - rx, y - ry, x + rx, y + ry), (x, y)
    elif "width" in value and "height" in value and "x" in value:
        x, y, box_w, box_h = (number(value.get(key), f"{where}: {key}") / 100 for key in ("x", "y", "width", "height"))
        if "keypointlabels" in value:
            return None
        xyxy, pivot = (x, y, x + box_w, y + box_h), (x, y)
    else:
        return None
    x1, y1, x2, y2 = xyxy
    degrees = number(value.get("rotation") or 0, f"{where}: rotation")
    turned = rotated_extent((x1 * w, y1 * h, x2 * w, y2 * h), degrees, (pivot[0] * w, pivot[1] * h))
    return turned[0] / w, turned[1] / h, turned[2] / w, turned[3] / h
