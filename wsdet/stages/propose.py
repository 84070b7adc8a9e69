"""Class-agnostic boxes of many images, computed in parallel processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wsdet.runners.local import in_processes
from wsdet.storage.box_store import BoxStore, FillReport, Outcome
from wsdet.storage.fingerprints import Fingerprints
from wsdet.types import Dataset, ProposalSource


def propose(
    dataset: Dataset,
    ids: Sequence[str],
    source: ProposalSource,
    store: BoxStore,
    workers: int = 2,
    strict: bool = False,
    of_labels: bool = False,
) -> FillReport:
    """Fills `store` with the boxes that `source` proposes for the images `ids` that it does not have as they are.

    The boxes do not depend on `workers`. An image that cannot be read, or over which a worker process dies, is
    recorded as failed; what was finished before stays.

    Args:
        dataset: where the images come from.
        ids: images, in the order in which the store keeps them.
        source: what proposes; workers get a copy of it by pickling.
        store: where the boxes go.
        workers: processes; 0 or 1 computes in this one.
        strict: raise for the first image that fails.
        of_labels: the boxes depend on the images' labels, too.

    Raises:
        InputError: with `strict`, an image failed; or worker processes cannot start at all.
    """

    def produce(missing: Sequence[str]) -> Iterator[Outcome]:
        return in_processes(dataset, missing, source.propose, workers)

    return store.fill(ids, produce, "propose", strict, Fingerprints(dataset, of_labels))
