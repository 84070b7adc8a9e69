"""What other tools leave beside images: small exports of each, all of a cat and a dog in the same place."""

from __future__ import annotations

import json
from typing import Any

ROW = "0 .5 .5 .2 .2\n"  # of 20 x 10 pixels: (8, 4, 12, 6)
BOX = [8, 4, 12, 6]
CSV_HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"
XYWH = [8, 4, 4, 2]


def coco(*names: str, **more: Any) -> str:
    """COCO's JSON of images in which the first has a cat at `BOX`, the second a dog."""
    return json.dumps(
        {
            "images": [{"id": n, "file_name": name, "width": 20, "height": 10} for n, name in enumerate(names)],
            "categories": [{"id": 0, "name": "cat"}, {"id": 3, "name": "dog"}],
            "annotations": [
                {"id": n, "image_id": n, "category_id": 3 * n, "bbox": XYWH, "iscrowd": 0} | more
                for n in range(len(names))
            ],
        }
    )


def panoptic(name: str, category: int) -> str:
    segments = [{"id": 7, "category_id": category, "bbox": XYWH, "area": 8, "iscrowd": 0}]
    annotation = {"image_id": 1, "file_name": name.replace("jpg", "png"), "segments_info": segments}
    content = json.loads(coco(name)) | {"images": [{"id": 1, "file_name": name}], "annotations": [annotation]}
    return json.dumps(content)


def voc(name: str, image: str = "") -> str:
    corners = "<xmin>9</xmin><ymin>5</ymin><xmax>12</xmax><ymax>6</ymax>"
    item = f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"
    return f"<annotation><filename>{image}</filename>{item}</annotation>"


def label_me_xml(name: str, image: str) -> str:
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((8, 4), (12, 4), (12, 6), (8, 6)))
    item = f"<object><name>{name}</name><deleted>0</deleted><polygon>{points}</polygon></object>"
    return f"<annotation><filename>{image}</filename>{item}</annotation>"


def shapes(*items: tuple[str, str]) -> str:
    """CVAT's XML of images in subset "default"."""
    images = "".join(
        f'<image id="{n}" name="{name}" subset="default" width="20" height="10">{shape}</image>'
        for n, (name, shape) in enumerate(items)
    )
    return f"<annotations><version>1.1</version>{images}</annotations>"


def tasks(*items: tuple[str, dict[str, Any]], **more: Any) -> str:
    """Label Studio's JSON."""
    return json.dumps(
        [
            {"id": n, "data": {"image": name}, "annotations": [{"result": [{"value": value} | more]}]}
            for n, (name, value) in enumerate(items)
        ]
    )


def labelme(label: str, points: Any, kind: str = "rectangle", image: str = "") -> str:
    shape = {"label": label, "points": points, "shape_type": kind}
    return json.dumps({"shapes": [shape], "imagePath": image, "imageHeight": 10, "imageWidth": 20})


RECTANGLE = {"x": 40, "y": 40, "width": 20, "height": 20, "rotation": 0}
CVAT_BOX = '<box label="{}" xtl="8" ytl="4" xbr="12" ybr="6"/>'

CUBOID = (
    '<cuboid label="{}" xtl1="8" ytl1="4" xbl1="8" ybl1="5" xtr1="11" ytr1="4" xbr1="11" ybr1="5"'
    ' xtl2="9" ytl2="5" xbl2="9" ybl2="6" xtr2="12" ytr2="5" xbr2="12" ybr2="6"/>'
)

