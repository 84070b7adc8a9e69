"""Detections of trained detectors, and drawings of them."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from wsdet.detectors.tiles import detect_in_tiles
from wsdet.formats.contents import added_suffix, file_name
from wsdet.runners.job import Runner
from wsdet.runners.local import Local
from wsdet.storage.box_store import BoxStore, FillReport
from wsdet.storage.fingerprints import Fingerprints
from wsdet.storage.shard import Shard
from wsdet.tiles import Tiling
from wsdet.types import Boxes, Dataset, Detector, InputError, Sample

if TYPE_CHECKING:
    from wsdet.data.image_files import ImageFiles

log = logging.getLogger(__name__)


# Scores are probabilities; stores of earlier versions, which have other ones, say otherwise and are not added to.
SCORES = {"scores": "probabilities"}


@dataclass
class DetectJob:
    """Detectors at work; see `wsdet.runners.job.Job`.

    They travel as the folders that they were loaded from, and run where they arrive as they did here: same kind of
    device, same precision.
    """

    dataset: Dataset
    detectors: Mapping[str, Detector]
    proposals: Mapping[str, Boxes] | None
    folders: Mapping[str, Path]
    device: str = "auto"
    precision: str = "auto"
    tiling: Tiling | None = None
    chunk_size: int = 16
    n_forward_passes: int = 0

    def packed(self) -> DetectJob:
        """Without the detectors, which are all of one run."""
        one = next(iter(self.detectors.values()))
        return replace(self, detectors={}, device=one.device_type, precision=one.precision)

    def open(self, worker: int = 0) -> DetectJob:
        """With the detectors, on a GPU of their own where there are several."""
        from wsdet.detectors.loading import load_detectors

        if self.detectors:
            return self
        return replace(self, detectors=load_detectors(self.folders, self.device, self.precision, worker))

    def __call__(self, ids: Sequence[str]) -> Iterator[tuple[str, dict[str, Boxes] | InputError]]:
        """(image id, what each detector finds, or what is wrong with the image)."""
        for image_id in ids:
            try:
                if self.proposals is not None and image_id not in self.proposals:
                    raise InputError(f"{image_id} has no proposals; see why in the failed.json of their store")
                looked_at = Boxes.empty() if self.proposals is None else self.proposals[image_id]
                sample, detect = self.dataset.load(image_id), partial(_detections, self.detectors)
                yield image_id, detect_in_tiles(detect, sample, looked_at, self.tiling)
            except InputError as error:
                yield image_id, error


def detect(
    dataset: Dataset,
    ids: Sequence[str],
    detectors: Mapping[str, Detector],
    proposals: Mapping[str, Boxes] | None,
    stores: Mapping[str, BoxStore],
    strict: bool = False,
    runner: Runner | None = None,
    folders: Mapping[str, Path] | None = None,
    shard: Shard | None = None,
    tiling: Tiling | None = None,
) -> dict[str, FillReport]:
    """Fills a store for each detector with its detections in the images `ids`, all in one pass over the images.

    Args:
        dataset: holds the images.
        ids: images wanted; those in the stores already are left alone, unless the image has changed.
        detectors: by name.
        proposals: boxes by image id; None where no detector looks at any.
        stores: by the same names.
        strict: the first bad image raises.
        runner: where the work is done; None: in this process.
        folders: of the saved detectors, by name: needed where the runner has several workers.
        shard: see `BoxStore.fill`.
        tiling: tiles that detectors are shown one by one, beside the image; None: the image alone.

    Raises:
        ValueError: the names differ.
        InputError: with `strict`, an image cannot be read or has no proposals.
    """
    if detectors.keys() != stores.keys():
        raise ValueError(f"detectors and stores must have the same names, got {set(detectors)} and {set(stores)}")
    job = DetectJob(dataset, detectors, proposals, folders or {}, tiling=tiling)
    where, fingerprints = runner or Local(), Fingerprints(dataset, labels=False)
    return BoxStore.fill_together(
        stores, ids, lambda missing: where.run(job, missing), "detect", strict, fingerprints, shard
    )


def check_tiles(detector: Detector, tiling: Tiling | None) -> None:
    """Whether a detector is shown tiles by one of both only: by itself, as it was trained, or by whoever asks it.

    Raises:
        InputError: by both.
    """
    own: Tiling | None = getattr(detector, "tiling", None)
    if own and tiling:
        raise InputError(f"the detector was trained with tile={own.side:g} and looks at tiles by itself; give no tile=")


def _detections(detectors: Mapping[str, Detector], sample: Sample, proposals: Boxes) -> dict[str, Boxes]:
    """What each detector finds; detectors of one kind may share work."""
    from wsdet.detectors.rcnn.detector import RcnnDetector, detect_together

    of_features = {name: one for name, one in detectors.items() if isinstance(one, RcnnDetector)}
    found = detect_together(of_features, sample, proposals)
    return {name: found[name] if name in found else one.detect(sample, proposals) for name, one in detectors.items()}


def find_images(images: str, classes: Sequence[str]) -> ImageFiles:
    """A dataset whose test split is the images of a file, a folder with all its sub-folders, or a pattern.

    Image ids are paths from the folder that holds all of them.

    Raises:
        InputError: there is no image.
    """
    from wsdet.data.image_files import ImageFiles
    from wsdet.data.images import MAX_PIXELS
    from wsdet.data.paths import image_names

    if Path(images).is_dir():
        paths, folder = [Path(images, name) for name in image_names(Path(images))], Path(images)
    elif Path(images).is_file():
        paths, folder = [Path(images)], Path(images).parent
    else:
        paths = [Path(path) for path in glob.glob(images, recursive=True)]  # noqa: PTH207  (absolute patterns)
        folder = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    ids = sorted(path.relative_to(folder).as_posix() for path in paths if path.is_file())
    if not ids:
        raise InputError(f"images={images} must be an image file, a folder with images or a pattern; there is none")
    return ImageFiles(images, classes, (), ids, _Inside(folder), {}, {}, MAX_PIXELS)


class _Inside:
    """Gives the file of an image id; a class, so that it can be sent to worker processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, image_id: str) -> Path:
        return self._folder / image_id


