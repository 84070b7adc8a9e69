"""What a run would cost, measured by its stages on a few images; nothing is left behind."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wsdet.report.text_tables import table
from wsdet.stages.experiment import Experiment
from wsdet.stages.network import NetworkOptions, untrained
from wsdet.stages.recipe import Recipe, with_localized
from wsdet.stages.run import Run
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, InputError

if TYPE_CHECKING:
    from wsdet.networks.classifier import Network

MEASURED = 8  # images
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


def plan(run: Run, experiment: Experiment, options: NetworkOptions, classifier_only: bool = False) -> list[Stage]:
    """Measures each stage of a run on a few of its images.

    Args:
        run: the run; its own network is not asked for.
        experiment: what it does.
        options: of its network.
        classifier_only: the run trains the classifier, and stops there.

    Raises:
        InputError: the configuration is not possible, or none of the images can be read.
    """
    from wsdet.detectors.neural.trainer import TorchvisionDetectors

    n_train, n_test = len(run.train_ids), len(run.test_ids)
    samples = _samples(run)
    network, is_trained = _network(run, options)
    stages = []
    if is_trained or classifier_only:
        training = options.training
        seconds = _seconds_of_training(network, training.head_only)
        stages.append(Stage("train the classifier", n_train, seconds, passes=training.epochs))
    if classifier_only:
        return stages
    proposals, proposing = _proposed(run, samples, experiment.proposals, network)
    known, localizer = {}, experiment.localizer
    if "source" in localizer.settings:  # it looks at proposals, which a run makes beforehand
        looked_at, source = proposals, localizer.part("source", f"for_{localizer.name}")
        if source.settings != experiment.proposals.settings:
            looked_at, before = _proposed(run, samples, source, network)
            stages += [stage._replace(images=n_train) for stage in before]
        known["source"] = _Known(looked_at)
    learns = localizer.settings.get("weights") == "labels"  # what it learns does not change what it costs
    untrained_weights = {"weights": None} if learns else {}
    found, seconds = _localized(run, samples, localizer.build(**known, **untrained_weights), network)
    stages.append(Stage(f"localize, {localizer.name}", n_train, seconds, _stored_bytes(found)))
    trainer, n_detectors = experiment.detector.build(), len(experiment.positives.train_on)
    if trainer.needs_proposals:
        stages += [stage._replace(images=n_train + n_test) for stage in proposing]
    if isinstance(trainer, TorchvisionDetectors):
        neural = trainer.costs(network, samples, len(run.dataset.classes))
        passes = neural.epochs * n_detectors
        stages.append(Stage("train the detectors", n_train, neural.step_seconds, passes=passes))
        stages.append(Stage("detect", n_test, neural.detect_seconds, passes=n_detectors))
        return stages
    costs = trainer.costs(network)
    maps, described, n_bytes = _described(samples, proposals, costs.features, costs.max_proposals)
    kept = min(n_bytes, costs.cache_gigabytes * 1e9 / max(1, n_train))
    stages.append(Stage("feature maps", n_train, maps, kept))
    if learns:
        passes = run.region_classifier.epochs
        stages.append(Stage("train the region classifier", n_train, described, passes=passes))
    stages.append(Stage("train the detectors", n_train, described, passes=costs.passes))
    stages.append(Stage("detect", n_test, maps + described))
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


def _samples(run: Run) -> list[Any]:
    from wsdet.data.loading import load_samples

    samples = []
    for _, sample in load_samples(run.dataset, run.train_ids):
        if not isinstance(sample, InputError):
            samples.append(sample)
        if len(samples) == MEASURED:
            return samples
    if not samples:
        raise InputError("none of the training images can be read; see python -m wsdet.localize for the reasons")
    return samples


def _network(run: Run, options: NetworkOptions) -> tuple[Network, bool]:
    """The network, and whether the run would train it first; what it answers does not matter here."""
    from wsdet.networks.classifier import Network

    if options.head != "finetune":
        return run.network, False
    outputs = [[label] for label in range(len(run.dataset.classes))]
    backbone = untrained(options, run.dataset, run.execution.seed)
    activation = options.activation
    return Network(backbone, outputs, activation, options.device, options.precision, options.incremental), True


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


def _localized(run: Run, samples: Sequence[Any], localizer: Any, network: Network) -> tuple[dict[str, Boxes], float]:
    """Boxes by image id, and the seconds of one image."""
    from wsdet.engine import localize_all

    start = time.perf_counter()
    named = [(sample.image_id, sample) for sample in samples]
    found = dict(localize_all(named, localizer, network, run.execution.batch_size, run.execution.in_flight))
    seconds = (time.perf_counter() - start) / len(samples)
    return {image_id: boxes for image_id, boxes in found.items() if isinstance(boxes, Boxes)}, seconds


def _proposed(
    run: Run, samples: Sequence[Any], recipe: Recipe, network: Network
) -> tuple[dict[str, Boxes], list[Stage]]:
    """Proposals by image id, and the stages that make them, of one image each: a localizer may have to run first."""
    stages: list[Stage] = []
    with tempfile.TemporaryDirectory() as folder:

        def localizer_boxes(localizer: Recipe) -> Path:
            found, seconds = _localized(run, samples, localizer.build(), network)
            stages.append(Stage(f"localize, {localizer.name}", 1, seconds, _stored_bytes(found)))
            store = BoxStore(Path(folder) / localizer.name, {})
            store.fill(list(found), lambda ids: ((i, found[i]) for i in ids), "measure")
            return store.folder

        source = with_localized(recipe, localizer_boxes).build()
        start = time.perf_counter()
        proposals = {sample.image_id: source.propose(sample) for sample in samples}
    workers = max(1, min(run.execution.workers, os.cpu_count() or 1))
    seconds = (time.perf_counter() - start) / len(samples) / workers
    return proposals, [*stages, Stage(f"propose, {recipe.name}", 1, seconds, _stored_bytes(proposals))]


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
