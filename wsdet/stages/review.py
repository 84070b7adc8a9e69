"""Stage: the images where a person's minute is worth most, as a project that an annotation tool imports."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsdet import check
from wsdet.sampling import limited
from wsdet.stages.export import export, find_store, method_of
from wsdet.stages.positives import Positives, chosen
from wsdet.storage.box_store import BoxStore
from wsdet.storage.files import replacing, write_json
from wsdet.storage.provenance import check_settings, read_settings
from wsdet.types import Boxes, Dataset, InputError

log = logging.getLogger(__name__)

PICKERS = ("uncertain", "disagreement", "random")
FORMATS = ("label_studio", "cvat", "coco")
_NO_BOX = -1.0  # less confident than any box: an image with a label and no box of it

_IMPORT = {
    "label_studio": """\
1. pip install label-studio, then start it so that it may read this folder:
     LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={folder} label-studio start
2. Make a project. Settings > Labeling Interface > Code: paste interface.xml.
3. Settings > Cloud Storage > Add Source Storage > Local files, path {folder}/images. Save it; do not sync it.
4. Import tasks.json. Each task shows the boxes as a prediction: correct them and press Submit, also where all is right.
5. Export as JSON. Tasks that nobody submitted do not count as seen.
""",
    "cvat": """\
1. Make a task; in the labels' Raw tab paste labels.json; select what lies in images/ (as a zip if there are folders).
2. Open the task's menu > Upload annotations > CVAT 1.1: annotations.xml.
3. Correct the boxes, save, and export the task as "CVAT for images 1.1" (COCO and YOLO are read too).
   Every image of the task counts as seen.
""",
    "coco": """\
