from __future__ import annotations

from pathlib import Path

import pytest

from wsdet.storage.shard import Shard
from wsdet.types import InputError


def test_every_image_is_in_one_shard_by_parts() -> None:
    ids = [f"{i}" for i in range(23)]
    own = [Shard(number, 3, Path()).own(ids, 4) for number in range(3)]
    assert own[1] == ["4", "5", "6", "7", "16", "17", "18", "19"]
    assert sorted([*own[0], *own[1], *own[2]], key=int) == ids


def test_text_says_which(tmp_path: Path) -> None:
    shard = Shard.of_text("2/8", tmp_path)
    assert (shard.number, shard.of, shard.own_folder) == (2, 8, tmp_path / "shards" / "2-of-8")


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "0/0", "1/2/3", "a/b", "1 / 2", "../2"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="shard must be i/n with i from 0 to n - 1, such as 0/8"):
        Shard.of_text(text, Path())
