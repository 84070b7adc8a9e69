"""A train/test split by seed, with images of equal content on one side."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from wsdet import check
from wsdet.storage.untrusted import opened
from wsdet.types import InputError

log = logging.getLogger(__name__)

TRAIN_NAMES = ("train", "training", "trainval", "default")
TEST_NAMES = ("val", "valid", "validation", "test", "testing")


def named_splits(names: Iterable[str]) -> tuple[str | None, str | None]:
    """Which of `names` are the training and the test split, whatever their capitals; None where there is none.

    "trainval" and "default" train only where nothing is called "train"; "test" is the test split only where there is
    nothing for validation, as what is held back of the training data comes with labels more often.
    """
    by_lower = {name.lower(): name for name in names}
    train, test = (next((by_lower[n] for n in wanted if n in by_lower), None) for wanted in (TRAIN_NAMES, TEST_NAMES))
    return train, test


def split_in_path(path: str) -> str | None:
    """The first folder in a path that is called as a split is: "valid" of "pets/valid/a.jpg"."""
    folders = PurePosixPath(path).parts[:-1]
    return next((name for name in folders if name.lower() in (*TRAIN_NAMES, *TEST_NAMES)), None)


def equal_content(paths: Mapping[str, Path]) -> list[tuple[str, ...]]:
    """Image ids in groups of equal file content, in the order of `paths`.

    Only files of equal size are read. A file that cannot be read is a group of its own; reading it as an image will
    say why.
    """
    by_size: dict[int, list[str]] = defaultdict(list)
    for image_id, path in paths.items():
        by_size[_size(path)].append(image_id)
    groups: dict[str, list[str]] = defaultdict(list)
    for image_id, path in paths.items():
        unique = len(by_size[_size(path)]) == 1
        groups[f"alone {image_id}" if unique else _digest(path, image_id)].append(image_id)
    return [tuple(group) for group in groups.values()]


def split_by_fraction(
    groups: Sequence[Sequence[str]], labels: Mapping[str, Iterable[int]], test_fraction: float, seed: int
) -> tuple[list[str], list[str]]:
    """Training and test ids, no group in both, each combination of labels in both in its share.

    Groups are ordered by their labels, at random within them, and the test split takes evenly spaced ones: exactly
    its share in total, and of each combination of labels its share up to one group, however rare it is.

    Args:
        groups: image ids that belong together.
        labels: class indices by image id.
        test_fraction: in [0, 1], the share of groups for the test split.
        seed: draws the split.

    Raises:
        InputError: `test_fraction` is outside [0, 1].
    """
    check.share(test_fraction=test_fraction)
    rng = np.random.default_rng(seed)
    shuffled = [groups[i] for i in rng.permutation(len(groups))]
    ordered = sorted(shuffled, key=lambda group: sorted({label for i in group for label in labels.get(i, ())}))
    reached = np.floor(np.arange(len(groups) + 1) * test_fraction + 0.5)
    to_test = {image_id for group, step in zip(ordered, np.diff(reached), strict=True) if step for image_id in group}
    ids = [image_id for group in groups for image_id in group]
    return sorted(i for i in ids if i not in to_test), sorted(to_test)


def without_twin(train: Iterable[str], test: Iterable[str], name: str) -> list[str]:
    """The test images; none where they are the training images named twice, as small example sets do, which is said."""
    test = list(test)
    if test and set(test) == set(train):
        log.warning("%s: its training and its test split are the same images: they are training images", name)
        return []
    return test


def warn_of_copies(groups: Iterable[Sequence[str]], train: Iterable[str], test: Iterable[str], name: str) -> None:
    """Logs how many test images are copies of training images, which a given split does not keep apart."""
    trained_on, tested = set(train), set(test)
    copies = [i for group in groups if not trained_on.isdisjoint(group) for i in group if i in tested]
    if copies:
        log.warning("%s: %d test images are copies of training images, %r for one", name, len(copies), copies[0])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _digest(path: Path, image_id: str) -> str:
    try:
        with opened(path) as file:  # not a pipe, which would block
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except InputError:
        return f"unreadable {image_id}"
