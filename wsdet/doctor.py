"""What this machine has, and what a run would cost: `python -m wsdet.doctor`, `python -m wsdet.doctor plan ...`.

`plan` takes the overrides of `python -m wsdet.train`, measures its stages on a few images and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wsdet.cli.build import build, limited, settings_of, untrained_of
from wsdet.cli.entry_point import compose
from wsdet.report.text_tables import table
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Dataset, InputError
from wsdet.vision import opencv

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.networks.classifier import Network

MEASURED = 8  # images
_PACKAGES = (
    *("wsdet", "torch", "torchvision", "pytorch-lightning", "numpy", "scipy", "scikit-learn", "hotcoco", "pyarrow"),
    *("opencv-contrib-python-headless", "pillow", "hydra-core", "timm", "captum"),
)
_SPARE = 1e9  # bytes that a disk should keep


class Stage(NamedTuple):
    """What one stage of a run costs.

    Attributes:
        name: of the stage.
        images: how many it has to do, times the passes over them.
        seconds: for one image.
        n_bytes: that one image leaves on the disk.
        passes: over the images.
    """

    name: str
    images: int
    seconds: float
    n_bytes: float = 0.0
    passes: int = 1


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m wsdet.doctor", description=__doc__.split("\n\n")[0])
    parser.add_argument("what", nargs="?", choices=["plan"], help="plan: what a run of wsdet.train would cost")
    parser.add_argument("overrides", nargs="*", help="as for python -m wsdet.train: data=... network=... limit=...")
    arguments = parser.parse_args()
    if arguments.what is None:
        sys.exit(_report_machine())
    try:
        cfg = compose("train", arguments.overrides)
        print(plan_table(plan(cfg), shutil.disk_usage(_existing(Path(cfg.out))).free))
    except (InputError, OSError) as error:
        sys.exit(str(error))


# --- the machine


def _report_machine() -> int:
    """Prints a table of checks; 1 if something that wsdet needs is not there."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("Python", lambda: f"{platform.python_version()}, {platform.platform()}"),
        *((package, lambda package=package: _version_of(package)) for package in _PACKAGES),
        ("torchvision's operators", check_operators),
        ("OpenCV's functions", check_opencv),
        ("GPU", _gpu),
        ("processor", lambda: f"{os.cpu_count()} cores"),
        ("free disk here", lambda: f"{shutil.disk_usage('.').free / 1e9:.1f} GB"),
    ]
    rows, wrong = [], 0
    for name, check in checks:
        try:
            rows.append([name, check(), ""])
        except Exception as error:  # a broken installation may raise anything; that it does is the finding
            wrong += 1
            rows.append([name, str(error) or type(error).__name__, "MISSING"])
    print(table(["what", "found", ""], rows))
    print("something that wsdet needs is missing" if wrong else "all that wsdet needs is there")
    return int(wrong > 0)


def check_operators() -> str:
    """Runs torchvision's compiled operators on the CPU, and on the GPU where there is one.

    Raises:
        Exception: one does not load: torch and torchvision are of different builds.
    """
    import torch
    from torchvision.ops import nms, roi_align

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        box = torch.tensor([[0.0, 0.0, 4.0, 4.0]], device=device)
        nms(box, torch.ones(1, device=device), 0.5)
        roi_align(torch.ones(1, 1, 8, 8, device=device), [box], 2)
    return f"nms and roi_align run on {' and '.join(devices)}"


def check_opencv() -> str:
    """Whether every function that wsdet uses is there.

    Raises:
        InputError: one is not.
    """
    opencv.require()
    return ", ".join(name.rsplit(".", 1)[-1] for name in opencv.NEEDED)


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none; the processor does the work"
    names = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{one.name} ({one.total_memory / 2**30:.0f} GiB)" for one in names)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        if package in ("wsdet", "timm", "captum", "opencv-contrib-python-headless"):
            return "not installed as a package"  # run from a checkout; optional; or another build, checked below
        raise


# --- the cost of a run


