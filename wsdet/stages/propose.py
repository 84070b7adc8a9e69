"""Class-agnostic boxes of many images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wsdet.runners.job import Runner
from wsdet.runners.local import Local
from wsdet.storage.box_store import BoxStore, FillReport, Outcome
from wsdet.storage.fingerprints import Fingerprints
from wsdet.storage.shard import Shard
from wsdet.types import Boxes, Dataset, InputError, ProposalSource


@dataclass
class ProposeJob:
    """A proposal source at work; see `wsdet.runners.job.Job`."""

    dataset: Dataset
    source: ProposalSource
    chunk_size: int = 8
    n_forward_passes: int = 0

    def packed(self) -> ProposeJob:
        """It travels as it is."""
        return self

    def open(self, worker: int = 0) -> ProposeJob:
        """Nothing has to be made ready."""
        return self

    def __call__(self, ids: Sequence[str]) -> Iterator[tuple[str, Boxes | InputError]]:
        """(image id, its proposals or what is wrong with it)."""
        for image_id in ids:
            try:
                yield image_id, self.source.propose(self.dataset.load(image_id))
            except InputError as error:
                yield image_id, error


def propose(
    dataset: Dataset,
    ids: Sequence[str],
    source: ProposalSource,
    store: BoxStore,
    runner: Runner | None = None,
    strict: bool = False,
    of_labels: bool = False,
    shard: Shard | None = None,
) -> FillReport:
    """Fills `store` with the boxes that `source` proposes for the images `ids` that it does not have as they are.

    The boxes do not depend on the runner. An image that cannot be read, or over which a worker process dies, is
    recorded as failed; what was finished before stays.

    Args:
        dataset: where the images come from.
        ids: images, in the order in which the store keeps them.
        source: what proposes; workers get a copy of it.
        store: where the boxes go.
        runner: where the work is done; None: in this process.
        strict: raise for the first image that fails.
        of_labels: the boxes depend on the images' labels, too.
        shard: see `BoxStore.fill`.

    Raises:
        InputError: with `strict`, an image failed; or worker processes cannot start at all.
    """
    job, where = ProposeJob(dataset, source), runner or Local()

    def produce(missing: Sequence[str]) -> Iterator[Outcome]:
        return where.run(job, missing)

    return store.fill(ids, produce, "propose", strict, Fingerprints(dataset, of_labels), shard)
