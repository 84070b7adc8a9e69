"""How examples are shared out among processes and epochs."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest

from wsdet.training.batches import Batches


def seen(batches: Batches, epoch: int = 0, rank: int = 0, processes: int = 1) -> list[list[int]]:
    """The batches of one process, as Lightning would ask for them."""
    batches.trainer = SimpleNamespace(world_size=processes, global_rank=rank)  # type: ignore[assignment]
    loader = batches.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [batch.tolist() for batch in loader]


def test_every_epoch_shows_all_examples_in_an_order_of_its_own_that_the_seed_decides() -> None:
    first, second = (seen(Batches(range(7), batch_size=3), epoch) for epoch in (0, 1))
    assert [len(batch) for batch in first] == [3, 3, 1]
    assert sorted(chain(*first)) == sorted(chain(*second)) == [*range(7)]
    assert first != second
    assert first == seen(Batches(range(7), batch_size=3))
    assert first != seen(Batches(range(7), batch_size=3, seed=1))


def test_processes_share_the_examples_and_all_see_equally_many() -> None:
    shares = [[*chain(*seen(Batches(range(7), batch_size=2), rank=rank, processes=2))] for rank in (0, 1)]
    assert [len(share) for share in shares] == [4, 4]
    assert {*shares[0], *shares[1]} == {*range(7)}


@pytest.mark.parametrize(("n", "expected"), [(7, [3, 3]), (2, [2])])
def test_a_last_batch_is_left_out_where_there_is_a_whole_one(n: int, expected: list[int]) -> None:
    assert [len(batch) for batch in seen(Batches(range(n), batch_size=3, drop_last=True))] == expected


def test_an_example_can_be_a_batch_and_validation_keeps_its_order() -> None:
    both: Any = Batches([[1, 2]], [[3], [4]], batch_size=None)
    both.trainer = SimpleNamespace(world_size=2, global_rank=1)
    assert list(both.train_dataloader()) == [[1, 2]]
    assert list(both.val_dataloader()) == [[3], [4]]
    assert Batches([1], batch_size=1).val_dataloader() == []
