"""`ImageFiles`: a dataset whose images are files. Each reader works out what this holds from its layout on disk."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar, get_args

from wsdet import check
from wsdet.data.annotations import Checked
from wsdet.data.images import read_image
from wsdet.data.splits import equal_content, split_by_fraction
from wsdet.types import Boxes, InputError, Sample, Split

log = logging.getLogger(__name__)

Value = TypeVar("Value")

Unlabeled = Literal["unknown", "background", "error"]
"""What an image without a label shows. unknown: nobody has looked, it is left out of training on labels; background:
none of the classes, it is a negative example of each; error: there should be no such image."""

_CACHED = 20_000  # annotations kept in memory: about 20 MB of boxes
_NAMED = 5  # images with a bad annotation that are said one by one


class LazyMapping(Mapping[str, Value]):
    """Values that are read when they are asked for, and then kept for a while.

    Args:
        keys: every key that has a value, in order.
        read: gives the value of a key; what it raises comes out of `mapping[key]` each time. A function of a module,
            not a closure: datasets are sent to other processes.
    """

    def __init__(self, keys: Iterable[str], read: Callable[[str], Value]) -> None:
        self._keys = dict.fromkeys(keys)
        self._read = read
        self._kept: dict[str, Value] = {}

    def __getitem__(self, key: str) -> Value:
        if key not in self._keys:
            raise KeyError(key)
        if key in self._kept:
            return self._kept[key]
        if len(self._kept) >= _CACHED:
            self._kept = {}
        value = self._kept[key] = self._read(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:  # Mapping's would read the value to find out
        return key in self._keys


class Truth(Mapping[str, Boxes]):
    """The ground-truth boxes of images, each checked when it is asked for.

    Args:
        keys: every image that has an annotation, in order.
        read: gives what `wsdet.data.annotations.boxes_in_image` says of an image; see `LazyMapping`.
    """

    def __init__(self, keys: Iterable[str], read: Callable[[str], Checked]) -> None:
        self._checked = LazyMapping(keys, read)

    def checked(self, image_id: str) -> Checked:
        """The boxes with the remarks on them."""
        return self._checked[image_id]

    def __getitem__(self, image_id: str) -> Boxes:
        return self._checked[image_id].boxes

    def __iter__(self) -> Iterator[str]:
        return iter(self._checked)

    def __len__(self) -> int:
        return len(self._checked)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._checked


class ImageFiles:
    """A `wsdet.types.Dataset` over files.

    An image whose annotation cannot be used has no label, and `load` raises: a stage records it as failed, with the
    reason, and goes on.

    Args:
        name: what messages call the dataset, such as its folder.
        classes: class names.
        train: image ids of the training split.
        test: image ids of the test split.
        path_of: gives the file of an image id, such as `folder.joinpath`.
        labels: class indices by image id; an absent image has no label. Reading one may raise `InputError`.
        truth: ground-truth boxes by image id; an image without annotation is absent.
        max_pixels: larger images are refused.
        unlabeled: what an image without a label shows, see `Unlabeled`.

    Raises:
        InputError: there is no image at all, a class name comes twice or is empty, an image is in both splits, or
            there are images without a label although `unlabeled` is error, or it is none of its values.
    """

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        train: Iterable[str],
        test: Iterable[str],
        path_of: Callable[[str], Path],
        labels: Mapping[str, Iterable[int]],
        truth: Mapping[str, Boxes],
        max_pixels: int,
        unlabeled: Unlabeled = "unknown",
    ) -> None:
        self._classes = tuple(classes)
        self._ids: dict[Split, dict[str, None]] = {"train": dict.fromkeys(train), "test": dict.fromkeys(test)}
        self._path_of = path_of
        self._labels = labels
        self._truth = truth
        self._max_pixels = max_pixels
        self._unlabeled = unlabeled
        self._bad: set[str] = set()
        self._check(name)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self._classes

    @property
    def truth(self) -> Mapping[str, Boxes]:
        """Ground-truth boxes by image id, each read when it is asked for; an image without annotation is absent.

        Raises:
            InputError: on reading an image's boxes, when its annotation cannot be used.
        """
        return self._truth

    def ids(self, split: Split) -> tuple[str, ...]:
        """Image ids of a split, in a fixed order."""
        check.one_of(self._ids, split=split)
        return tuple(self._ids[split])

    def labels(self, image_id: str) -> tuple[int, ...]:
        """Sorted labels of an image, without reading its pixels; empty when it has none or they cannot be read."""
        self._check_known(image_id)
        try:
            return self._read_labels(image_id)
        except InputError as error:
            self._say_bad(image_id, error)
            return ()

    def is_background(self, image_id: str) -> bool:
        """Whether an image is known to show none of the classes: it has no label, and `unlabeled` is background."""
        self._check_known(image_id)
        try:
            return self._unlabeled == "background" and not self._read_labels(image_id)
        except InputError:  # nothing is known of it
            return False

    def path(self, image_id: str) -> Path:
        """The image's file."""
        self._check_known(image_id)
        return self._path_of(image_id)

    def load(self, image_id: str) -> Sample:
        """The image.

        Raises:
            InputError: the file is missing, is not an image that can be read, or is too large, or its annotation
                cannot be used.
        """
        return Sample(image_id, read_image(self.path(image_id), self._max_pixels), self._read_labels(image_id))

    def with_test_split(self, test_fraction: float, seed: int) -> ImageFiles:
        """The same data, its training images divided by seed; images of equal content come to one side.

        Args:
            test_fraction: the share of images for the test split, in [0, 1].
            seed: draws the split.
        """
        ids = self.ids("train")
        groups = equal_content({image_id: self.path(image_id) for image_id in ids})
        labels = {image_id: self.labels(image_id) for image_id in ids}
        train, test = split_by_fraction(groups, labels, test_fraction, seed)
        divided = copy.copy(self)
        divided._ids = {"train": dict.fromkeys(train), "test": dict.fromkeys(test)}
        return divided

    def _read_labels(self, image_id: str) -> tuple[int, ...]:
        return tuple(sorted(set(self._labels.get(image_id, ()))))

    def _say_bad(self, image_id: str, error: InputError) -> None:
        if image_id in self._bad:
            return
        self._bad.add(image_id)
        if len(self._bad) <= _NAMED:
            log.warning("image %r counts as a failed one: %s", image_id, error)
        elif len(self._bad) == _NAMED + 1:
            log.warning("more images have an annotation that cannot be used; failed.json of a stage names each")

    def _check(self, name: str) -> None:
        check.one_of(get_args(Unlabeled), unlabeled=self._unlabeled)
        if not self._ids["train"] and not self._ids["test"]:
            raise InputError(f"{name} has no images; check data.root and the layout that this data= reads")
        repeated = [class_name for class_name, n in Counter(self._classes).items() if n > 1 or not class_name.strip()]
        if repeated:
            raise InputError(
                f"{name}: class names must be unique and not empty, got {repeated[0]!r} in {self._classes}"
            )
        both = self._ids["train"].keys() & self._ids["test"].keys()
        if both:
            raise InputError(
                f"{name}: {len(both)} images are in the training and the test split, {min(both)!r} for one; "
                "an image may be in one split only"
            )
        if self._unlabeled == "error":
            bare = [image_id for ids in self._ids.values() for image_id in ids if not self.labels(image_id)]
            if bare:
                raise InputError(
                    f"{name}: {len(bare)} images have no label, {bare[0]!r} for one; label them, or say what they "
                    "show by data.unlabeled=background (none of the classes) or unknown"
                )

    def _check_known(self, image_id: str) -> None:
        if image_id not in self._ids["train"] and image_id not in self._ids["test"]:
            raise KeyError(f"{image_id!r} is not an image of this dataset")
