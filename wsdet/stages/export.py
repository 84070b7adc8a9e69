"""Stage: boxes in the formats of other programs, `python -m wsdet.export boxes=STORE format=coco data=... out=DIR`."""

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wsdet.boxes import area, clip
from wsdet.formats.coco import image_path as coco_path
from wsdet.formats.coco import write_coco
from wsdet.formats.contents import Contents, ExportedImage, distinct_stems, file_name
from wsdet.formats.cvat import image_path as cvat_path
from wsdet.formats.cvat import write_cvat
from wsdet.formats.label_studio import image_path as label_studio_path
from wsdet.formats.label_studio import write_label_studio
from wsdet.formats.parquet import image_path as parquet_path
from wsdet.formats.parquet import write_parquet
from wsdet.formats.voc import image_path as voc_path
from wsdet.formats.voc import write_voc
from wsdet.formats.yolo import image_path as yolo_path
from wsdet.formats.yolo import write_yolo
from wsdet.storage.box_store import BoxStore
from wsdet.storage.files import replacing, write_json
from wsdet.storage.provenance import check_settings
from wsdet.storage.untrusted import read_yaml
from wsdet.types import Boxes, Dataset, InputError, Split

if TYPE_CHECKING:
    from wsdet.stages.positives import Positives

log = logging.getLogger(__name__)

NO_CLASS = "object"  # the class of boxes without one, label -1
IMAGES = ("none", "link", "copy")


class Format(NamedTuple):
    """One format: its writer, where an image lies in the folder, and whether it has one file per image."""

    write: Callable[[Path, Contents], None]
    image_path: Callable[[ExportedImage], str]
    file_an_image: bool = False


FORMATS = {
    "coco": Format(write_coco, coco_path),
    "voc": Format(write_voc, voc_path, file_an_image=True),
    "yolo": Format(write_yolo, yolo_path, file_an_image=True),
    "label_studio": Format(write_label_studio, label_studio_path),
    "cvat": Format(write_cvat, cvat_path),
    "parquet": Format(write_parquet, parquet_path),
}


def export(
    dataset: Dataset,
    ids: Mapping[Split, Sequence[str]],
    boxes: Mapping[str, Boxes],
    folder: Path,
    format: str,
    method: str,
    settings: Mapping[str, Any],
    min_score: float | None = None,
    top_k: int = 0,
    images: str = "none",
    strict: bool = False,
) -> Contents:
    """Writes the boxes of the images `ids` in a format; see its module in `wsdet.formats` for the files.

    Boxes are clipped to their image, and those without area in it are left out. Boxes without a class (label -1) get
    the class `object`. Images that cannot be written are recorded in `failed.json`.

    Args:
        dataset: where the images and the class names come from; its truth is not looked at.
        ids: the images wanted, by split; those without an entry in `boxes` are left out.
        boxes: by image id.
        folder: receives the files.
        format: a key of `FORMATS`.
        method: what made the boxes, in a few words.
        settings: what the boxes depend on.
        min_score: boxes scored lower are left out; None: none is.
        top_k: maximum number of boxes of each class in an image, the best ones; 0: all.
        images: `none` names the images only; `link` and `copy` put them into the folder. A dataset whose images are
            no files has them written as PNG for both.
        strict: the first bad image raises.

    Returns:
        What was written.

    Raises:
        InputError: an argument is none of the values above; a label has no class; with `strict`, an image cannot be
            read.
    """
    check_choices(format, min_score, top_k, images)
    writer, failed = FORMATS[format], dict[str, str]()
    classes = _classes(dataset.classes, boxes, [image_id for split in ids for image_id in ids[split]])
    done = []
    for exported in _images_to_export(dataset, ids, boxes, classes, min_score, top_k, writer.file_an_image):
        try:
            exported = _fitted(exported, dataset)
            if images != "none":
                place_image(folder / writer.image_path(exported), dataset, exported.image_id, link=images == "link")
        except InputError as error:
            if strict:
                raise
            log.warning("%s is left out: %s", exported.image_id, error)
            failed[exported.image_id] = str(error)
        else:
            done.append(exported)
    contents = Contents(classes, tuple(done), method, settings, images != "none")
    writer.write(folder, contents)
    if failed:
        write_json(folder / "failed.json", failed)
    else:
        (folder / "failed.json").unlink(missing_ok=True)
    return contents


