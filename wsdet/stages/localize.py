"""Pseudo-boxes for images, and figures of what the localizer saw."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from wsdet.data.loading import is_background, load_samples
from wsdet.engine import Answerer, localize_all
from wsdet.formats.contents import added_suffix
from wsdet.formats.masks import coco_masks, write_masks
from wsdet.progress import Bar
from wsdet.questions import Localizer, Note
from wsdet.runners.job import Runner
from wsdet.runners.local import Local
from wsdet.storage.box_store import BoxStore, FillReport, Outcome
from wsdet.storage.files import write_json
from wsdet.storage.fingerprints import Fingerprints
from wsdet.storage.shard import Shard
from wsdet.types import Boxes, Dataset, InputError, Sample, readable

if TYPE_CHECKING:
    from wsdet.networks.classifier import NetworkParts

log = logging.getLogger(__name__)


@dataclass
class LocalizeJob:
    """A localizer at work with a network of its own; see `wsdet.runners.job.Job`."""

    dataset: Dataset
    localizer: Localizer
    network: NetworkParts | Answerer
    batch_size: int
    in_flight: int
    masks: Path | None
    chunk_size: int = 64  # many times `in_flight`, so that batches stay full

    def packed(self) -> LocalizeJob:
        """With the parts of its network, or whatever else answers as it is."""
        return replace(self, network=getattr(self.network, "parts", self.network))

    def open(self, worker: int = 0) -> LocalizeJob:
        """With its network on the device."""
        return replace(self, network=self.network.network(worker)) if hasattr(self.network, "network") else self

    @property
    def n_forward_passes(self) -> int:
        """So far."""
        return getattr(self.network, "n_forward_passes", 0)

    def __call__(self, ids: Sequence[str]) -> Iterator[tuple[str, Boxes | InputError]]:
        """(image id, its boxes or what is wrong with it)."""
        how = (self.localizer, cast(Answerer, self.network), self.batch_size, self.in_flight)
        for image_id, outcome, notes in _with_notes(self.dataset, ids, *how):
            if self.masks is not None:
                made = {note.value["label"]: note.value["mask"] for note in notes if note.name == "mask"}
                write_masks(self.masks, image_id, made, self.dataset.classes)
            yield image_id, outcome


def localize(
    dataset: Dataset,
    ids: Sequence[str],
    localizer: Localizer,
    network: Answerer,
    store: BoxStore,
    batch_size: int = 32,
    in_flight: int = 16,
    strict: bool = False,
    masks: Path | None = None,
    runner: Runner | None = None,
    shard: Shard | None = None,
) -> FillReport:
    """Fills `store` with the boxes that `localizer` finds in the images `ids`.

    Args:
        dataset: holds the images; its ground truth is not looked at.
        ids: images wanted; those in the store already are left alone, unless the image or its labels have changed.
        localizer: the method.
        network: answers its questions.
        store: receives the boxes.
        batch_size: inputs in one forward pass.
        in_flight: images localized side by side.
        strict: the first bad image raises.
        masks: a folder that receives the masks that `localizer` makes beside its boxes, if any.
        runner: where the work is done; None: in this process.
        shard: see `BoxStore.fill`; no list of all masks is written then.

    Raises:
        InputError: `localizer` was trained for another network or other classes; or, with `strict`, an image cannot be
            read.
    """
    if hasattr(localizer, "check"):  # what was trained says what it fits
        localizer.check(dataset.classes, getattr(network, "fingerprint", ""))
    where = runner or Local()
    job = LocalizeJob(dataset, localizer, network, batch_size, in_flight, masks)

    def produce(missing: Sequence[str]) -> Iterator[Outcome]:
        background = {image_id for image_id in missing if is_background(dataset, image_id)}
        found = iter(where.run(job, [image_id for image_id in missing if image_id not in background]))
        for image_id in missing:  # on background there is nothing that could be found
            yield (image_id, Boxes.empty()) if image_id in background else next(found)
        yield from found  # none is left, but the runner counts its work after the last

    report = store.fill(ids, produce, "localize", strict, Fingerprints(dataset, labels=True), shard)
    if masks is not None and shard is None:
        there = [image_id for image_id in ids if image_id in store]
        coco = coco_masks(masks, there, dataset.classes, store.folder.name)
        write_json(masks.with_suffix(".json"), coco)
        log.info("%d masks: %s", len(coco["annotations"]), masks)
    return report


def visualize(
    dataset: Dataset,
    ids: Sequence[str],
    localizer: Localizer,
    network: Answerer,
    folder: Path,
    batch_size: int = 32,
    in_flight: int = 16,
) -> None:
    """Draws what `localizer` sees in the images `ids`, one PNG each in `folder`, with any ground-truth boxes.

    The images are localized again for it; those whose figure is there already are left alone.
    """
    from wsdet.report.evidence import draw_evidence

    missing = [image_id for image_id in ids if not _figure_path(folder, image_id).exists()]
    for image_id, found, notes in Bar(
        _with_notes(dataset, missing, localizer, network, batch_size, in_flight),
        desc="visualize",
        total=len(missing),
        unit="image",
    ):
        if isinstance(found, Boxes):
            path, true = _figure_path(folder, image_id), _true_boxes(dataset, image_id)
            draw_evidence(path, dataset.load(image_id), notes, found, true, dataset.classes)
    log.info("the evidence of %d images: %s", len(ids), folder)


def sizes_of_ground_truth(dataset: Dataset, ids: Sequence[str]) -> Iterator[tuple[Boxes, tuple[int, int]]]:
    """(ground-truth boxes, height and width) of those of the images `ids` that have any and can be read."""
    for image_id, sample in load_samples(dataset, ids):
        true = _true_boxes(dataset, image_id)
        if true and isinstance(sample, Sample):
            yield true, sample.size_hw


def _with_notes(
    dataset: Dataset, ids: Sequence[str], localizer: Localizer, network: Answerer, batch_size: int, in_flight: int
) -> Iterator[tuple[str, Boxes | InputError, list[Note]]]:
    """(image id, its outcome, what its dialogue noted) in the order of `ids`."""
    notes: defaultdict[str, list[Note]] = defaultdict(list)
    for image_id, outcome in localize_all(
        load_samples(dataset, ids),
        localizer,
        network,
        batch_size,
        in_flight,
        look_on=lambda image_id, note: notes[image_id].append(note),
    ):
        yield image_id, outcome, notes.pop(image_id, [])


def _figure_path(folder: Path, image_id: str) -> Path:
    return folder / added_suffix(image_id, ".png")


def _true_boxes(dataset: Dataset, image_id: str) -> Boxes | None:
    return dict(readable(dataset.truth, [image_id], "counts as one without ground-truth boxes")).get(image_id)
