"""A folder of photos: one sub-folder a class. Nothing else is needed.

<root>/cat/*.jpg, <root>/dog/*.jpg ...                              split by seed, or
<root>/train/cat/*.jpg ..., <root>/val/cat/*.jpg ...                with train_split=train test_split=val
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from wsdet.data.annotations import class_indices
from wsdet.data.copies import equal_pixels
from wsdet.data.image_files import ImageFiles, Unlabeled
from wsdet.data.images import MAX_PIXELS
from wsdet.data.paths import existing_folder, image_names
from wsdet.data.splits import split_by_fraction, warn_of_copies
from wsdet.types import InputError

log = logging.getLogger(__name__)

_NAMES_OF_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


class Folder(ImageFiles):
    """Images in one sub-folder a class, at any depth below it; images beside the sub-folders have no label.

    Image ids are paths relative to `root`; classes are the sub-folders' names in alphabetical order. Copies of one
    image in several classes' folders, recognized by their pixels, are a multi-label image: each copy has the labels of
    all. There is no truth.

    Args:
        root: the folder.
        train_split: the folder of the training images in `root`; None splits `root` itself by seed.
        test_split: the folder of the test images, if `train_split` is given.
        test_fraction: without `train_split`, the share of images for the test split, in [0, 1].
        seed: without `train_split`, draws the split. Images of equal content come to one side.
        unlabeled: what an image beside the sub-folders shows.
        max_pixels: larger images are refused.

    Raises:
        InputError: there is no such folder or no image in it, or its sub-folders look like splits, not classes.
        ValueError: `test_fraction` is outside [0, 1], or `test_split` is given without `train_split`.
    """

    def __init__(
        self,
        root: Path | str,
        train_split: str | None = None,
        test_split: str | None = None,
        test_fraction: float = 0.2,
        seed: int = 0,
        unlabeled: Unlabeled = "unknown",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = existing_folder(root, "a folder with one sub-folder a class")
        if train_split is None and test_split is not None:
            raise ValueError(f"test_split={test_split!r} needs train_split, the folder of the training images")
        given = [split for split in (train_split, test_split) if split is not None]
        ids = {split: _image_ids(folder, split) for split in given or [""]}
        class_of = {i: name for split in ids for i in ids[split] if (name := _class_name(i, split))}
        if not given:
            _check_are_classes(folder, set(class_of.values()))
        classes = sorted(set(class_of.values()))
        groups = equal_pixels({i: folder / i for split in ids for i in ids[split]}, max_pixels)
        indices = class_indices(classes)
        labels = _shared_labels(groups, {image_id: indices[name] for image_id, name in class_of.items()}, folder)
        if train_split is None:
            train, test = split_by_fraction(groups, labels, test_fraction, seed)
        else:
            train, test = ids[train_split], ids[test_split] if test_split else []
            warn_of_copies(groups, train, test, str(folder))
        super().__init__(
            name=str(folder),
            classes=classes,
            train=train,
            test=test,
            path_of=folder.joinpath,
            labels=labels,
            truth={},
            max_pixels=max_pixels,
            unlabeled=unlabeled,
        )


def _image_ids(folder: Path, split: str) -> list[str]:
    """Images in `folder`/`split`, named relative to `folder`; all of `folder` for the split ""."""
    within = existing_folder(folder / split, "a folder that holds those of train_split and test_split")
    return [f"{split}/{name}" if split else name for name in image_names(within)]


def _class_name(image_id: str, split: str) -> str | None:
    """The sub-folder an image lies in; None for an image beside the sub-folders."""
    parts = PurePosixPath(image_id).relative_to(split).parts
    return parts[0] if len(parts) > 1 else None


def _check_are_classes(folder: Path, names: set[str]) -> None:
    if names and names <= _NAMES_OF_SPLITS:
        raise InputError(
            f"{folder}: the sub-folders {', '.join(sorted(names))} look like splits, not classes; "
            "give data.train_split=NAME data.test_split=NAME"
        )


def _shared_labels(groups: Sequence[Sequence[str]], own: Mapping[str, int], folder: Path) -> dict[str, set[int]]:
    """The labels of each image: those of all images of its group."""
    labels: dict[str, set[int]] = {}
    joined = []
    for group in groups:
        together = {own[image_id] for image_id in group if image_id in own}
        labels |= dict.fromkeys(group, together)
        if len(together) > 1:
            joined.append(group)
    if joined:
        log.warning(
            "%s: %d photos lie in the folders of several classes; each copy has the labels of all: %s for one",
            folder,
            len(joined),
            " and ".join(repr(image_id) for image_id in joined[0][:3]),
        )
    return labels
