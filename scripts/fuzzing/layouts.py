"""Data sets as people and their tools leave them, all read by `open_any`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing.case import Case, writer
from fuzzing.images import picture
from wsdet.types import InputError

_VOC = (
    "<annotation><filename>{}.jpg</filename><size><width>20</width><height>10</height></size><object><name>{}</name>"
    "<difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    "<object><name>b</name><polygon><x1>1</x1><y1>1</y1><x2>5</x2><y2>5</y2></polygon></object></annotation>"
)
_CVAT = (
    '<annotations><meta><task><labels><label><name>a</name></label></labels></task></meta><image id="0" name="a.jpg" '
    'width="20" height="10" subset="train"><box label="a" xtl="1" ytl="1" xbr="5" ybr="5" rotation="10"/>'
    '<polygon label="b" points="1,1;5,1;5,5"/><tag label="a"/></image>'
    '<image id="1" name="b.jpg" width="20" height="10"><ellipse label="b" cx="5" cy="5" rx="2" ry="1"/></image>'
    "</annotations>"
)
_YOLO_ROWS = "0 .5 .5 .5 .5\n1 0 0 .5 0 .5 1\n"


def cases() -> Sequence[Case]:
    """Every layout with two images, `a` and `b`; its annotations are what changes."""
    layouts: Mapping[str, Mapping[str, Any]] = {
        "coco": {"annotations/instances_train.json": _coco("a"), "annotations/instances_val.json": _coco("b")},
        "roboflow_coco": {"train/_annotations.coco.json": _coco("a"), "valid/_annotations.coco.json": _coco("b")},
        "one_coco": {"result.json": _coco("a", "b")},
        "yolo": {
            "data.yaml": "path: /content/x\ntrain: images\nval: images\nnames: {0: a, 1: b}\nkpt_shape: [2, 2]\n",
            "labels/a.txt": _YOLO_ROWS,
        },
        "darknet": {
            "obj.data": "classes = 2\ntrain = train.txt\nnames = obj.names\n",
            "obj.names": "a\nb\n",
            "train.txt": "data/images/a.jpg\nC:\\x\\images\\b.jpg\n",
            "images/a.txt": _YOLO_ROWS,
        },
        "yolo_names": {"classes.txt": "a\nb\n", "labels/a.txt": _YOLO_ROWS, "labels/b.txt": ""},
        "voc": {
            "VOC2007/Annotations/a.xml": _VOC.format("a", "a"),
            "VOC2007/Annotations/b.xml": _VOC.format("b", "b"),
            "VOC2007/ImageSets/Main/train.txt": "a\n",
            "VOC2007/ImageSets/Main/test.txt": "b\n",
            "VOC2007/ImageSets/Main/a_train.txt": "a  1\n",
            "VOC2007/ImageSets/Main/a_test.txt": "b -1\n",
        },
        "voc_folder": {"annotations/a.xml": _VOC.format("a", "a"), "annotations/b.xml": _VOC.format("b", "b")},
        "cvat": {"annotations.xml": _CVAT},
        "label_studio": {"tasks.json": json.dumps(_label_studio())},
        "label_studio_min": {"tasks.json": json.dumps([_task_min("a", "label"), _task_min("b", "shape")])},
        "labelme": {"images/a.json": _labelme("a"), "images/b.json": _labelme("b")},
        "csv_labels": {"labels.csv": 'image,labels,split\nimages/a.jpg,"a; b",train\nimages/b.jpg,b,test\n'},
        "csv_one_hot": {"_classes.csv": "filename, a, b\nimages/a.jpg, 1, 0\nimages/b.jpg, 0, 1\n"},
        "csv_boxes": {
            "labels.csv": "filename;width;height;class;xmin;ymin;xmax;ymax\na.jpg;20;10;a;1,5;1;9;9\n"
            "b.jpg;20;10;b;1;1;5;5\n"
        },
        "csv_retinanet": {"boxes.csv": "images/a.jpg,1,1,9,9,a\nimages/b.jpg,,,,,\n"},
        "open_images": {
            "train-annotations-bbox.csv": "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
            "a,/m/01,1,0.1,0.9,0.1,1,0\nb,/m/02,1,0.1,0.5,0.1,1,1\n",
            "class-descriptions-boxable.csv": "/m/01,Cat\n/m/02,Dog\n",
        },
        "tiny_imagenet": {
            "wnids.txt": "n1\n",
            "train/n1/n1_boxes.txt": "a.jpg\t0\t1\t9\t9\n",
            "val/val_annotations.txt": "b.jpg\tn1\t0\t0\t9\t9\n",
        },
    }
    return [_case(name, files) for name, files in layouts.items()]


def _case(name: str, annotations: Mapping[str, Any]) -> Case:
    folders = {
        "voc": ("VOC2007/JPEGImages", "VOC2007/JPEGImages"),
        "roboflow_coco": ("train", "valid"),
        "tiny_imagenet": ("train/n1/images", "val/images"),
    }.get(name, ("images", "images"))
    images = {f"{folder}/{image}.jpg": picture() for folder, image in zip(folders, "ab", strict=True)}
    return Case(name, writer({**annotations, **images}), reader, lambda path: path.suffix != ".jpg")


def reader(folder: Path) -> Callable[[], object]:
    """Opens what lies in `folder`, and asks for all of it."""
    from wsdet.data.auto import open_any

    def read() -> object:
        dataset = open_any(folder)
        return [_check(dataset, one) for split in ("train", "test") for one in dataset.ids(split)] or None

    return read


def _check(dataset: Any, image_id: str) -> list[object]:
    """Labels, ground-truth boxes and pixels of an image, each of which may be an `InputError` of its own."""
    found: list[object] = []
    n_classes = len(dataset.classes)
    with suppress(InputError):
        labels = dataset.labels(image_id)
        found.append(labels)
        if not all(0 <= label < n_classes for label in labels):
            raise RuntimeError(f"{image_id} has the labels {labels} of {n_classes} classes")
    with suppress(InputError):
        boxes = dataset.truth.get(image_id)
        found.append(boxes)
        if boxes is not None and len(boxes):
            h, w = dataset.load(image_id).size_hw
            xyxy = boxes.xyxy
            inside = np.isfinite(xyxy).all() and xyxy.min() >= 0 and (xyxy.max(0) <= [w, h, w, h]).all()
            if not inside or not (xyxy[:, 2:] > xyxy[:, :2]).all() or not (boxes.labels < n_classes).all():
                raise RuntimeError(f"{image_id} of {w} x {h} pixels has the boxes {xyxy} of labels {boxes.labels}")
    return found


def _coco(*names: str) -> str:
    return json.dumps(
        {
            "images": [{"id": n, "file_name": f"{x}.jpg", "width": 20, "height": 10} for n, x in enumerate(names)],
            "categories": [{"id": 0, "name": "a", "supercategory": "z"}, {"id": 7, "name": "b"}],
            "annotations": [
                {"id": 1, "image_id": 0, "category_id": 0, "bbox": [1, 1, 5, 5], "iscrowd": 0},
                {"id": 2, "image_id": len(names) - 1, "category_id": 7, "segmentation": [[1, 1, 5, 1, 5, 5]]},
                {"id": 3, "image_id": 0, "category_id": 7, "segmentation": {"size": [10, 20], "counts": [11, 5, 184]}},
            ],
        }
    )


def _label_studio() -> list[dict[str, Any]]:
    box = {"x": 1, "y": 1, "width": 50, "height": 50, "rotation": 10, "rectanglelabels": ["a"]}
    polygon = {"points": [[1, 1], [50, 1], [50, 50]], "closed": True, "polygonlabels": ["b"]}
    ellipse = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5, "rotation": 0, "ellipselabels": ["a"]}
    key_point = {"x": 50, "y": 50, "width": 1, "keypointlabels": ["b"]}
    brush = {"format": "rle", "rle": [0, 1, 2], "brushlabels": ["b"]}
    choice = {"choices": ["a", "b"]}
    values = {"rectanglelabels": box, "polygonlabels": polygon, "ellipselabels": ellipse, "choices": choice}
    values |= {"keypointlabels": key_point, "brushlabels": brush}
    regions = [
        {"type": kind, "value": value, "original_width": 20, "original_height": 10} for kind, value in values.items()
    ]
    return [
        {
            "data": {"image": "/data/upload/1/1a2b3c4d-a.jpg"},
            "annotations": [{"result": regions[:2], "was_cancelled": False, "ground_truth": True}],
        },
        {
            "data": {"image": "/data/local-files/?d=x/b.jpg", "split": "train"},
            "predictions": [{"result": regions[2:], "model_version": "m"}],
        },
    ]


def _task_min(name: str, key: str) -> dict[str, Any]:
    region = {"x": 1, "y": 1, "width": 50, "height": 50, "rectanglelabels": ["a"], "original_width": 20}
    return {"image": f"/data/upload/{name}.jpg", "id": 1, key: [region], "annotation_id": 1}


def _labelme(name: str) -> str:
    shapes = [
        {"label": "a", "points": [[1, 1], [5, 5]], "shape_type": "rectangle"},
        {"label": "b", "points": [[5, 5], [7, 5]], "shape_type": "circle"},
    ]
    sizes = {"imagePath": f"{name}.jpg", "imageHeight": 10, "imageWidth": 20, "imageData": None}
    return json.dumps({"version": "5.0", "flags": {"a": True}, "shapes": shapes, **sizes})
