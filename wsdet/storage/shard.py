"""`Shard`: which parts of a run's stores one of several processes fills, all of them in one folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from wsdet.storage.lock import check_writable, locked
from wsdet.types import InputError


@dataclass(frozen=True)
class Shard:
    """One of several processes that fill the same stores, each the parts whose number leaves `number` divided by `of`.

    Attributes:
        number: from 0 to `of` - 1.
        of: how many there are.
        folder: what they keep beside the stores: a folder for each of them, and locks.
    """

    number: int
    of: int
    folder: Path

    @classmethod
    def of_text(cls, text: str, out: Path) -> Shard:
        """The shard that "i/n" names, of a run in the folder `out`.

        Raises:
            InputError: it names none.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not found or not int(found[1]) < int(found[2]):
            raise InputError(f"shard must be i/n with i from 0 to n - 1, such as 0/8, or null for all, got {text!r}")
        return cls(int(found[1]), int(found[2]), out / "shards")

    @property
    def own_folder(self) -> Path:
        """Its lock and times."""
        return self.folder / f"{self.number}-of-{self.of}"

    def has(self, part: int) -> bool:
        """Whether it fills the part of this number."""
        return part % self.of == self.number

    def own(self, ids: Iterable[str], part_size: int) -> list[str]:
        """Those of different images that are in its parts, `part_size` images to each."""
        return [image_id for position, image_id in zip(count(), ids) if self.has(position // part_size)]

    @contextmanager
    def alone(self, purpose: str) -> Iterator[None]:
        """Waits until no other shard does the same: what the first has made is there for the others."""
        place = self.folder / purpose
        check_writable(place, "out")
        with locked(place, wait=True):
            yield