def plan(cfg: DictConfig) -> list[Stage]:
    """Measures each stage of the run that `cfg` describes on a few of its images.

    Raises:
        InputError: the configuration is not possible, or none of its images can be read.
    """
    from omegaconf import OmegaConf

    from wsdet.detectors.rcnn.protocol import TrainingProtocol

    if cfg.task not in ("experiment", "classifier"):
        raise InputError(f"plan knows task=experiment and task=classifier, got task={cfg.task}")
    dataset: Dataset = build(cfg.data, "data")
    train_ids = limited(dataset.ids("train"), cfg.limit, cfg.seed)
    test_ids = limited(dataset.ids("test"), cfg.limit, cfg.seed)
    samples = _samples(dataset, train_ids)
    network, is_trained = _network(cfg, dataset)
    detector = cfg.detector
    features = build(detector.feature_kinds[detector.features], "detector.feature_kinds", network=network)
    protocol: TrainingProtocol = build(detector.protocols[detector.protocol], "detector.protocols")

    stages = []
    if is_trained or cfg.task == "classifier":
        training = cfg.network.training
        seconds = _seconds_of_training(network, training.head_only)
        stages.append(Stage("train the classifier", len(train_ids), seconds, passes=training.epochs))
    if cfg.task == "classifier":
        return stages
    proposals, proposing = _proposed(cfg, samples, cfg.proposals, network, cfg.names.proposals)
    known = {}
    if "source" in cfg.localizer:  # it looks at proposals, which a run makes beforehand
        looked_at = proposals
        if cfg.localizer.source != cfg.proposals:
            name = f"for_{cfg.names.localizer}"
            looked_at, before = _proposed(cfg, samples, cfg.localizer.source, network, name)
            stages += [stage._replace(images=len(train_ids)) for stage in before]
        known["source"] = _Known(looked_at)
    learns = cfg.localizer.get("weights") == "labels"  # what it learns does not change what it costs
    skipped = {"source", "weights"} if learns else {"source"}
    node = OmegaConf.masked_copy(cfg.localizer, [key for key in cfg.localizer if key not in skipped])
    found, seconds = _localized(cfg, samples, build(node, "localizer", **known), network)
    stages.append(Stage(f"localize, {cfg.names.localizer}", len(train_ids), seconds, _stored_bytes(found)))
    stages += [stage._replace(images=len(train_ids) + len(test_ids)) for stage in proposing]
    maps, described, n_bytes = _described(samples, proposals, features, protocol.max_proposals)
    kept = min(n_bytes, detector.cache_gigabytes * 1e9 / max(1, len(train_ids)))
    stages.append(Stage("feature maps", len(train_ids), maps, kept))
    if learns:
        passes = cfg.region_classifier.epochs
        stages.append(Stage("train the region classifier", len(train_ids), described, passes=passes))
    stages.append(Stage("train the detectors", len(train_ids), described, passes=1 + protocol.rounds))
    stages.append(Stage("detect", len(test_ids), maps + described))
    return stages


def plan_table(stages: Sequence[Stage], free: float) -> str:
    """The stages with what they take in all, and whether the disk is large enough."""
    rows: list[list[Any]] = []
    for stage in stages:
        hours = stage.images * stage.passes * stage.seconds / 3600
        each_second = f"{1 / stage.seconds:.2f}" if stage.seconds else "-"
        rows.append([stage.name, each_second, stage.images, stage.passes, hours, stage.images * stage.n_bytes / 1e9])
    hours, gigabytes = sum(row[4] for row in rows), sum(row[5] for row in rows)
    rows.append(["all", "", "", "", hours, gigabytes])
    enough = "enough" if free - 1e9 * gigabytes > _SPARE else "TOO LITTLE"
    return (
        table(["stage", "images/s", "images", "passes", "hours", "GB"], rows)
        + f"\nmeasured on {MEASURED} images; a rough estimate, without the solving of the SVMs. "
        + f"{free / 1e9:.1f} GB of disk are free: {enough}"
    )


def _samples(dataset: Dataset, ids: Sequence[str]) -> list[Any]:
    from wsdet.data.loading import load_samples

    samples = []
    for _, sample in load_samples(dataset, ids):
        if not isinstance(sample, InputError):
            samples.append(sample)
        if len(samples) == MEASURED:
            return samples
    if not samples:
        raise InputError("none of the training images can be read; see python -m wsdet.localize for the reasons")
    return samples


