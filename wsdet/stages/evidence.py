"""What a localizer's boxes show without ground truth: some images are looked at again, mirrored, in part and occluded.

The cost is bounded: at most `n_images` images are localized again in each of two views, with proposals of these views,
and each first box takes two masked forward passes more and its image two plain ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wsdet.boxes import clip
from wsdet.data.loading import load_samples
from wsdet.data.views import Cornered, Flipped, View
from wsdet.engine import localize_all
from wsdet.localizers.cam import Cam
from wsdet.localizers.dialogue import Dialogue
from wsdet.localizers.instances import choose_instances
from wsdet.localizers.responses import response_of
from wsdet.metrics import signals
from wsdet.metrics.bootstrap import nanmean
from wsdet.questions import Masked, Note, Whole
from wsdet.sampling import limited
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Run
from wsdet.types import Bools, Boxes, Floats, Ints, Sample

_SUGGESTED = 0.5  # score relative to the best box's, from which on a further box suggests a further object
_FOLLOWED = 5  # outputs that are followed for a class without one
_INSIDE = 0.5  # share of a box that a view has to show


@dataclass(frozen=True, eq=False)
class Evidence:
    """One row for each label of some images that a localizer gave a box for; relative coordinates.

    Attributes:
        ids: of the images, (m,).
        images: (n,) index into `ids`.
        labels: (n,) the label.
        xyxy: (n, 4) the first box of it.
        views: for each view of the images its name, and (rows, expected boxes, found boxes) in the view.
        second_xyxy: (n, 4) the box that a heat map gives (`wsdet.localizers.cam`); (0, 4) where the method is that.
        left: (n, 2) class score with the box occluded, and with as much elsewhere.
        suggested: (n,) objects of the label that the scores of further boxes suggest.
        class_scores: (m, k) of the whole images; NaN for a class without an output.
        has: (m, k) whether an image has a label.
    """

    ids: Sequence[str]
    images: Ints
    labels: Ints
    xyxy: Floats
    views: Mapping[str, tuple[Ints, Floats, Floats]]
    second_xyxy: Floats
    left: Floats
    suggested: Ints
    class_scores: Floats
    has: Bools

    def signals(self) -> dict[str, float]:
        """What it comes to, by name; NaN where there is nothing to measure."""
        expected, found, images = self._in_views()
        observed = signals.agreement(expected, found)
        chance = signals.chance_agreement(expected, found, images)
        n = len(self.second_xyxy)  # all, or none
        pair = self.xyxy[:n], self.second_xyxy
        second, second_chance = signals.agreement(*pair), signals.chance_agreement(*pair, self.images[:n])
        return {
            "stable": observed,
            "stable_by_chance": chance,
            "stable_beyond_chance": signals.beyond_chance(observed, chance),
            "agrees_with_heat_map": second,
            "agrees_with_heat_map_beyond_chance": signals.beyond_chance(second, second_chance),
            "occlusion": signals.occlusion_wins(self.left[:, 0], self.left[:, 1]),
            "whole_image": signals.whole_image_share(self.xyxy),
            "center_box": signals.center_box_share(self.xyxy),
            "area": _median((self.xyxy[:, 2:] - self.xyxy[:, :2]).prod(axis=1)),
            "suggested_objects": float(self.suggested.mean()) if len(self.suggested) else float("nan"),
            "class_ranking": nanmean(signals.class_ranking(self.class_scores, self.has)[np.unique(self.labels)]),
        }

    def _in_views(self) -> tuple[Floats, Floats, Ints]:
        """Expected and found boxes in all views, and their images, a view's apart from another's."""
        parts = [(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))]
        for number, (rows, expected, found) in enumerate(self.views.values()):
            parts.append((expected, found, self.images[rows] + number * len(self.ids)))
        expected, found, images = (np.concatenate(column) for column in zip(*parts, strict=True))
        return expected, found, images


def gather(run: Run, recipe: Recipe, store: Mapping[str, Boxes], n_images: int) -> Evidence:
    """Looks again at some of the training images in which a localizer found boxes.

    Args:
        run: gives the images and the network.
        recipe: of the localizer.
        store: its boxes.
        n_images: maximum number of images, sampled with the run's seed.
    """
    there = [image_id for image_id in run.train_ids if image_id in store and run.dataset.labels(image_id)]
    ids = [one for one in limited(there, n_images, run.execution.seed) if len(_firsts(run, store, one))]
    firsts = {image_id: _firsts(run, store, image_id) for image_id in ids}
    seen = _probed(run, firsts)
    ids = [image_id for image_id in ids if image_id in seen]
    every = Boxes.concatenate(firsts[one] for one in ids)
    images = np.repeat(np.arange(len(ids)), [len(firsts[one]) for one in ids]).astype(np.int64)
    sizes = {image_id: seen[image_id].size_hw for image_id in ids}
    xyxy = _rows(4, [_relative(firsts[one].xyxy, sizes[one]) for one in ids])
    views = {
        name: _seen_again(run, recipe, name, view, ids, images, every.labels, xyxy, sizes)
        for name, view in _views(run).items()
    }
    is_heat_map = recipe.settings["_target_"] == "wsdet.localizers.cam.Cam"
    suggested = choose_instances(store, ids, keep_above=_SUGGESTED)
    n_suggested = [(suggested[ids[i]].labels == label).sum() for i, label in zip(images, every.labels, strict=True)]
    n_classes = len(run.dataset.classes)
    has = np.zeros((len(ids), n_classes), bool)
    for row, image_id in enumerate(ids):
        has[row, list(run.dataset.labels(image_id))] = True
    return Evidence(
        ids=ids,
        images=images,
        labels=every.labels,
        xyxy=xyxy,
        views=views,
        second_xyxy=_rows(4, [] if is_heat_map else [_relative(seen[one].second.xyxy, sizes[one]) for one in ids]),
        left=_rows(2, [seen[one].left for one in ids]),
        suggested=np.array(n_suggested, np.int64),
        class_scores=_rows(n_classes, [seen[one].class_scores[None] for one in ids]),
        has=has,
    )


def _rows(n_columns: int, parts: Sequence[Floats]) -> Floats:
    """The parts' rows; an array without rows of none."""
    return np.concatenate([np.zeros((0, n_columns), np.float32), *parts])