def check_choices(format: str, min_score: float | None, top_k: int | None, images: str) -> None:
    """Raises an `InputError` that names the argument of `export` that is impossible, before any work is done."""
    if format not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if images not in IMAGES:
        raise InputError(f"images must be one of {', '.join(IMAGES)}, got {images!r}")
    if top_k is not None and (type(top_k) is not int or top_k < 0):
        raise InputError(f"top_k must be 0 (all boxes), a larger whole number or null, got {top_k!r}")
    if min_score is not None and not isinstance(min_score, (int, float)):
        raise InputError(f"min_score must be a number, or null for none, got {min_score!r}")


def export_store(
    dataset: Dataset,
    ids: Mapping[Split, Sequence[str]],
    store: BoxStore,
    folder: Path,
    format: str,
    strict: bool = False,
    positives: Positives | None = None,
    **options: Any,
) -> Contents:
    """Exports what a store has of the images `ids` into a folder that holds this one export.

    Args:
        dataset: as for `export`.
        ids: as for `export`.
        store: the boxes; its name and settings say what made them.
        folder: receives the files; one that holds another export refuses.
        format: as for `export`.
        strict: as for `export`.
        positives: what training takes of pseudo-boxes; None: as by default.
        **options: `min_score`, `top_k`, `images` of `export`. Where `top_k` is None, pseudo-boxes are those
            that training takes, and all boxes of other stores are exported.

    Raises:
        InputError: as `export`; or the folder holds another export, or the store has none of the images.
    """
    from wsdet.stages.positives import Positives, chosen

    asked = hashlib.sha256("\n".join(image_id for split in ids for image_id in ids[split]).encode()).hexdigest()[:16]
    ids = {split: [image_id for image_id in ids[split] if image_id in store] for split in ids}
    if not any(ids.values()):
        raise InputError(f"{store.folder} has boxes of none of the data's images; give data= as when it was made")
    # files of another export would stay among these, those of images that are left out now
    boxes: Mapping[str, Boxes] = store
    taken: dict[str, Any] = {}
    if options.get("top_k", 0) is None:
        if "localizer" in store.settings and not {"detector", "model"} & store.settings.keys():
            positives = positives or Positives()
            boxes = chosen(positives, store, [image_id for split in ids for image_id in ids[split]])
            options["top_k"], taken = positives.top_k, {"training_takes": asdict(positives)}
        else:
            options["top_k"] = 0
    check_settings(
        folder, {"export": {"format": format, "images_asked": asked} | options | taken, "boxes": store.settings}
    )
    made_by = (method_of(store), store.settings)
    contents = export(dataset, ids, boxes, folder, format, *made_by, strict=strict, **options)
    n_boxes = sum(len(exported.boxes) for exported in contents.images)
    if not n_boxes and options.get("min_score") is not None:
        best = max((float(store[i].scores.max(initial=-np.inf)) for split in ids for i in ids[split]), default=-np.inf)
        log.warning(
            "no box is scored %g or more, the highest score is %.4g; lower min_score", options["min_score"], best
        )
    log.info("%d boxes in %d images as %s: %s", n_boxes, len(contents.images), format, folder)
    return contents


def find_store(folder: Path) -> BoxStore:
    """The store in `folder`, which is one, or is a run's: that of its localizer, or the only one in `localization`.

    Raises:
        InputError: it is neither.
    """
    if (folder / "settings.json").exists():
        return BoxStore(folder)
    stores = sorted(path.parent for path in folder.glob("localization/*/settings.json"))
    if len(stores) > 1 and (folder / "config.yaml").is_file():
        config = read_yaml(folder / "config.yaml")
        names = config.get("names") if isinstance(config, dict) else None
        stores = [
            store for store in stores if isinstance(names, dict) and store.name == names.get("localizer")
        ] or stores
    if len(stores) == 1:
        return BoxStore(stores[0])
    if not stores:
        raise InputError(f"boxes={folder} must be a store of boxes, or the folder of a run with one in localization/")
    raise InputError(f"{folder} has {len(stores)} stores; give one of them: {', '.join(f'boxes={s}' for s in stores)}")