def _network(cfg: DictConfig, dataset: Dataset) -> tuple[Network, bool]:
    """The network, and whether the run would train it first; what it answers does not matter here."""
    from wsdet.networks.classifier import Network, load_network

    options = settings_of(cfg, "network")["network"]
    head, _ = options.pop("head"), options.pop("training")
    if head != "finetune":
        where = {"device": cfg.device, "precision": cfg.precision, "incremental": cfg.incremental}
        return load_network(classes=dataset.classes, wnids=getattr(dataset, "wnids", None), **where, **options), False
    outputs = [[label] for label in range(len(dataset.classes))]
    return Network(
        untrained_of(cfg, dataset), outputs, options["activation"], cfg.device, cfg.precision, cfg.incremental
    ), True


def _seconds_of_training(network: Network, head_only: bool) -> float:
    """For one image, forward and back; reading images is not counted: they are read once."""
    import copy

    import torch

    backbone = copy.deepcopy(network.backbone).float().train()
    backbone.requires_grad_(not head_only)
    backbone.last_layer.requires_grad_(True)
    pictures = torch.zeros(MEASURED, 3, network.input_size, network.input_size, device=network.device)
    for _ in range(2):  # the first warms up
        start = time.perf_counter()
        backbone(pictures).square().mean().backward()
        seconds = (time.perf_counter() - start) / MEASURED
    return seconds


def _localized(
    cfg: DictConfig, samples: Sequence[Any], localizer: Any, network: Network
) -> tuple[dict[str, Boxes], float]:
    """Boxes by image id, and the seconds of one image."""
    from wsdet.engine import localize_all

    start = time.perf_counter()
    named = [(sample.image_id, sample) for sample in samples]
    found = dict(localize_all(named, localizer, network, cfg.batch_size, cfg.in_flight))
    seconds = (time.perf_counter() - start) / len(samples)
    return {image_id: boxes for image_id, boxes in found.items() if isinstance(boxes, Boxes)}, seconds


def _proposed(
    cfg: DictConfig, samples: Sequence[Any], node: DictConfig, network: Network, name: str
) -> tuple[dict[str, Boxes], list[Stage]]:
    """Proposals by image id, and the stages that make them, of one image each: a localizer may have to run first."""
    from wsdet.propose import source_of

    stages: list[Stage] = []
    with tempfile.TemporaryDirectory() as folder:

        def localizer_boxes(localizer_name: str, localizer: DictConfig) -> Path:
            found, seconds = _localized(cfg, samples, build(localizer, "localizer"), network)
            stages.append(Stage(f"localize, {localizer_name}", 1, seconds, _stored_bytes(found)))
            store = BoxStore(Path(folder) / localizer_name, {})
            store.fill(list(found), lambda ids: ((i, found[i]) for i in ids), "measure")
            return store.folder

        source = source_of(node, localizer_boxes)
        start = time.perf_counter()
        proposals = {sample.image_id: source.propose(sample) for sample in samples}
    seconds = (time.perf_counter() - start) / len(samples) / max(1, min(cfg.workers, os.cpu_count() or 1))
    return proposals, [*stages, Stage(f"propose, {name}", 1, seconds, _stored_bytes(proposals))]


class _Known:
    """A source of proposals that have been made."""

    def __init__(self, proposals: dict[str, Boxes]) -> None:
        self._proposals = proposals

    def propose(self, sample: Any) -> Boxes:
        return self._proposals[sample.image_id]


def _described(
    samples: Sequence[Any], proposals: dict[str, Boxes], features: Any, max_proposals: int
) -> tuple[float, float, float]:
    """Of one image: seconds for its maps, seconds for the features of its proposals, bytes of its maps."""
    seconds, n_bytes = [0.0, 0.0], 0
    for sample in samples:
        start = time.perf_counter()
        maps = features.maps(sample)
        between = time.perf_counter()
        features.features(maps, proposals[sample.image_id].xyxy[: max_proposals or None])
        seconds[0] += between - start
        seconds[1] += time.perf_counter() - between
        n_bytes += sum(level.nbytes for level in maps.levels)
    return seconds[0] / len(samples), seconds[1] / len(samples), n_bytes / len(samples)


def _stored_bytes(boxes: dict[str, Boxes]) -> float:
    """What one image takes in a store."""
    with tempfile.TemporaryDirectory() as folder:
        BoxStore(folder, {}).fill(list(boxes), lambda ids: ((i, boxes[i]) for i in ids), "measure")
        return sum(path.stat().st_size for path in Path(folder).rglob("*.parquet")) / max(1, len(boxes))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())


if __name__ == "__main__":
    main()
