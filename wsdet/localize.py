"""Stage: pseudo-boxes for images, `python -m wsdet.localize data=... localizer=... out=DIR`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsdet.cli import build, entry_point, limited, network_of, settings_of
from wsdet.data.loading import load_samples
from wsdet.engine import Answerer, localize_all
from wsdet.store import BoxStore, FillReport
from wsdet.types import Dataset, Localizer

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def localize(
    dataset: Dataset,
    ids: Sequence[str],
    localizer: Localizer,
    network: Answerer,
    store: BoxStore,
    batch_size: int = 32,
    in_flight: int = 16,
    strict: bool = False,
) -> FillReport:
    """Fills `store` with the boxes that `localizer` finds in the images `ids`.

    Args:
        dataset: holds the images; its truth is not looked at.
        ids: images wanted; those in the store already are left alone.
        localizer: the method.
        network: answers its questions.
        store: receives the boxes.
        batch_size: pictures in one forward pass.
        in_flight: images localized side by side.
        strict: the first bad image raises.

    Raises:
        InputError: with `strict`, an image cannot be read.
    """
    return store.fill(
        ids,
        lambda missing: localize_all(load_samples(dataset, missing), localizer, network, batch_size, in_flight),
        "localize",
        strict,
    )


def _run(cfg: DictConfig) -> None:
    dataset = build(cfg.data, "data")
    ids = [*limited(dataset.ids("train"), cfg.limit, cfg.seed), *limited(dataset.ids("test"), cfg.limit, cfg.seed)]
    network = network_of(cfg, dataset, limited(dataset.ids("train"), cfg.limit, cfg.seed))
    store = BoxStore(
        Path(cfg.out) / "localization" / cfg.names.localizer,
        settings_of(cfg, "data", "localizer") | {"network": network.settings},
    )
    report = localize(
        dataset, ids, build(cfg.localizer, "localizer"), network, store, cfg.batch_size, cfg.in_flight, cfg.strict
    )
    log.info("%d images have boxes, %d failed: %s", report.done + report.kept, len(report.failed), store.folder)


def main() -> None:
    """Entry point."""
    entry_point("localize", _run)


if __name__ == "__main__":
    main()
