"""What is sampled with a seed: a generator for an image, some of the images, a part of them held out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from wsdet import check


def image_generator(image_id: str, seed: int) -> np.random.Generator:
    """A generator for one image, whatever other images there are and in which order they come."""
    digest = hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def limited(ids: Sequence[str], limit: int, seed: int) -> tuple[str, ...]:
    """At most `limit` of `ids` (0: all).

    A larger limit adds images to those that a smaller one sampled, so results can grow.

    Raises:
        InputError: `limit` is negative.
    """
    check.at_least(0, limit=limit)
    if not limit or limit >= len(ids):
        return tuple(ids)
    return tuple(ids[i] for i in np.random.default_rng(seed).permutation(len(ids))[:limit])


def held_out(ids: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """The images to train on, one or more, and a `share` of them, rounded up, held out; both in the order of `ids`."""
    n = min(math.ceil(share * len(ids)), max(len(ids) - 1, 0))
    order = np.random.default_rng(seed).permutation(len(ids))
    return [ids[i] for i in np.sort(order[n:])], [ids[i] for i in np.sort(order[:n])]