# what lies in the folder beside the images a.jpg (a cat at BOX) and b.jpg (a dog at BOX), and the folder of each image
EXPORTS: dict[str, tuple[dict[str, str], str, str]] = {
    "COCO of CVAT": (
        {"annotations/instances_default.json": coco("a.jpg", "b.jpg")},
        "images/default",
        "images/default",
    ),
    "COCO of FiftyOne": ({"labels.json": coco("a.jpg", "b.jpg")}, "data", "data"),
    "COCO of Label Studio": ({"result.json": coco("images\\a.jpg", "images\\b.jpg")}, "images", "images"),
    "COCO with paths of another machine": (
        {"result.json": coco("/home/me/pets/images/a.jpg", "D:\\pets\\images\\b.jpg")},
        "images",
        "images",
    ),
    "COCO with masks alone": (
        {"result.json": coco("a.jpg", "b.jpg", bbox=[], segmentation=[[8, 4, 12, 4, 12, 6]])},
        "images",
        "images",
    ),
    "COCO of Roboflow": (
        {"train/_annotations.coco.json": coco("a.jpg"), "valid/_annotations.coco.json": coco("c.jpg", "b.jpg")},
        "train",
        "valid",
    ),
    "YOLO of Roboflow": (
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [cat, dog]\n",
            "train/labels/a.txt": ROW,
            "valid/labels/b.txt": "1" + ROW[1:],
        },
        "train/images",
        "valid/images",
    ),
    "YOLO of Label Studio": (
        {
            "classes.txt": "cat\ndog\n",
            "notes.json": '{"categories": []}',
            "labels/0a1b2c3d-a.txt": ROW,
            "labels/b.txt": "1" + ROW[1:],
        },
        "images",
        "images",
    ),
    "YOLO of labelImg": ({"classes.txt": "cat\ndog\n", "a.txt": ROW, "b.txt": "1" + ROW[1:]}, ".", "."),
    "YOLO of CVAT (Ultralytics)": (
        {
            "data.yaml": "path: .\ntrain: train.txt\nnames:\n  0: cat\n  1: dog\n",
            "train.txt": "data/images/train/a.jpg\ndata/images/train/b.jpg\n",
            "labels/train/a.txt": ROW,
            "labels/train/b.txt": "1" + ROW[1:],
        },
        "images/train",
        "images/train",
    ),
    "YOLO of FiftyOne": (
        {
            "dataset.yaml": "names:\n  0: cat\n  1: dog\npath: /tmp/x\ntrain: ./images/train/\nval: ./images/val/\n",
            "labels/train/a.txt": ROW,
            "labels/val/b.txt": "1" + ROW[1:],
        },
        "images/train",
        "images/val",
    ),
    "VOC of labelImg": ({"annotations/a.xml": voc("cat"), "annotations/b.xml": voc("dog")}, "images", "images"),
    "VOC of Roboflow": ({"train/a.xml": voc("cat", "a.jpg"), "valid/b.xml": voc("dog", "b.jpg")}, "train", "valid"),
    "VOC of other names": (
        {"Annotations/1.xml": voc("cat", "a.jpg"), "Annotations/2.xml": voc("dog", "b.jpg")},
        "JPEGImages",
        "JPEGImages",
    ),
    "VOC whose lists have paths": (
        {
            "ImageSets/Main/train.txt": "/data/pets/JPEGImages/a.jpg\n",
            "ImageSets/Main/val.txt": "JPEGImages\\b.jpg\r\n",
            "Annotations/a.xml": voc("cat"),
            "Annotations/b.xml": voc("dog"),
        },
        "JPEGImages",
        "JPEGImages",
    ),
    "COCO with ids as text and as numbers": (
        {
            "result.json": coco("a.jpg", "b.jpg")
            .replace('"image_id": 0', '"image_id": "0"')
            .replace('"id": 1, "f', '"id": "1", "f')
        },
        "images",
        "images",
    ),
    "TSV": (
        {"labels.tsv": "image\tclass\txmin\tymin\txmax\tymax\na.jpg\tcat\t8\t4\t12\t6\nb.jpg\tdog\t8\t4\t12\t6\n"},
        ".",
        ".",
    ),
    "VOC in an archive's folder": (
        {
            "pets/ImageSets/Main/train.txt": "a\n",
            "pets/ImageSets/Main/val.txt": "b\n",
            "pets/Annotations/a.xml": voc("cat"),
            "pets/Annotations/b.xml": voc("dog"),
        },
        "pets/JPEGImages",
        "pets/JPEGImages",
    ),
    "CVAT for images": (
        {
            "annotations.xml": shapes(
                ("a.jpg", CVAT_BOX.format("cat")), ("b.jpg", '<polygon label="dog" points="8,4;12,4;12,6"/>')
            )
        },
        "images/default",
        "images",
    ),
    "CVAT for images, turned": (
        {
            "annotations.xml": shapes(
                ("a.jpg", '<box label="cat" xtl="9" ytl="3" xbr="11" ybr="7" rotation="90"/>'),
                ("b.jpg", '<ellipse label="dog" cx="10" cy="5" rx="1" ry="2" rotation="270"/>'),
            )
        },
        ".",
        ".",
    ),
    "Label Studio": (
        {
            "project-1.json": tasks(
                ("/data/upload/1/0a1b2c3d-a.jpg", RECTANGLE | {"rectanglelabels": ["cat"]}),
                ("/data/local-files/?d=pets/images/b.jpg", {"points": [[40, 40], [60, 60]], "polygonlabels": ["dog"]}),
            )
        },
        "images",
        "images",
    ),
    "Label Studio, turned": (
        {
            "project-1.json": tasks(
                # 2 x 4 pixels, turned about their upper left corner
                (
                    "s3://bucket/a.jpg",
                    {"x": 60, "y": 40, "width": 10, "height": 40, "rotation": 90, "rectanglelabels": ["cat"]},
                ),
                ("https://host/b.jpg?x=1", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10, "ellipselabels": ["dog"]}),
                original_width=20,
                original_height=10,
            )
        },
        ".",
        ".",
    ),
    "Label Studio, JSON-MIN": (
        {
            "project-1.json": json.dumps(
                [
                    {
                        "image": f"/data/upload/1/0a1b2c3d-{image}.jpg",
                        "id": 1,
                        "label": [RECTANGLE | {"rectanglelabels": [name], "original_width": 20, "original_height": 10}],
                        "annotator": 1,
                        "annotation_id": 3,
                    }
                    for image, name in (("a", "cat"), ("b", "dog"))
                ]
            )
        },
        "images",
        "images",
    ),
    "labelme": (
        {"a.json": labelme("cat", [[8, 4], [12, 6]], image="a.jpg"), "b.json": labelme("dog", [[12, 6], [8, 4]])},
        ".",
        ".",
    ),
    "labelme, other folders": (
        {
            "json/1.json": labelme("cat", [[8, 4], [12, 4], [10, 6]], "polygon", "..\\photos\\a.jpg"),
            "json/b.json": labelme("dog", [[8, 4], [12, 6]]),
        },
        "photos",
        "photos",
    ),
    "CSV of Roboflow": (
        {
            "train/_annotations.csv": f"{CSV_HEADER}\na.jpg,20,10,cat,8,4,12,6\n",
            "valid/_annotations.csv": f"{CSV_HEADER}\nb.jpg,20,10,dog,8,4,12,6\n",
        },
        "train",
        "valid",
    ),
    "COCO of LVIS": (
        {"lvis_v1_train.json": coco("train2017/a.jpg", "train2017/b.jpg").replace("file_name", "coco_url")},
        "train2017",
        "train2017",
    ),
    "COCO with compressed masks alone": (
        {"result.json": coco("a.jpg", "b.jpg", bbox=[], segmentation={"size": [10, 20], "counts": "d22800000\\2"})},
        "images",
        "images",
    ),
    "COCO panoptic": (
        {
            "annotations/panoptic_train.json": panoptic("a.jpg", 0),
            "annotations/panoptic_val.json": panoptic("b.jpg", 3),
        },
        "train",
        "val",
    ),
    "CVAT for images, cuboids": (
        {"annotations.xml": shapes(("a.jpg", CUBOID.format("cat")), ("b.jpg", CUBOID.format("dog")))},
        "images",
        "images",
    ),
    "YOLO Darknet of Roboflow": (
        {
            "train/_darknet.labels": "cat\ndog\n",
            "train/a.txt": ROW,
            "valid/_darknet.labels": "cat\ndog\n",
            "valid/b.txt": "1" + ROW[1:],
        },
        "train",
        "valid",
    ),
    "YOLO with turned boxes of Roboflow": (
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\nnames: [cat, dog]\n",
            "train/labels/a.txt": "0 .4 .5 .5 .4 .6 .5 .5 .6\n",
            "valid/labels/b.txt": "1 .4 .4 .6 .4 .6 .6 .4 .6\n",
        },
        "train/images",
        "valid/images",
    ),
    "XML of LabelMe": (
        {f"default/{image}.xml": label_me_xml(name, f"{image}.jpg") for image, name in (("a", "cat"), ("b", "dog"))},
        "default",
        "default",
    ),
    "CSV of make sense without a header": (
        {"labels_pets.csv": "cat,8,4,4,2,a.jpg,20,10\ndog,8,4,4,2,b.jpg,20,10\n"},
        ".",
        ".",
    ),
    "CSV of a machine far away": (
        {"data.csv": "path;label;x1;y1;x2;y2\n/home/me/photos/a.jpg;cat;8;4;12;6\nC:\\photos\\b.jpg;dog;8;4;12;6\n"},
        "photos",
        "photos",
    ),
}

SPLIT = {  # b.jpg is of the test split
    *("COCO of Roboflow", "YOLO of Roboflow", "YOLO of FiftyOne", "VOC of Roboflow", "CSV of Roboflow"),
    *("COCO panoptic", "YOLO Darknet of Roboflow", "YOLO with turned boxes of Roboflow"),
    "VOC in an archive's folder",
    "VOC whose lists have paths",
}