def method_of(store: BoxStore) -> str:
    """What made a store's boxes: its name, and the class or the model that its settings name.

    >>> method_of(BoxStore("RUN/localization/stl_cl"))  # doctest: +SKIP
    'stl_cl (wsdet.localizers.stl.Stl)'
    """
    settings = store.settings
    for key in ("localizer", "model", "detector", "proposals"):
        made_by = settings.get(key)
        made_by = made_by.get("_target_") if isinstance(made_by, dict) else made_by
        if isinstance(made_by, str):
            return f"{store.folder.resolve().name} ({made_by})"
    return store.folder.resolve().name


def _classes(names: Sequence[str], boxes: Mapping[str, Boxes], ids: Sequence[str]) -> tuple[str, ...]:
    """The dataset's classes, and `object` where a box has none."""
    without = False
    for image_id in ids:
        labels = boxes[image_id].labels if image_id in boxes else np.zeros(0, np.int64)
        wrong = labels[(labels < -1) | (labels >= len(names))]
        if len(wrong):
            raise InputError(
                f"image {image_id!r} has a box of class {wrong[0]}, the data has classes 0 to {len(names) - 1}; "
                "give data= as when the boxes were made"
            )
        without |= bool((labels == -1).any())
    return (*names, NO_CLASS) if without and NO_CLASS not in names else tuple(names)


def _images_to_export(
    dataset: Dataset,
    ids: Mapping[Split, Sequence[str]],
    boxes: Mapping[str, Boxes],
    classes: Sequence[str],
    min_score: float | None,
    top_k: int,
    file_an_image: bool,
) -> Iterator[ExportedImage]:
    """The images under their final names, with the boxes to write; sizes still to be read."""
    there = [(split, image_id) for split in ids for image_id in ids[split] if image_id in boxes]
    names = [file_name(image_name(dataset, image_id)) for _, image_id in there]
    for (split, image_id), name in zip(there, distinct_stems(names) if file_an_image else names, strict=True):
        found = boxes[image_id]
        if min_score is not None:
            found = found[found.scores >= min_score]
        if top_k:
            found = found[np.sort(found.best_rows(top_k))]
        if (found.labels == -1).any():
            labels = np.where(found.labels == -1, classes.index(NO_CLASS), found.labels)
            found = replace(found, labels=labels)
        yield ExportedImage(image_id, name, (0, 0), found, split)


def image_name(dataset: Dataset, image_id: str) -> str:
    """The image id, with the suffix of its file unless it is there already."""
    path = _path(dataset, image_id)
    if path is None:
        return f"{image_id}.png"
    return image_id if PurePosixPath(image_id).suffix == path.suffix else image_id + path.suffix


def _path(dataset: Dataset, image_id: str) -> Path | None:
    """The image's file; None of a dataset whose images are no files."""
    path_of: Callable[[str], Path] | None = getattr(dataset, "path", None)
    return None if path_of is None else path_of(image_id)


def _fitted(exported: ExportedImage, dataset: Dataset) -> ExportedImage:
    """The image with its size, and its boxes inside it."""
    from wsdet.data.images import read_size

    path = _path(dataset, exported.image_id)
    # of any size: who made the boxes has read the image, whatever max_pixels= was then
    size_hw = dataset.load(exported.image_id).size_hw if path is None else read_size(path, sys.maxsize)
    boxes = replace(exported.boxes, xyxy=clip(exported.boxes.xyxy, size_hw))
    return replace(exported, size_hw=size_hw, boxes=boxes[area(boxes.xyxy) > 0])


def place_image(target: Path, dataset: Dataset, image_id: str, link: bool) -> None:
    """Puts the image where the format has it, as it is."""
    path = _path(dataset, image_id)
    with replacing(target) as beside:
        if path is None:
            from PIL import Image

            Image.fromarray(dataset.load(image_id).pixels).save(beside, format="PNG")
        elif link:
            beside.unlink(missing_ok=True)  # a killed run may have left it
            beside.symlink_to(path.resolve())
        else:
            shutil.copyfile(path, beside)
