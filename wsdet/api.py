"""What a notebook imports: the programs as functions, and detectors that predict. `docs/api.md` shows their use.

Nothing here computes: each function composes the config that its program would run with and calls the same stages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from wsdet.data.auto import open_any as open_dataset
from wsdet.data.given_images import GivenImage, GivenLabels
from wsdet.tiles import Tiling
from wsdet.types import Boxes, Dataset, InputError, Split

if TYPE_CHECKING:
    import supervision
    from PIL.Image import Image

    from wsdet import types
    from wsdet.storage.box_store import BoxStore

__all__ = [
    "Boxes",
    "Detections",
    "Detector",
    "InputError",
    "evaluate",
    "export",
    "load",
    "localize",
    "open_dataset",
    "train_detector",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Detections(Boxes):
    """`Boxes` that know what their labels mean.

    Attributes:
        classes: names that `labels` index.
    """

    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, boxes: Boxes, classes: Sequence[str]) -> Detections:
        """Boxes, such as those that `localize` gives of an image, with the names of their classes."""
        return cls(boxes.xyxy, boxes.scores, boxes.labels, boxes.difficult, tuple(classes))

    def __getitem__(self, index: Any) -> Detections:
        """The rows that a mask, slice, integer array or integer selects."""
        return Detections.of(super().__getitem__(index), self.classes)

    def draw(self, image: str | Path | types.Pixels | Image) -> Image:
        """The image with its boxes, one color for each class, with names and scores, as a new PIL image.

        Args:
            image: a file, an (h, w, 3) uint8 RGB array or a PIL image.
        """
        from wsdet.data.images import pixels_of, read_image
        from wsdet.report.box_drawing import drawn

        pixels = read_image(Path(image)) if isinstance(image, str | Path) else pixels_of(image)
        return drawn(pixels, self, self.classes)

    def to_supervision(self) -> supervision.Detections:
        """As `supervision.Detections`, with the classes' names in `data["class_name"]`.

        Raises:
            ImportError: the package supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError(
                "to_supervision() needs the package supervision: pip install 'wsdet[supervision]'"
            ) from error
        names = np.array([self.classes[label] for label in self.labels], dtype=str)
        return supervision.Detections(
            self.xyxy.copy(), confidence=self.scores.copy(), class_id=self.labels.copy(), data={"class_name": names}
        )


