"""What is sampled depends on the seed, and on nothing else that changes."""

from __future__ import annotations

import pytest

from wsdet.sampling import held_out, image_generator, limited
from wsdet.types import InputError

IDS = [f"{i:02d}" for i in range(20)]


def test_a_generator_is_the_image_s_own() -> None:
    first, again, other, reseeded = (
        image_generator(name, seed).random(3).tolist() for name, seed in (("a", 0), ("a", 0), ("b", 0), ("a", 1))
    )
    assert first == again
    assert first != other
    assert first != reseeded
    image_generator("\udcff", 0)  # a file's name that is no UTF-8


def test_a_larger_limit_adds_images() -> None:
    few, more = limited(IDS, 5, 0), limited(IDS, 12, 0)
    assert more[:5] == few
    assert len(set(more)) == 12
    assert limited(IDS, 5, 1) != few
    assert limited(IDS, 0, 0) == limited(IDS, 20, 0) == tuple(IDS)
    with pytest.raises(InputError, match="limit must be a whole number of at least 0, got -1"):
        limited(IDS, -1, 0)


@pytest.mark.parametrize(("share", "n"), [(0, 0), (0.1, 2), (0.11, 3), (1, 19)])
def test_a_share_is_held_out_in_the_images_order(share: float, n: int) -> None:
    train, held = held_out(IDS, share, 0)
    assert len(held) == n
    assert train == sorted(train)
    assert held == sorted(held)
    assert sorted([*train, *held]) == IDS
