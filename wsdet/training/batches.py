"""What a training is fed with: batches in an order sampled with (seed, epoch), shared out among its processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, DistributedSampler


class Batches(pl.LightningDataModule):
    """The examples of a training and of its validation, as Lightning asks for them.

    The order depends on the seed and the epoch alone, so that a training that was killed goes on as it would have.

    Args:
        train: the examples; where several processes train, each sees a share of them, and all see equally many.
        validation: what is measured on, by each process in the order it has; empty: nothing is.
        batch_size: examples of a step and process; None: an example is a batch already.
        collate: makes one batch of a list of examples; None: torch's own.
        seed: of the order.
        workers: processes that read examples; 0: the training's own.
        drop_last: leave out a last batch that is smaller, where there is a whole one.
    """

    def __init__(
        self,
        train: Dataset[Any] | Sequence[Any],
        validation: Dataset[Any] | Sequence[Any] = (),
        *,
        batch_size: int | None,
        collate: Callable[[list[Any]], Any] | None = None,
        seed: int = 0,
        workers: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__()
        self.train, self.validation = cast(Sequence[Any], train), cast(Sequence[Any], validation)
        self.batch_size = batch_size
        self.collate = collate
        self.seed = seed
        self.workers = workers
        self.drop_last = drop_last

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches to learn from; Lightning tells the sampler the epoch."""
        trainer = cast(pl.Trainer, self.trainer)
        examples = cast(Dataset[Any], self.train)
        order: DistributedSampler[Any] = DistributedSampler(
            examples, trainer.world_size, trainer.global_rank, seed=self.seed
        )
        one_batch = (self.batch_size or 1) * trainer.world_size
        return self._loader(examples, sampler=order, drop_last=self.drop_last and len(self.train) >= one_batch)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Batches to measure on."""
        return self._loader(cast(Dataset[Any], self.validation)) if len(self.validation) else []

    def _loader(self, examples: Dataset[Any], **options: Any) -> DataLoader[Any]:
        return DataLoader(
            examples,
            self.batch_size,
            collate_fn=self.collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            **options,
        )