class Detector:
    """A trained detector; `load` and `train_detector` give one.

    Args:
        folder: what a training wrote, `RUN/detectors/NAME`. It may come from anyone: no code in it is run.
        device: "cpu", "cuda", or "auto": CUDA where there is one.

    Raises:
        InputError: the folder holds no detector that this version knows.
    """

    def __init__(self, folder: str | Path, device: str = "auto") -> None:
        from wsdet.detectors.loading import load_detectors

        self.folder = Path(folder)
        self._detector = load_detectors({"detector": self.folder}, device)["detector"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the labels of boxes index."""
        return self._detector.classes

    @overload
    def predict(
        self,
        images: types.Pixels | Image,
        min_score: float | None = 0.5,
        *,
        tile: float | None = None,
        tile_overlap: float = Tiling.overlap,
    ) -> Detections: ...
    @overload
    def predict(
        self,
        images: str | Path,
        min_score: float | None = 0.5,
        *,
        tile: float | None = None,
        tile_overlap: float = Tiling.overlap,
    ) -> Detections | dict[str, Detections]: ...
    def predict(
        self,
        images: str | Path | types.Pixels | Image,
        min_score: float | None = 0.5,
        *,
        tile: float | None = None,
        tile_overlap: float = Tiling.overlap,
    ) -> Detections | dict[str, Detections]:
        """Boxes found, best first.

        A detector that looks at proposals makes them as those that it was trained with.

        Args:
            images: one image: a file, an (h, w, 3) uint8 RGB array, a PIL image; or a folder or a pattern.
            min_score: boxes scored lower are left out, in [0, 1]: scores are probabilities; None: none is.
            tile: show the detector tiles of the images, too, for small objects in large ones: their side in pixels, or
                up to 1 relative to the longer side; None: as it was trained.
            tile_overlap: share of the side that neighboring tiles have in common, in [0, 0.9].

        Returns:
            `Detections` of one image; of a folder or a pattern, a dict of them by the file's path from the folder.
            Images that cannot be read are missing there, with a warning in the log.

        Raises:
            InputError: the one image cannot be read, or there is none.
        """
        from wsdet.data.given_images import OneImage
        from wsdet.stages.detect import find_images

        above, tiling = 0.0 if min_score is None else min_score, Tiling.of(tile, tile_overlap)
        if not isinstance(images, str | Path):
            return next(iter(self._found(OneImage(images), above, tiling, strict=True).values()))
        dataset, single = find_images(str(images), self.classes), Path(images).is_file()
        found = self._found(dataset, above, tiling, strict=single)
        return found[dataset.ids("test")[0]] if single else found

    def _found(self, dataset: Dataset, above: float, tiling: Tiling | None, strict: bool) -> dict[str, Detections]:
        from wsdet.progress import Bar
        from wsdet.stages.detect import DetectJob, check_tiles

        ids = dataset.ids("test")
        check_tiles(self._detector, tiling)
        proposals = self._proposals(dataset, ids, tiling, strict)
        job = DetectJob(dataset, {"detector": self._detector}, proposals, {}, "auto", "auto", tiling)
        found = {}
        for image_id, boxes in Bar(job(ids), total=len(ids), desc="predict", unit="image", disable=len(ids) == 1):
            if not isinstance(boxes, InputError):
                kept = boxes["detector"]
                found[image_id] = Detections.of(kept[kept.scores >= above], self.classes)
            elif strict:
                raise boxes
            else:
                log.warning("%s is left out: %s", image_id, boxes)
        return found

    def _proposals(
        self, dataset: Dataset, ids: Sequence[str], tiling: Tiling | None, strict: bool
    ) -> dict[str, Boxes] | None:
        from wsdet.cli.build import build
        from wsdet.cli.saved_parts import saved_proposals
        from wsdet.detectors.rcnn.detector import RcnnDetector
        from wsdet.stages.recipe import Recipe, in_tiles
        from wsdet.stages.run import Execution, Run

        if not isinstance(self._detector, RcnnDetector):
            return None
        settings = saved_proposals(self._detector.proposals, f"{self.folder}/model.json")
        settings = in_tiles(settings, tiling) if tiling else settings
        with TemporaryDirectory() as scratch:
            how = Execution(workers=0, strict=strict)
            run = Run(dataset, {}, {"test": ids}, Path(scratch), self._detector.features.network, how)
            store = run.propose(Recipe("proposals", settings, "proposals", build), ids)
            return {image_id: store[image_id] for image_id in ids if image_id in store}


def load(folder: str | Path, device: str = "auto") -> Detector:
    """A saved detector, such as `RUN/detectors/pseudo`; see `Detector`.

    Example:
        >>> load("RUN/detectors/pseudo").predict("photo.jpg").scores  # doctest: +SKIP
        array([0.93, 0.41], dtype=float32)
    """
    return Detector(folder, device)


def localize(
    images: str | Path | Sequence[GivenImage],
    labels: GivenLabels | None = None,
    *,
    network: str = "tiny",
    localizer: str = "wsddn",
    out: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> BoxStore:
    """Pseudo-boxes of images whose class labels alone are known: `python -m wsdet.localize`.

    Example:
        >>> boxes = localize(["a.jpg", "b.jpg"], ["cat", ["cat", "dog"]], network="tiny")  # doctest: +SKIP
        >>> boxes["a.jpg"].xyxy[:1]  # doctest: +SKIP
        array([[ 12.,  40., 210., 300.]], dtype=float32)

    Args:
        images: a folder of any layout that `open_dataset` reads; or a list of files, (h, w, 3) uint8 RGB arrays and PIL
            images, which are copied to `out/images` with their labels.
        labels: the label or labels of each image of a list.
        network: a name in conf/network. "tiny" is trained from the labels now.
        localizer: a name in conf/localizer.
        out: the run folder; None: a new one below `outputs/`. The same call goes on there where it was stopped.
        options: whatever else the command line takes, by dotted key: `{"network.training.epochs": 5, "seed": 1}`.

    Returns:
        A mapping from image id to `Boxes`, best first, on disk. An id is the file's path from the folder of all.

    Raises:
        InputError: an argument, an image or a label cannot be used.
    """
    from wsdet.cli.build import check_parts
    from wsdet.cli.entry_point import run_folder
    from wsdet.cli.factories import open_run, recipe
    from wsdet.cli.python_call import config_of
    from wsdet.data.given_images import keep
    from wsdet.stages.pseudo_label import Exports, pseudo_label

    choices = {"network": network, "localizer": localizer, "out": out, **(options or {})}
    if isinstance(images, str | Path):
        cfg = config_of("localize", {"data": "auto", "data.root": images} | choices)
    else:
        if labels is None:
            log.info("images have no labels: only a localizer that needs none, such as vote, finds boxes")
        data = {"data": "csv", "data.separator": ";", "data.test_fraction": 0}
        where = Path(config_of("localize", choices).out) / "images"
        keep(where, images, labels)
        cfg = config_of("localize", data | {"data.root": where} | choices | {"out": where.parent})
    check_parts(cfg, "localizer")
    title = " · ".join([Path(cfg.data.root).resolve().name, network, localizer])
    with run_folder(cfg):
        title = title if cfg.report else ""
        return pseudo_label(
            open_run(cfg),
            recipe(cfg, "localizer"),
            Exports(),
            title=title,
            proposals=recipe(cfg, "proposals"),
            n_verdict=cfg.verdict,
        )


def train_detector(
    boxes: BoxStore | str | Path,
    *,
    detector: str = "fcos",
    proposals: str | None = None,
    out: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Detector:
    """A detector trained on pseudo-boxes: `python -m wsdet.train` from the boxes on.

    Data and network are those of the run that the boxes lie in. Where the data has ground truth, `out/metrics.json`
    and `out/report` say how good the detector is.

    Args:
        boxes: what `localize` gave, or the folder of its run.
        detector: a name in conf/detector, such as "fcos" or "rcnn_svm".
        proposals: a name in conf/proposals, for detectors that look at any; None: "fast".
        out: the run folder; None: a new one below `outputs/`.
        options: whatever else the command line takes, by dotted key: `{"detector.training.epochs": 5}`.

    Raises:
        InputError: an argument cannot be used, or the boxes lie in no run.
    """
    from wsdet.cli.build import check_parts
    from wsdet.cli.entry_point import run_folder
    from wsdet.cli.factories import experiment_of, open_run
    from wsdet.cli.python_call import config_of
    from wsdet.cli.saved_parts import saved_network, saved_part
    from wsdet.stages.experiment import run_experiment
    from wsdet.stages.export import find_store

    store = find_store(Path(boxes)) if isinstance(boxes, str | Path) else boxes
    parts = {"data": saved_part(store.folder, "data"), "network": saved_network(store.folder)}
    choices = {
        "localizer": "stored",
        "localizer.boxes.folder": store.folder,
        "detector": detector,
        "detector.train_on": ["pseudo"],
        "proposals": proposals,
        "out": out,
    }
    cfg = config_of("train", choices | dict(options or {}), parts)
    check_parts(cfg, "localizer", "proposals")
    with run_folder(cfg):
        run_experiment(open_run(cfg), experiment_of(cfg))
    return load(Path(cfg.out) / "detectors" / "pseudo", cfg.device)


def evaluate(
    boxes: Mapping[str, Boxes] | str | Path,
    dataset: Dataset | None = None,
    kind: Literal["localization", "detections", "proposals"] = "localization",
    split: Split | None = None,
) -> dict[str, Any]:
    """Boxes against ground truth: `python -m wsdet.evaluate`.

    Args:
        boxes: by image id, such as a store or its folder, or what `Detector.predict` gave of a folder. Classes of
            `Detections` are those of the dataset with the same name, whatever their order.
        dataset: has the ground truth; None: the data of the run that the store lies in.
        kind: "localization" (CorLoc and more, of pseudo-boxes), "detections" (mAP) or "proposals" (recall).
        split: the images of one split alone; None: all that have boxes.

    Returns:
        The figures by name; see the functions in `wsdet.stages.evaluate`.

    Raises:
        InputError: no image has boxes, no data is known, or the dataset lacks a class of the boxes.
    """
    from wsdet.stages import evaluate as stage
    from wsdet.stages.export import find_store

    stores = find_store(Path(boxes)) if isinstance(boxes, str | Path) else boxes
    dataset = dataset or _data_of(stores)
    stores = _by_the_names_of(dataset, stores) if isinstance(stores, dict) else stores
    splits: tuple[Split, ...] = ("train", "test") if split is None else (split,)
    ids = [image_id for one in splits for image_id in dataset.ids(one) if image_id in stores]
    if not ids:
        raise InputError("boxes are of none of the dataset's images; give the dataset that they were made from")
    kinds: dict[str, Callable[..., dict[str, Any]]] = {
        "localization": stage.evaluate_localization,
        "detections": stage.evaluate_detections,
        "proposals": stage.evaluate_proposals,
    }
    if kind not in kinds:
        raise InputError(f"kind must be one of {', '.join(kinds)}, got {kind!r}")
    return kinds[kind](stores, dataset, ids)


def export(
    boxes: BoxStore | str | Path,
    out: str | Path,
    format: str = "coco",
    *,
    dataset: Dataset | None = None,
    min_score: float | None = None,
    top_k: int | None = None,
    images: Literal["none", "link", "copy"] = "none",
) -> Path:
    """Boxes in the format of another program: `python -m wsdet.export`.

    Args:
        boxes: a store, its folder, or the folder of a run with one.
        out: receives the files.
        format: coco, voc, yolo, label_studio, cvat or parquet.
        dataset: that the boxes were made from; None: the data of the run that they lie in.
        min_score: boxes scored lower are left out; None: none is.
        top_k: maximum number of boxes of each class in an image, the best; 0: all;
            None: of pseudo-boxes those that training takes, else all.
        images: "none" names the images only; "link" and "copy" put them beside the boxes.

    Returns:
        The folder `out`.

    Raises:
        InputError: an argument is not possible, no data is known, or `out` holds another export.
    """
    from wsdet.cli.saved_parts import saved_positives
    from wsdet.stages.export import export_store, find_store

    store = find_store(Path(boxes)) if isinstance(boxes, str | Path) else boxes
    dataset = dataset or _data_of(store)
    ids: dict[Split, Sequence[str]] = {"train": dataset.ids("train"), "test": dataset.ids("test")}
    options: dict[str, Any] = {"min_score": min_score, "top_k": top_k, "images": images}
    export_store(dataset, ids, store, Path(out), format, positives=saved_positives(store.folder), **options)
    return Path(out)


def _by_the_names_of(dataset: Dataset, boxes: Mapping[str, Boxes]) -> Mapping[str, Boxes]:
    """Boxes whose labels index the classes of the dataset; only those of `Detections` say what theirs are."""
    named = {image_id: one for image_id, one in boxes.items() if isinstance(one, Detections)}
    theirs = {name for one in named.values() for name in one.classes}
    if unknown := sorted(theirs - set(dataset.classes)):
        raise InputError(f"boxes have the class {unknown[0]!r}, and dataset has {', '.join(dataset.classes)} alone")
    renamed = {  # the last entry is what -1, no class, picks
        image_id: replace(one, labels=np.array([*map(dataset.classes.index, one.classes), -1])[one.labels])
        for image_id, one in named.items()
    }
    return {**boxes, **renamed} if renamed else boxes


def _data_of(boxes: Mapping[str, Boxes]) -> Dataset:
    from wsdet.cli.build import build
    from wsdet.cli.saved_parts import saved_part
    from wsdet.storage.box_store import BoxStore

    if not isinstance(boxes, BoxStore):
        raise InputError("dataset must be given for boxes that are no store of a run; see wsdet.open_dataset")
    dataset: Dataset = build(saved_part(boxes.folder, "data"), "data")
    return dataset
