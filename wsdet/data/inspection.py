"""What a dataset holds in a few words, and what looks wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from wsdet.data.image_files import ImageFiles
from wsdet.data.splits import equal_content
from wsdet.types import InputError

_LOOKED_AT = 300  # images that are opened
_NEAR_CONSTANT = 2.0  # standard deviation of the pixels, of 255
_NAMED = 12  # classes that are counted by name


def describe(dataset: ImageFiles) -> tuple[str, list[str]]:
    """The number of images by split and class, and warnings.

    Labels are read from annotations; one that cannot be read leaves its image without labels here.
    """
    train, test = dataset.ids("train"), dataset.ids("test")
    labels = {image_id: _labels(dataset, image_id) for image_id in [*train, *test]}
    counts = Counter(label for of_image in labels.values() for label in of_image)
    boxed = sum(image_id in dataset.truth for image_id in labels)
    found = (
        f"{len(train)} images to train and {len(test)} to test on, {len(dataset.classes)} classes"
        f"{_by_class(dataset.classes, counts)}, {sum(not of_image for of_image in labels.values())} images without a "
        f"label, {boxed} with true boxes (for evaluation only)"
    )
    return found, list(_warnings(dataset, list(labels), counts))


def _labels(dataset: ImageFiles, image_id: str) -> tuple[int, ...]:
    try:
        return dataset.labels(image_id)
    except InputError:  # said by whoever needs the image
        return ()


def _by_class(classes: Sequence[str], counts: Counter[int]) -> str:
    if not classes:
        return ""
    named = [f"{name} {counts[label]}" for label, name in enumerate(classes[:_NAMED])]
    more = f", and {len(classes) - _NAMED} more" if len(classes) > _NAMED else ""
    return f" ({', '.join(named)}{more})"


def _warnings(dataset: ImageFiles, ids: Sequence[str], counts: Counter[int]) -> Iterator[str]:
    classes = dataset.classes
    if not counts:
        yield "no image has a label; a localizer that needs none, such as stl_wl, still finds boxes"
    elif len(counts) == 1:
        name = classes[next(iter(counts))]
        yield f"every label is {name!r}; a classifier needs images of something else to learn from"
    empty = [name for label, name in enumerate(classes) if not counts[label]]
    if empty and counts:
        yield f"{len(empty)} classes have no image, {empty[0]!r} for one"
    copies = [group for group in equal_content({i: dataset.path(i) for i in ids}) if len(group) > 1]
    if copies:
        n_copies, test = sum(len(group) - 1 for group in copies), set(dataset.ids("test"))
        astride = sum(0 < len(test.intersection(group)) < len(group) for group in copies)
        yield (
            f"{n_copies} images are copies of others, {copies[0][0]!r} and {copies[0][1]!r} for one"
            + (f"; {astride} are in the training and in the test split" if astride else "")
        )
    looked_at = [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, _LOOKED_AT).astype(int))]
    plain, unreadable = _look(dataset, looked_at)
    for images, what in ((plain, "are of nearly one color"), (unreadable, "cannot be read")):
        if images:
            yield f"{len(images)} of {len(looked_at)} images that were looked at {what}, {images[0]!r} for one"


def _look(dataset: ImageFiles, ids: Sequence[str]) -> tuple[list[str], list[str]]:
    plain, unreadable = [], []
    for image_id in ids:
        try:
            pixels = dataset.load(image_id).pixels
        except InputError:
            unreadable.append(image_id)
        else:
            if pixels.std() < _NEAR_CONSTANT:
                plain.append(image_id)
    return plain, unreadable
