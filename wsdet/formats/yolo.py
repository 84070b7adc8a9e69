"""YOLO: a data.yaml, and a text file per image. There is no room for scores.

<out>/data.yaml
<out>/images/<train|val>/*
<out>/labels/<train|val>/*.txt      class, center x, center y, width, height, as fractions of the image
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import yaml  # type: ignore[import-untyped]

from wsdet.boxes import xyxy_to_xywh
from wsdet.formats.contents import Contents, ExportedImage
from wsdet.storage.files import replacing
from wsdet.types import Split
from wsdet.version import __version__

_FOLDERS: dict[Split, str] = {"train": "train", "test": "val"}


def image_path(exported: ExportedImage) -> str:
    """Where the image lies in the export."""
    return f"images/{_FOLDERS[exported.split]}/{exported.file_name}"


def write_yolo(folder: Path, contents: Contents) -> None:
    """Writes the labels, then data.yaml, in which method and version are keys that YOLO does not read."""
    for name in _FOLDERS.values():  # training programs ask for both folders, even for an empty one
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
        (folder / "labels" / name).mkdir(parents=True, exist_ok=True)
    for exported in contents.images:
        with replacing(folder / _label_path(exported)) as beside:
            beside.write_text(_rows(exported), encoding="utf-8")
    described = {
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(contents.classes)),
        "nc": len(contents.classes),
        "method": contents.method,
        "wsdet": __version__,
    }
    with replacing(folder / "data.yaml") as beside:
        beside.write_text(yaml.safe_dump(described, allow_unicode=True, sort_keys=False), encoding="utf-8")


def _label_path(exported: ExportedImage) -> str:
    """The image's path with the last folder "images" turned to "labels": that is where readers look."""
    *folders, name = image_path(exported).split("/")
    last = max(place for place, part in enumerate(folders) if part == "images")
    return "/".join([*folders[:last], "labels", *folders[last + 1 :], str(PurePosixPath(name).with_suffix(".txt"))])


def _rows(exported: ExportedImage) -> str:
    h, w = exported.size_hw
    xywh = xyxy_to_xywh(exported.boxes.xyxy.astype(float))
    xywh[:, :2] += xywh[:, 2:] / 2
    fractions = xywh / [w, h, w, h]
    rows = zip(exported.boxes.labels.tolist(), fractions.tolist(), strict=True)
    return "".join(f"{label} {' '.join(f'{value:.8f}' for value in row)}\n" for label, row in rows)
