"""YOLO: a data.yaml, and a text file an image. There is no room for scores.

<out>/data.yaml
<out>/images/<train|val>/*
<out>/labels/<train|val>/*.txt      class, center x, center y, width, height, as fractions of the image
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import yaml  # type: ignore[import-untyped]

from wsdet.boxes import xyxy_to_xywh
from wsdet.formats.contents import Contents, Picture
from wsdet.storage.files import replacing
from wsdet.types import Split
from wsdet.version import __version__

_FOLDERS: dict[Split, str] = {"train": "train", "test": "val"}


def image_path(picture: Picture) -> str:
    """Where the image lies in the export."""
    return f"images/{_FOLDERS[picture.split]}/{picture.file_name}"


def write_yolo(folder: Path, contents: Contents) -> None:
    """Writes the labels, then data.yaml, in which method and version are keys that YOLO does not read."""
    for name in _FOLDERS.values():  # training programs ask for both folders, even for an empty one
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
        (folder / "labels" / name).mkdir(parents=True, exist_ok=True)
    for picture in contents.pictures:
        with replacing(folder / _label_path(picture)) as beside:
            beside.write_text(_rows(picture), encoding="utf-8")
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


def _label_path(picture: Picture) -> str:
    """The image's path with the last folder "images" turned to "labels": that is where readers look."""
    *folders, name = image_path(picture).split("/")
    last = max(place for place, part in enumerate(folders) if part == "images")
    return "/".join([*folders[:last], "labels", *folders[last + 1 :], str(PurePosixPath(name).with_suffix(".txt"))])


def _rows(picture: Picture) -> str:
    h, w = picture.size_hw
    xywh = xyxy_to_xywh(picture.boxes.xyxy.astype(float))
    xywh[:, :2] += xywh[:, 2:] / 2
    fractions = xywh / [w, h, w, h]
    rows = zip(picture.boxes.labels.tolist(), fractions.tolist(), strict=True)
    return "".join(f"{label} {' '.join(f'{value:.8f}' for value in row)}\n" for label, row in rows)
