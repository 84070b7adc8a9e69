"""Stage: detections of trained detectors, `python -m wsdet.detect model=DIR images=FILE|FOLDER|GLOB|VIDEO out=DIR`."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.build import limited
from wsdet.cli.entry_point import CONF, entry_point
from wsdet.formats.coco import coco_json
from wsdet.formats.contents import Picture
from wsdet.storage.box_store import BoxStore, FillReport, fill_together
from wsdet.storage.files import write_json
from wsdet.types import Boxes, Dataset, InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.data.image_files import ImageFiles
    from wsdet.detectors.rcnn.detector import RcnnDetector

log = logging.getLogger(__name__)


def detect(
    dataset: Dataset,
    ids: Sequence[str],
    detectors: Mapping[str, RcnnDetector],
    proposals: Mapping[str, Boxes],
    stores: Mapping[str, BoxStore],
    strict: bool = False,
) -> dict[str, FillReport]:
    """Fills a store for each detector with its detections in the images `ids`, all in one pass over the images.

    Args:
        dataset: holds the images.
        ids: images wanted; those in the stores already are left alone.
        detectors: by name; all with the same `features`, which are computed once an image.
        proposals: boxes by image id.
        stores: by the same names.
        strict: the first bad image raises.

    Raises:
        ValueError: the names differ, or the detectors do not share their features.
        InputError: with `strict`, an image cannot be read or has no proposals.
    """
    if detectors.keys() != stores.keys():
        raise ValueError(f"detectors and stores must have the same names, got {set(detectors)} and {set(stores)}")
    features = next(iter(detectors.values())).features
    if any(detector.features is not features for detector in detectors.values()):
        raise ValueError("detectors must share one `features` object; load them with RcnnDetector.load(..., features)")
    n_proposals = {detector.max_proposals for detector in detectors.values()}
    limit = None if 0 in n_proposals else max(n_proposals)

    def produce(missing: Sequence[str]) -> Iterator[tuple[str, dict[str, Boxes] | InputError]]:
        for image_id in missing:
            try:
                if image_id not in proposals:
                    raise InputError(f"{image_id} has no proposals; see why in the failed.json of their store")
                xyxy = proposals[image_id].xyxy[:limit]
                maps = features.maps(dataset.load(image_id))
                described = features.features(maps, xyxy)
            except InputError as error:
                yield image_id, error
            else:
                yield image_id, {name: one.select(xyxy, described, maps.size_hw) for name, one in detectors.items()}

    return fill_together(stores, ids, produce, "detect", strict)


def main() -> None:
    """Entry point."""
    entry_point("detect", _run)


def _run(cfg: DictConfig) -> None:
    from wsdet.cli.factories import localized
    from wsdet.data.images import read_size
    from wsdet.data.video import SUFFIXES as VIDEO_SUFFIXES
    from wsdet.data.video import write_frames
    from wsdet.detectors.rcnn.detector import RcnnDetector
    from wsdet.propose import propose, source_of

    detector = RcnnDetector.load(cfg.model, cfg.device, cfg.precision)
    out, images = Path(cfg.out), str(cfg.images)
    settings = _proposal_settings(cfg, detector)
    network = {"network": detector.features.network.fingerprint, "dtype": str(detector.features.network.dtype)}
    made_by = {"images": images, "every": cfg.every, "proposals": settings}
    proposals = BoxStore(out / "proposals", made_by)
    store = BoxStore(out / "detections", made_by | network | {"model": str(cfg.model)})
    if Path(images).suffix.lower() in VIDEO_SUFFIXES and Path(images).is_file():
        write_frames(Path(images), out / "frames", cfg.every)
        images = str(out / "frames")
    dataset = find_images(images, detector.classes)
    ids = limited(dataset.ids("test"), cfg.limit, cfg.seed)

    def run(name: str, node: DictConfig) -> Path:
        folder = out / "localization" / name
        return localized(cfg, folder, node, dataset, ids, detector.features.network, {"images": str(cfg.images)})

    propose(dataset, ids, source_of(_as_config(settings), run), proposals, cfg.workers, cfg.strict)
    detect(dataset, ids, {"": detector}, proposals, {"": store}, cfg.strict)
    pictures = (
        Picture(image_id, image_id, read_size(dataset.path(image_id)), store[image_id], "test")
        for image_id in ids
        if image_id in store
    )
    write_json(out / "detections.json", coco_json(pictures, detector.classes, {"method": str(cfg.model)}))
    if cfg.draw:
        _draw(out / "drawn", dataset, ids, detector.classes, store, cfg.draw, cfg.draw_above)
    log.info("%d boxes in %d images: %s", sum(len(store[i]) for i in ids if i in store), len(store), out)


def find_images(images: str, classes: Sequence[str]) -> ImageFiles:
    """A dataset whose test split is the images of a file, a folder with all its sub-folders, or a pattern.

    Image ids are paths from the folder that holds all of them.

    Raises:
        InputError: there is no image.
    """
    from wsdet.data.image_files import ImageFiles
    from wsdet.data.images import MAX_PIXELS, SUFFIXES

    if Path(images).is_dir():
        paths, folder = [path for path in Path(images).rglob("*") if path.suffix.lower() in SUFFIXES], Path(images)
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


def _proposal_settings(cfg: DictConfig, detector: RcnnDetector) -> dict[str, Any]:
    """What makes the proposals: what the command line says, else what the detector names."""
    from omegaconf import OmegaConf

    if cfg.get("proposals"):
        return dict(OmegaConf.to_container(cfg.proposals, resolve=True))  # type: ignore[arg-type]
    if not detector.proposals:
        raise InputError(f"{cfg.model}/model.json names no proposals; give proposals=NAME, such as selective_search")
    paths = [path for group in ("proposals", "localizer") for path in (CONF / group).glob("*.yaml")]
    known = {OmegaConf.load(path).get("_target_") for path in paths} - {None}  # type: ignore[arg-type]
    _check_harmless(detector.proposals, known, f"{cfg.model}/model.json", top=True)
    return detector.proposals


def _check_harmless(settings: Any, known: set[str], name: str, top: bool = False) -> None:
    """A detector may come from a stranger: its proposals are one of ours by name, with plain values."""
    remedy = "give proposals=NAME instead (python -m wsdet.detect --help lists them)"
    if isinstance(settings, Mapping):
        if (top or "_target_" in settings) and settings.get("_target_") not in known:
            raise InputError(f"{name}: proposals are of no known kind, {settings.get('_target_')!r}; {remedy}")
        if any(str(key).startswith("_") and key != "_target_" for key in settings):
            raise InputError(f"{name}: proposals have a key that is not allowed; {remedy}")
        for value in settings.values():
            _check_harmless(value, known, name)
    elif isinstance(settings, list):
        for value in settings:
            _check_harmless(value, known, name)
    elif isinstance(settings, str) and "${" in settings:
        raise InputError(f"{name}: proposals hold an interpolation; {remedy}")


def _as_config(settings: dict[str, Any]) -> DictConfig:
    from omegaconf import OmegaConf

    return OmegaConf.create(settings)


def _draw(
    folder: Path,
    dataset: Dataset,
    ids: Sequence[str],
    classes: Sequence[str],
    store: Mapping[str, Boxes],
    n_boxes: int,
    above: float,
) -> None:
    from tqdm import tqdm

    from wsdet.report.box_drawing import draw_boxes

    for image_id in tqdm([image_id for image_id in ids if image_id in store], desc="draw", unit="image"):
        boxes = store[image_id]
        path = folder / image_id
        draw_boxes(
            path if path.suffix == ".jpg" else path.with_name(f"{path.name}.jpg"),
            dataset.load(image_id).pixels,
            boxes[boxes.scores > above][:n_boxes],
            classes,
        )


if __name__ == "__main__":
    main()