1. Import images/ and annotations/instances_train.json into a tool that reads COCO.
2. Correct the boxes and export as COCO. Every image that the file lists counts as seen.
""",
}


def pseudo_boxes_of(shared: Path, name: str, localizer: Mapping[str, Any], data: Mapping[str, Any]) -> BoxStore:
    """The store of a run's pseudo-boxes.

    Args:
        shared: the folder with the run's `localization`.
        name: of the localizer.
        localizer: its settings.
        data: those of the data.

    Raises:
        InputError: the run has none.
    """
    stores = [path.parent for path in sorted((shared / "localization").glob("*/settings.json"))]
    wanted = {"localizer": dict(localizer), "data": dict(data)}
    equal = [path for path in stores if {key: read_settings(path).get(key) for key in wanted} == wanted]
    named = [path for path in stores if path.name == name]  # a center box of learned size
    if not equal and not named:
        raise InputError(f"{shared} has no pseudo-boxes of {name} in localization/; let the run end first")
    return BoxStore([*equal, *named][0])


def pick(
    dataset: Dataset,
    store: Mapping[str, Boxes],
    boxes: Mapping[str, Boxes],
    budget: int,
    picker: str = "uncertain",
    seed: int = 0,
    others: Sequence[Mapping[str, Boxes]] = (),
) -> list[str]:
    """The images that a person should look at, the most useful first.

    Args:
        dataset: gives the labels.
        store: all boxes of the localizer.
        boxes: of the images to pick from, those that training takes.
        budget: maximum number of images.
        picker: `uncertain` takes, for the class with the fewest picked images in turn, the image whose boxes of it
            have the lowest confidence (`wsdet.detectors.rcnn.confidence`), one without a box of it first;
            `disagreement` the same by the overlap with the boxes of `others` alone; `random` samples with the seed.
        seed: of the random choice.
        others: boxes of other methods, see `other_boxes`, whose agreement adds to the confidence.

    Raises:
        InputError: an argument is not possible, or `disagreement` has no boxes to compare with.
    """
    from wsdet.detectors.rcnn.confidence import agreement_with, confidences

    check.at_least(1, budget=budget)
    check.one_of(PICKERS, picker=picker)
    if picker == "random":
        return list(limited(list(boxes), budget, seed))
    if picker == "disagreement" and not others:
        raise InputError(
            "picker=disagreement needs boxes of another method: give compare_with=[RUN2], a run of another localizer "
            "on the same images, or train with rounds=1 folds=2, which leaves the boxes of detectors of two halves"
        )
    if picker == "disagreement":
        confidence = {image_id: agreement_with(others, image_id, of_image) for image_id, of_image in boxes.items()}
    else:
        confidence = confidences(boxes, store, others)
    queues = [_queue(dataset, boxes, confidence, label) for label in range(len(dataset.classes))]
    picked: dict[str, None] = {}
    n_picked = np.zeros(len(queues))
    while len(picked) < budget and any(queues):
        label = min((label for label, queue in enumerate(queues) if queue), key=n_picked.__getitem__)
        image_id = queues[label].pop(0)
        if image_id not in picked:
            picked[image_id] = None
            n_picked[list(dataset.labels(image_id))] += 1
    unlabeled = [image_id for image_id in boxes if image_id not in picked]
    return [*picked, *unlabeled[: budget - len(picked)]]


def _queue(dataset: Dataset, boxes: Mapping[str, Boxes], confidence: Mapping[str, Any], label: int) -> list[str]:
    """The images with a label, the least confident first."""
    lowest = {
        image_id: min(confidence[image_id][of_image.labels == label], default=_NO_BOX)
        for image_id, of_image in boxes.items()
        if label in dataset.labels(image_id)
    }
    return sorted(lowest, key=lowest.__getitem__)


def other_boxes(run: Path, compare_with: Sequence[str]) -> list[BoxStore]:
    """Boxes of the training images that other methods found, to compare a localizer's with.

    Args:
        run: of self-training it has the boxes that the detectors of its first round found.
        compare_with: stores, or folders of runs with one.

    Raises:
        InputError: one of `compare_with` is neither.
    """
    of_round = run / "rounds" / "1" / "boxes"
    found = [BoxStore(of_round)] if (of_round / "settings.json").is_file() else []
    return [*(find_store(Path(one)) for one in compare_with), *found]


def shown_boxes(store: BoxStore, ids: Sequence[str], positives: Positives) -> dict[str, Boxes]:
    """The boxes that a person gets to see of the images `ids` that have been localized: those that training takes."""
    boxes = chosen(positives, store, [image_id for image_id in ids if image_id in store])
    return {image_id: of_image[~of_image.difficult] for image_id, of_image in boxes.items()}


def write_project(
    dataset: Dataset,
    ids: Sequence[str],
    boxes: Mapping[str, Boxes],
    store: BoxStore,
    run: Path,
    folder: Path,
    format: str,
    images: str = "copy",
) -> str:
    """Writes a project with the boxes as predictions; returns what to do with it, which is in `IMPORT.txt` too.

    Args:
        dataset: of the images.
        ids: those to look at, in this order.
        boxes: by image id.
        store: where they come from.
        run: the run's folder.
        folder: of the project; one that holds another refuses.
        format: one of `FORMATS`.
        images: `copy` or `link`.

    Raises:
        InputError: an argument is not possible, or `folder` holds another project.
    """
    check.one_of(FORMATS, format=format)
    check.one_of(("copy", "link"), images=images)
    check_settings(
        folder, {"review": {"run": str(run.resolve()), "format": format, "images": images, "ids": list(ids)}}
    )
    contents = export(
        dataset, {"train": ids}, boxes, folder, format, f"pseudo-boxes of {method_of(store)}", store.settings,
        images=images,
    )  # fmt: skip
    if format == "cvat":
        score = {"name": "score", "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
        write_json(folder / "labels.json", [{"name": name, "attributes": [score]} for name in contents.classes])
    text = _IMPORT[format].format(folder=folder.resolve())
    text += f"Then: python -m wsdet.improve run={run} corrections=EXPORT out=DIR\n"
    with replacing(folder / "IMPORT.txt") as beside:
        beside.write_text(text, encoding="utf-8")
    log.info(
        "%d images, %d boxes -> %s\n%s",
        len(contents.images),
        sum(len(p.boxes) for p in contents.images),
        folder,
        text,
    )
    return text
