"""Why boxes fail: the kind of each pseudo-box and of each detection error, and what each kind costs.

The kinds of detection errors, and mAP with one kind corrected, follow TIDE (Bolya et al., ECCV 2020), with its
thresholds of 0.1 and 0.5. Departures: an error on an object of another class is a confusion at any overlap (TIDE
sets those below 0.5 apart as "both"), and of the objects that a detection touches, the one it overlaps most decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsdet.boxes import area, intersection, iou, union
from wsdet.metrics import average_precision as ap
from wsdet.types import Bools, Boxes, Floats, Ints

BOX_KINDS = ("correct", "part only", "too large", "group of objects", "other object", "wrong place", "no box")
ERROR_KINDS = ("localization", "confusion", "background", "duplicate", "missed")
CORRECT, IGNORED = "correct", "ignored"

_FOUND = 0.5  # IoU above which a box is on an object
_TOUCHED = 0.1  # IoU below which a box has nothing to do with an object
_MOST = 0.75  # share of a box or an object that counts as nearly all of it
_ON_AN_OBJECT = (CORRECT, "localization", "confusion")


@dataclass(frozen=True)
class DiagnosedBox:
    """The first box of a class in an image.

    Attributes:
        image_id: the image.
        label: the class.
        row: the box's index among the boxes of its image; -1 without one.
        iou: its best IoU with an object of the class.
        kind: one of `BOX_KINDS`.
    """

    image_id: str
    label: int
    row: int
    iou: float
    kind: str


@dataclass(frozen=True, eq=False)
class DiagnosedDetections:
    """What became of every detection and of every object that was not found.

    Attributes:
        kinds: by image id, for each detection in its order: "correct", "ignored" or one of `ERROR_KINDS`.
        missed: by image id, (m,) objects that neither a correct detection nor a localization error nor a confusion has.
        counts: by error kind, (classes,) how many; a detection counts for its own label.
        mean_ap: 11-point mAP as it is; NaN without objects.
        mean_ap_without: by error kind, mAP if that kind alone were corrected.
    """

    kinds: dict[str, list[str]]
    missed: dict[str, Bools]
    counts: dict[str, Ints]
    mean_ap: float
    mean_ap_without: dict[str, float]


def diagnose_boxes(
    boxes: Mapping[str, Boxes], truth: Mapping[str, Boxes], labels: Mapping[str, Sequence[int]]
) -> list[DiagnosedBox]:
    """The first box of each class of each image, with its kind.

    Args:
        boxes: boxes by image id, best first; one labeled -1 stands for every class of its image.
        truth: ground-truth boxes by image id, of all classes.
        labels: the classes of each image to look at; those without a ground-truth box are passed over.
    """
    found = []
    for image_id, of_image in labels.items():
        mine, true = boxes.get(image_id, Boxes.empty()), truth[image_id]
        for label in of_image:
            if (true.labels == label).any():
                rows = mine.rows_of(label)[:1]
                kind, overlap = box_kind(mine.xyxy[rows], label, true)
                found.append(DiagnosedBox(image_id, label, int(rows[0]) if len(rows) else -1, overlap, kind))
    return found


def box_kind(xyxy: Floats, label: int, true: Boxes) -> tuple[str, float]:
    """(one of `BOX_KINDS`, best IoU with an object of the class).

    Correct: IoU above 0.5. Group of objects: most of two or more objects, one of them of the class, is inside, and the
    box fits them together. Other object: it overlaps an object of another class more. Too large: most of the object is
    inside. Part only: most of the box is inside the object. Wrong place: none of these.

    Args:
        xyxy: (1, 4) corners, or (0, 4) where there is no box.
        label: its class; `true` has an object of it.
        true: the objects of the image, of all classes.
    """
    if not len(xyxy):
        return "no box", 0.0
    own = true.labels == label
    overlaps, shared = iou(xyxy, true.xyxy)[0], intersection(xyxy, true.xyxy)[0]
    best = float(overlaps[own].max())
    enclosed = shared >= _MOST * np.maximum(area(true.xyxy), 1e-6)
    if best > _FOUND:
        return "correct", best
    if enclosed.sum() > 1 and (enclosed & own).any() and iou(xyxy, _hull(true.xyxy[enclosed]))[0, 0] > _FOUND:
        return "group of objects", best
    if max(overlaps[~own], default=0.0) > max(best, _TOUCHED):
        return "other object", best
    if (enclosed & own).any():
        return "too large", best
    if (shared[own] >= _MOST * max(float(area(xyxy)[0]), 1e-6)).any():
        return "part only", best
    return "wrong place", best


def diagnose_detections(
    detections: Mapping[str, Boxes], truth: Mapping[str, Boxes], ids: Sequence[str], n_classes: int
) -> DiagnosedDetections:
    """The kind of every detection, the objects that were missed, and mAP with each kind of error corrected.

    Corrected: a localization error gets its object's box, a confusion its object's class, unless a better detection
    has that object: then it is taken out, as are detections of the background and duplicates. Missed objects are
    taken out of the objects to find.

    Args:
        detections: scored boxes by image id; every label in [0, n_classes). An image that is absent has none.
        truth: ground-truth boxes by image id. Every one of `ids` must be there.
        ids: the images.
        n_classes: how many classes there are.
    """
    found = {image_id: detections.get(image_id, Boxes.empty()) for image_id in ids}
    matches = ap.match(found, truth, ids, n_classes, _FOUND)
    correct, ignored = _by_image(matches, found)
    kinds, targets, missed = {}, {}, {}
    for image_id in ids:
        kinds[image_id], targets[image_id] = _kinds_of(
            found[image_id], truth[image_id], correct[image_id], ignored[image_id]
        )
        touched = [t for t, kind in zip(targets[image_id], kinds[image_id], strict=True) if kind in _ON_AN_OBJECT]
        missed[image_id] = ~truth[image_id].difficult & ~np.isin(np.arange(len(truth[image_id])), touched)
    return DiagnosedDetections(
        kinds,
        missed,
        _counts(found, truth, kinds, missed, n_classes),
        _mean_ap(matches),
        {
            kind: _mean_ap(
                ap.match(
                    {i: _put_right(kind, found[i], truth[i], kinds[i], targets[i]) for i in ids},
                    {i: truth[i][~missed[i]] if kind == "missed" else truth[i] for i in ids},
                    ids,
                    n_classes,
                    _FOUND,
                )
            )
            for kind in ERROR_KINDS
        },
    )


def _hull(xyxy: Floats) -> Floats:
    hull = xyxy[:1]
    for row in range(1, len(xyxy)):
        hull = union(hull, xyxy[row : row + 1])
    return hull


def _by_image(matches: Sequence[ap.Matches], found: Mapping[str, Boxes]) -> tuple[dict[str, Bools], dict[str, Bools]]:
    """`correct` and `ignored` of the matches, by image id and in the order of the detections there."""
    every = Boxes.concatenate(found.values())
    order = np.lexsort((-every.scores, every.labels))  # that of the matches: by class, then score; stable
    ends = np.cumsum([len(boxes) for boxes in found.values()])
    columns = []
    for name in ("correct", "ignored"):
        column = np.zeros(len(every), bool)
        column[order] = np.concatenate([np.zeros(0, bool), *(getattr(one, name) for one in matches)])
        columns.append(dict(zip(found, np.split(column, ends)[:-1], strict=True)))
    return columns[0], columns[1]


def _kinds_of(found: Boxes, true: Boxes, correct: Bools, ignored: Bools) -> tuple[list[str], Ints]:
    """The kind of each detection of an image, and the object it is on; -1 for none."""
    if not len(true):
        return ["background"] * len(found), np.full(len(found), -1)
    overlaps = iou(found.xyxy, true.xyxy)  # (n, m)
    same = found.labels[:, None] == true.labels[None]
    own, other = np.where(same, overlaps, 0), np.where(same, 0, overlaps)
    best_own, best_other = own.max(axis=1), other.max(axis=1)
    kinds, targets = [], np.full(len(found), -1)
    for row in range(len(found)):
        if correct[row] or ignored[row] or best_own[row] > _FOUND:
            kinds.append(CORRECT if correct[row] else IGNORED if ignored[row] else "duplicate")
            targets[row] = own[row].argmax()
        elif max(best_own[row], best_other[row]) < _TOUCHED:
            kinds.append("background")
        elif best_own[row] >= best_other[row]:
            kinds.append("localization")
            targets[row] = own[row].argmax()
        else:
            kinds.append("confusion")
            targets[row] = other[row].argmax()
    return kinds, targets


def _put_right(kind: str, found: Boxes, true: Boxes, kinds: Sequence[str], targets: Ints) -> Boxes:
    """The detections of an image with one kind of error corrected."""
    wrong = np.array([one == kind for one in kinds], bool)
    if not wrong.any():
        return found
    keep, xyxy, labels = ~wrong, found.xyxy.copy(), found.labels.copy()
    if kind in _ON_AN_OBJECT:
        taken = {int(target) for target, one in zip(targets, kinds, strict=True) if one == CORRECT}
        for row in np.flatnonzero(wrong)[np.argsort(-found.scores[wrong], kind="stable")]:
            target = int(targets[row])
            if target not in taken:
                taken.add(target)
                keep[row], xyxy[row], labels[row] = True, true.xyxy[target], true.labels[target]
    return Boxes(xyxy, found.scores, labels)[keep]


def _counts(
    found: Mapping[str, Boxes],
    truth: Mapping[str, Boxes],
    kinds: Mapping[str, Sequence[str]],
    missed: Mapping[str, Bools],
    n_classes: int,
) -> dict[str, Ints]:
    counts = {kind: np.zeros(n_classes, np.int64) for kind in ERROR_KINDS}
    for image_id, of_image in kinds.items():
        for label, kind in zip(found[image_id].labels, of_image, strict=True):
            if kind in counts:
                counts[kind][label] += 1
        np.add.at(counts["missed"], truth[image_id].labels[missed[image_id]], 1)
    return counts


def _mean_ap(matches: Sequence[ap.Matches]) -> float:
    each = ap.average_precision(matches)
    there = each[~np.isnan(each)]
    return float(there.mean()) if len(there) else float("nan")