def _views(run: Run) -> dict[str, View]:
    return {"flip": Flipped(run.dataset), "corner": Cornered(run.dataset, seed=run.execution.seed)}


def _firsts(run: Run, store: Mapping[str, Boxes], image_id: str) -> Boxes:
    """The first box of each label of an image, labeled so."""
    found = [(label, store[image_id].first_of(label)) for label in run.dataset.labels(image_id)]
    return Boxes.concatenate(replace(one, labels=np.full(len(one), label)) for label, one in found)


def _relative(xyxy: Floats, size_hw: tuple[int, int]) -> Floats:
    h, w = size_hw
    return (xyxy / np.array([w, h, w, h], np.float32)).astype(np.float32)


def _seen_again(
    run: Run,
    recipe: Recipe,
    name: str,
    view: View,
    ids: Sequence[str],
    images: Ints,
    labels: Ints,
    relative: Floats,
    sizes: Mapping[str, tuple[int, int]],
) -> tuple[Ints, Floats, Floats]:
    """(rows, expected boxes, found boxes) in a view; a box that it hardly shows is not expected."""
    store, _ = run.seen_as(view, name).localize(run.with_learned_size(recipe), ids)
    rows, expected, found = [], [], []
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        image_id = ids[image]
        carried = view.carried(image_id, relative[row])
        if signals.inside_share(carried)[0] < _INSIDE or image_id not in store:
            continue
        first = store[image_id].first_of(int(label))
        rows.append(row)
        expected.append(clip(carried, (1, 1)))
        # no box there: agrees with nothing
        found.append(
            _relative(first.xyxy, view.size_hw(sizes[image_id])) if len(first) else np.zeros((1, 4), np.float32)
        )
    return np.array(rows, np.int64), _rows(4, expected), _rows(4, found)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the network says of one image: class scores (k,), (n, 2) of them left for each box, a heat map's boxes."""

    size_hw: tuple[int, int]
    class_scores: Floats
    left: Floats
    second: Boxes


@dataclass(frozen=True, eq=False)
class _Probe:
    """A localizer that finds nothing anew: it occludes boxes that are there, and asks for a heat map's."""

    firsts: Mapping[str, Boxes]
    heat_map: Cam = field(default_factory=Cam)

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        own, (h, w) = self.firsts[sample.image_id], sample.size_hw
        other = signals.elsewhere(_relative(own.xyxy, (h, w))) * np.array([w, h, w, h], np.float32)
        whole, hidden, control = yield [Whole(), Masked(own.xyxy), Masked(other.astype(np.float32))]
        left = np.zeros((len(own), 2), np.float32)
        for row, label in enumerate(own.labels.tolist()):
            response = response_of(label, whole, _FOLLOWED)
            left[row] = [response(answer)[row].sum() for answer in (hidden, control)]
        found = yield from self.heat_map.localize(sample)
        second = Boxes.concatenate(found.first_of(label) for label in own.labels.tolist())
        yield [Note("seen", _Seen(sample.size_hw, whole.class_scores[0], left, second))]
        return own


def _probed(run: Run, firsts: Mapping[str, Boxes]) -> dict[str, _Seen]:
    """By image id; an image that cannot be read is left out."""
    seen: dict[str, _Seen] = {}

    def look_on(image_id: str, note: Note) -> None:
        if note.name == "seen":
            seen[image_id] = note.value

    samples, how = load_samples(run.dataset, list(firsts)), run.execution
    for _ in localize_all(samples, _Probe(firsts), run.network, how.batch_size, how.in_flight, look_on):
        pass
    return seen


def _median(values: Any) -> float:
    return float(np.median(values)) if len(values) else float("nan")