def write_coco(
    path: Path, dataset: ImageFiles, ids: Sequence[str], classes: Sequence[str], store: Mapping[str, Boxes], method: str
) -> None:
    """Writes the boxes of those of the images `ids` that are in the store as COCO's JSON; `method` made them."""
    from wsdet.data.images import read_size
    from wsdet.formats.coco import coco_json
    from wsdet.formats.contents import ExportedImage
    from wsdet.storage.files import write_json

    exported = (
        ExportedImage(image_id, image_id, read_size(dataset.path(image_id)), store[image_id], "test")
        for image_id in ids
        if image_id in store
    )
    write_json(path, coco_json(exported, classes, {"method": method}))


def draw_detections(
    folder: Path,
    dataset: Dataset,
    ids: Sequence[str],
    classes: Sequence[str],
    store: Mapping[str, Boxes],
    n_boxes: int,
    above: float,
) -> list[Path]:
    """Draws the best `n_boxes` boxes scored `above` or higher of each image, a JPEG each in `folder`; gives them."""
    from wsdet.progress import Bar
    from wsdet.report.box_drawing import draw_boxes

    names, drawn = _drawn_names(ids), []
    for image_id in Bar([image_id for image_id in ids if image_id in store], desc="draw", unit="image"):
        boxes = store[image_id]
        shown = boxes[boxes.scores >= above][:n_boxes]
        draw_boxes(folder / names[image_id], dataset.load(image_id).pixels, shown, classes)
        drawn.append(folder / names[image_id])
    return drawn


def _drawn_names(ids: Sequence[str]) -> dict[str, str]:
    """A JPEG file for each image, named after it; no two have the same, and none that of a folder."""
    taken = {str(folder) for image_id in ids for folder in PurePosixPath(file_name(image_id)).parents}
    names: dict[str, str] = {}
    for image_id in ids:
        suffix = "" if image_id.endswith(".jpg") else ".jpg"
        while (name := added_suffix(image_id, suffix)) in taken:
            suffix += ".jpg"
        names[image_id] = name
        taken.add(name)
    return names
