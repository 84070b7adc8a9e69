"""What a dataset holds in a few words, and what looks wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from wsdet.data.image_files import ImageFiles, Truth
from wsdet.data.splits import equal_content
from wsdet.types import InputError

_LOOKED_AT = 300  # images that are opened
_NEAR_CONSTANT = 2.0  # standard deviation of the pixels, of 255
_BOXES_LOOKED_AT = 5_000  # images whose boxes are read, for which the header is opened
_NAMED = 12  # classes that are counted by name


def describe(dataset: ImageFiles) -> tuple[str, list[str]]:
    """The number of images by split and class, and warnings.

    Labels are read from annotations; one that cannot be used leaves its image without labels here.
    """
    train, test = dataset.ids("train"), dataset.ids("test")
    labels = {image_id: dataset.labels(image_id) for image_id in [*train, *test]}
    counts = Counter(label for of_image in labels.values() for label in of_image)
    boxed = sum(image_id in dataset.truth for image_id in labels)
    found = (
        f"{len(train)} images to train and {len(test)} to test on, {len(dataset.classes)} classes"
        f"{_by_class(dataset.classes, counts)}, {sum(not of_image for of_image in labels.values())} images without a "
        f"label{_shows(dataset, labels)}, {boxed} with ground-truth boxes (for evaluation only)"
    )
    return found, list(_warnings(dataset, list(labels), counts))


def _shows(dataset: ImageFiles, labels: Mapping[str, tuple[int, ...]]) -> str:
    background = sum(not of_image and dataset.is_background(image_id) for image_id, of_image in labels.items())
    return f" ({background} of them background, negative examples of every class)" if background else ""


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
    looked_at = _spread(ids, _LOOKED_AT)
    plain, unreadable = _look(dataset, looked_at)
    yield from _remarks(dataset, ids)
    for images, what in ((plain, "are of nearly one color"), (unreadable, "cannot be read")):
        if images:
            yield f"{len(images)} of {len(looked_at)} images that were looked at {what}, {images[0]!r} for one"


def _remarks(dataset: ImageFiles, ids: Sequence[str]) -> Iterator[str]:
    """What is wrong with boxes, in the images whose boxes are looked at."""
    boxed = [image_id for image_id in ids if image_id in dataset.truth]
    left_out: list[str] = []
    resized: list[str] = []
    unusable: list[str] = []
    for image_id in (looked_at := _spread(boxed, _BOXES_LOOKED_AT)):
        try:
            checked = dataset.truth.checked(image_id) if isinstance(dataset.truth, Truth) else None
        except InputError as error:
            unusable.append(str(error))
        else:
            left_out += checked.left_out if checked else ()
            resized += [checked.resized] if checked and checked.resized else []
    for remarks, what in (
        (left_out, "boxes are left out"),
        (resized, "images have another size than their annotation says"),
        (unusable, "annotated images have no box that can be used"),
    ):
        if remarks:
            yield f"{len(remarks)} {what} (of {len(looked_at)} images that were looked at): {remarks[0]}"


def _spread(ids: Sequence[str], most: int) -> list[str]:
    """At most `n` of `ids`, evenly spaced."""
    return [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, most).astype(int))] if ids else []


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
