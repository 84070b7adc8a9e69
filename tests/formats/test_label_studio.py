from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np

from wsdet import __version__
from wsdet.formats.contents import Contents
from wsdet.storage.untrusted import read_xml
from wsdet.types import Boxes

Export = Callable[..., Contents]


def test_tasks_hold_predictions_that_the_interface_knows(
    export_as: Export, boxes: dict[str, Boxes], tmp_path: Path
) -> None:
    contents = export_as("label_studio")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text(encoding="utf-8"))
    view = read_xml(tmp_path / "out" / "interface.xml")
    known = [label.get("value") for label in view.findall("RectangleLabels/Label")]
    assert tuple(known) == contents.classes
    assert len(tasks) == len(contents.images)
    for task, exported in zip(tasks, contents.images, strict=True):
        assert task.keys() == {"data", "predictions"}
        [prediction] = task["predictions"]
        true, (h, w) = boxes[exported.image_id], exported.size_hw
        assert prediction["model_version"] == f"stl <cl>, wsdet {__version__}"
        assert prediction["score"] == (float(true.scores.max()) if len(true) else 0)
        values = [region["value"] for region in prediction["result"]]
        xywh = np.array([[value[key] for key in ("x", "y", "width", "height")] for value in values]).reshape(-1, 4)
        xyxy = np.c_[xywh[:, :2], xywh[:, :2] + xywh[:, 2:]] / 100 * [w, h, w, h]
        np.testing.assert_allclose(xyxy, true.xyxy, atol=1e-4)
        assert [value["rectanglelabels"] for value in values] == [[contents.classes[label]] for label in true.labels]
        assert [region["score"] for region in prediction["result"]] == true.scores.tolist()


def test_every_region_has_what_label_studio_asks_for(export_as: Export, tmp_path: Path) -> None:
    export_as("label_studio")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text(encoding="utf-8"))
    view = read_xml(tmp_path / "out" / "interface.xml")
    [image], [labels] = view.findall("Image"), view.findall("RectangleLabels")
    regions = [region for task in tasks for region in task["predictions"][0]["result"]]
    assert regions
    for region in regions:
        assert region["from_name"] == labels.get("name")
        assert region["to_name"] == image.get("name") == labels.get("toName")
        assert region["type"] == "rectanglelabels"
        assert isinstance(region["original_width"], int)
        assert isinstance(region["original_height"], int)
        assert all(0 <= region["value"][key] <= 100 for key in ("x", "y", "width", "height"))
    for task in tasks:
        assert len({region["id"] for region in task["predictions"][0]["result"]}) == len(
            task["predictions"][0]["result"]
        )


def test_images_are_urls_of_files_that_are_there(export_as: Export, tmp_path: Path) -> None:
    export_as("label_studio")
    for task in json.loads((tmp_path / "out" / "tasks.json").read_text(encoding="utf-8")):
        url = urlsplit(task["data"]["image"])
        assert " " not in url.query
        assert (tmp_path / "out" / parse_qs(url.query)["d"][0]).is_file()
