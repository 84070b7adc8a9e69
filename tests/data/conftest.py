"""A small folder in the layout of every reader, and the reader on it as its configuration makes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

CONF = Path(__file__).resolve().parents[2] / "conf" / "data"


class Files:
    """Writes files under a root, and opens it with a reader. Paths are relative to the root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layouts: Mapping[str, Callable[[], Mapping[str, Any]]] = {
            name.removeprefix("write_"): getattr(self, name) for name in dir(self) if name.startswith("write_")
        }

    def open(self, layout: str, **overrides: Any) -> Any:
        """The dataset that conf/data/<layout>.yaml makes of the root."""
        config = OmegaConf.create({"seed": 0, "data": OmegaConf.load(CONF / f"{layout}.yaml")})
        try:
            return instantiate(config.data, root=str(self.root), **overrides)
        except InstantiationException as error:  # Hydra wraps what a constructor raises
            raise error.__cause__ or error from None

    def image(self, path: str, size_wh: tuple[int, int] = (20, 10), seed: int | None = None) -> Path:
        """Noise. Two images are equal only where the seeds are; without one it is the path's own."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(path.encode()) if seed is None else seed)
        pixels = rng.integers(0, 256, size=(size_wh[1], size_wh[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, format="PNG")  # whatever the suffix says: readers look at the content
        return file

    def text(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def xml(self, path: str, *objects: tuple[str, tuple[Any, ...], Any]) -> Path:
        """An annotation of (name, corners, difficult) objects."""
        return self.text(path, f"<annotation>{''.join(_object(*item) for item in objects)}</annotation>")

    def write_voc(self) -> Mapping[str, Any]:
        """Images 1, 2 (train) and 3, 4 (test); 2 has a difficult cat and a dog, 4 no annotation. No class lists."""
        for name in "1234":
            self.image(f"VOC2007/JPEGImages/{name}.jpg")
        self.text("VOC2007/ImageSets/Main/trainval.txt", "1\n2\n")
        self.text("VOC2007/ImageSets/Main/test.txt", "3\n4\n")
        self.xml("VOC2007/Annotations/1.xml", ("cat", (3, 2, 12, 9), 0))
        self.xml("VOC2007/Annotations/2.xml", ("cat", (1, 1, 20, 10), 1), ("dog", (1, 1, 5, 5), 0))
        self.xml("VOC2007/Annotations/3.xml", ("dog", (1, 1, 5, 5), 0))
        return {"classes": ["cat", "dog"]}

    def write_tiny_imagenet(self) -> Mapping[str, Any]:
        """Two classes; n2_1 has corners on a line, n2_2 is not in the list of boxes."""
        self.text("wnids.txt", "n2\nn1\n")
        self.text("words.txt", "n1\ttabby, tabby cat\nn2\tteapot\nn3\tkite\n")
        for name in ("n1/images/n1_0", "n2/images/n2_0", "n2/images/n2_1", "n2/images/n2_2"):
            self.image(f"train/{name}.JPEG", (64, 64))
        self.text("train/n1/n1_boxes.txt", "n1_0.JPEG\t0\t10\t63\t58\n")
        self.text("train/n2/n2_boxes.txt", "n2_0.JPEG\t5\t6\t7\t8\nn2_1.JPEG\t63\t6\t63\t8\n")
        self.image("val/images/val_0.JPEG", (64, 64))
        self.text("val/val_annotations.txt", "val_0.JPEG\tn1\t0\t0\t31\t63\n")
        return {}

    def write_folder(self) -> Mapping[str, Any]:
        """Five cats, five dogs, one image that is in both folders, and one beside them."""
        for name in ("cat", "dog"):
            for number in range(5):
                self.image(f"{name}/{number}.jpg")
            self.image(f"{name}/both.jpg", seed=1)
        self.image("unknown.jpg")
        return {}

    def write_auto(self) -> Mapping[str, Any]:
        """Any layout would do."""
        return self.write_folder()

    def write_coco(self) -> Mapping[str, Any]:
        """Image 1 with a cat and a crowd of dogs, 2 with nothing; 3 for testing with a dog. Category ids 7 and 3."""
        annotations = [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1.5, 2, 10, 3], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 3, "bbox": [0, 0, 20, 10], "iscrowd": 1},
        ]
        self.coco("train2017", ["1.jpg", "2.jpg"], annotations)
        self.coco("val2017", ["3.jpg"], [{"id": 3, "image_id": 3, "category_id": 3, "bbox": [0, 0, 4, 4]}])
        return {}

    def coco(self, split: str, names: list[str], items: list[Any], **changes: Any) -> Path:
        """One JSON file of images whose ids are the first digits of their names; `changes` replace whole keys."""
        for name in names:
            self.image(f"{split}/{name}")
        content = {
            "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
            "images": [{"id": int(name[0]), "file_name": name} for name in names],
            "annotations": items,
        }
        return self.text(f"annotations/instances_{split}.json", json.dumps(content | changes))

    def write_csv(self) -> Mapping[str, Any]:
        """Three labeled images and one without a label, in given splits."""
        for name in "1234":
            self.image(f"images/{name}.jpg")
        rows = ["image,label,split", "images/1.jpg,cat,train", "images/1.jpg,dog,train", "images/2.jpg,dog,train"]
        self.text("labels.csv", "\n".join([*rows, "images/3.jpg,cat;dog,test", "images/4.jpg,,test"]))
        return {}

    def write_yolo(self) -> Mapping[str, Any]:
        """Image 1 with a box and a polygon, 2 without a file of labels; 3 for testing with an empty one."""
        for name in ("train/1.jpg", "train/2.jpg", "val/3.jpg"):
            self.image(f"images/{name}")
        self.text("labels/train/1.txt", "1 0.5 0.5 0.5 0.4\n0 0 0 0.5 0 0.5 1\n")
        self.text("labels/val/3.txt", "")
        self.text("data.yaml", "path: /home/author\ntrain: images/train\nval: ../images/val\nnames: {0: cat, 1: dog}\n")
        return {}

    def write_cvat(self) -> Mapping[str, Any]:
        """Image 1 with a box and a polygon, 2 with nothing; 3 for testing with a turned box and a tag."""
        for name in ("1.jpg", "2.jpg", "3.jpg"):
            self.image(f"images/{name}")
        labels = "".join(f"<label><name>{name}</name></label>" for name in ("cat", "dog"))
        shapes = (
            '<box label="cat" xtl="1.5" ytl="2" xbr="11.5" ybr="5"/><polygon label="dog" points="0,0;4,0;2,3"/>',
            "",
            '<box label="dog" xtl="4" ytl="2" xbr="10" ybr="4" rotation="90"/>',
        )
        images = "".join(
            f'<image id="{n}" name="{n}.jpg" subset="{split}" width="20" height="10">{shape}</image>'
            for n, (split, shape) in enumerate(zip(("train", "train", "test"), shapes, strict=True), start=1)
        )
        meta = f"<meta><task><labels>{labels}</labels></task></meta>"
        self.text("annotations.xml", f"<annotations>{meta}{images}</annotations>")
        return {}

    def write_label_studio(self) -> Mapping[str, Any]:
        """Image 1 with a rectangle, 2 with nothing; 3 for testing with a turned one. Uploaded under a hash."""
        for name in "123":
            self.image(f"images/{name}.jpg")
        values = [
            [{"x": 25, "y": 20, "width": 50, "height": 60, "rotation": 0, "rectanglelabels": ["cat"]}],
            [],
            [{"x": 50, "y": 20, "width": 20, "height": 20, "rotation": 90, "rectanglelabels": ["dog"]}],
        ]
        tasks = [
            {
                "data": {"image": f"/data/upload/4/0a1b2c3d-{n}.jpg", "split": "test" if n == 3 else "train"},
                "annotations": [
                    {"was_cancelled": True, "result": [{"value": {"choices": ["wrong"]}}]},
                    {"result": [{"original_width": 20, "original_height": 10, "value": value} for value in of_image]},
                ],
            }
            for n, of_image in enumerate(values, start=1)
        ]
        self.text("tasks.json", json.dumps(tasks))
        return {}

    def write_labelme(self) -> Mapping[str, Any]:
        """Image 1 with a rectangle drawn from the right, 2 without a file; 3 for testing with a circle."""
        for name in ("train/1.jpg", "train/2.jpg", "val/3.jpg"):
            self.image(name)
        shapes: dict[str, Any] = {
            "train/1": {"label": "cat", "points": [[11.5, 5], [1.5, 2]], "shape_type": "rectangle"},
            "val/3": {"label": "dog", "points": [[8, 5], [8, 8]], "shape_type": "circle"},
        }
        for name, shape in shapes.items():
            size = {"imageHeight": 10, "imageWidth": 20}
            content: dict[str, Any] = {
                "flags": {},
                "shapes": [shape],
                "imagePath": f"{name[-1]}.jpg",
                "imageData": None,
            } | size
            self.text(f"{name}.json", json.dumps(content))
        return {}

    def write_voc_folder(self) -> Mapping[str, Any]:
        """Image 1 with a cat, 2 without a file; 3 for testing with a dog, its size given as zero."""
        for name in ("train/1.jpg", "train/2.jpg", "valid/3.jpg"):
            self.image(name)
        self.xml("train/1.xml", ("cat", (3, 2, 12, 9), 0))
        self.xml("valid/3.xml", ("dog", (1, 1, 5, 5), 0))
        return {}

    def write_imagenet(self) -> Mapping[str, Any]:
        """Two classes of two training images, one of them with boxes; two validation images."""
        for name in ("train/n1/n1_1", "train/n1/n1_2", "train/n2/n2_1", "train/n2/n2_2", "val/val_1", "val/val_2"):
            self.image(f"Data/CLS-LOC/{name}.JPEG")
        self.xml("Annotations/CLS-LOC/train/n1/n1_1.xml", ("n1", (0, 0, 20, 10), 0))
        self.xml("Annotations/CLS-LOC/val/val_1.xml", ("n2", (1, 2, 3, 4), 0))
        self.xml("Annotations/CLS-LOC/val/val_2.xml", ("n1", (0, 0, 3, 4), 0), ("n1", (1, 2, 3, 4), 0))
        self.text("LOC_synset_mapping.txt", "n1 tench, Tinca tinca\nn2 crane\n")
        return {}


def _object(name: str, corners: tuple[Any, ...], difficult: Any) -> str:
    pairs = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in pairs)
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Writes what a test says under its temporary folder."""
    return Files(tmp_path)
