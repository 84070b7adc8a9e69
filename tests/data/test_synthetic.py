"""The built-in data: images are functions of seed and id, truth fits what is painted, the knobs do what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wsdet.boxes import mask_to_xyxy
from wsdet.data.synthetic import Synthetic
from wsdet.data.synthetic.painting import paint
from wsdet.data.synthetic.scenes import DIFFICULT_BELOW, LEAST_VISIBLE, Scene, visible_shares
from wsdet.data.synthetic.species import FAMILY_SIZE, SPECIES, bodies
from wsdet.types import InputError


def test_an_image_depends_on_its_id_and_the_seed_alone() -> None:
    one, another = Synthetic(n_train=4, n_test=2), Synthetic(n_train=9, n_test=2)
    last = another.load("train_000003").pixels
    for image_id in [*one.ids("train"), *one.ids("test")]:
        first = one.load(image_id)
        assert np.array_equal(first.pixels, another.load(image_id).pixels)
        assert np.array_equal(one.truth[image_id].xyxy, another.truth[image_id].xyxy)
    assert np.array_equal(one.load("train_000003").pixels, last)
    assert not np.array_equal(Synthetic(n_train=4, seed=1).load("train_000003").pixels, last)
    assert not np.array_equal(one.load("train_000000").pixels, one.load("test_000000").pixels)


def test_labels_are_the_classes_of_the_true_boxes() -> None:
    dataset = Synthetic(n_train=60, n_test=0)
    for image_id in dataset.ids("train"):
        boxes = dataset.truth[image_id]
        assert 1 <= len(boxes) <= 3
        assert dataset.labels(image_id) == tuple(sorted(set(boxes.labels.tolist())))
    assert dataset.load("train_000005").labels == dataset.labels("train_000005")


def test_every_class_comes_first_equally_often() -> None:
    dataset = Synthetic(n_train=3 * len(SPECIES), n_test=0, instances=1)
    labels = np.concatenate([dataset.labels(image_id) for image_id in dataset.ids("train")])
    assert np.bincount(labels).tolist() == [3] * len(SPECIES)


def test_truth_lies_inside_the_image_and_knows_every_id() -> None:
    dataset = Synthetic(n_train=80, n_test=20, size=96)
    assert list(dataset.truth) == [*dataset.ids("train"), *dataset.ids("test")]
    assert len(dataset.truth) == 100
    assert "train_000080" not in dataset.truth
    xyxy = np.concatenate([boxes.xyxy for boxes in dataset.truth.values()])
    assert xyxy.min() >= 0
    assert xyxy.max() <= 96
    assert (xyxy[:, 2:] - xyxy[:, :2] > 1).all()


@pytest.mark.parametrize(("min_scale", "max_scale"), [(0.15, 0.8), (0.3, 0.4), (0.5, 0.5)])
def test_the_longer_side_keeps_to_the_scales(min_scale: float, max_scale: float) -> None:
    dataset = Synthetic(n_train=80, n_test=0, min_scale=min_scale, max_scale=max_scale)
    objects = [thing for i in dataset.ids("train") for thing in dataset.scene(i).things if thing.label >= 0]
    longest = np.array([(thing.xyxy[0, 2:] - thing.xyxy[0, :2]).max() for thing in objects]) / dataset.size
    assert longest.min() >= min_scale - 1e-4
    assert longest.max() <= max_scale + 1e-4
    assert longest.max() - longest.min() >= 0.8 * (max_scale - min_scale)


def test_boxes_are_tight_around_what_is_painted() -> None:
    """A white and a black object in the same scene: the images differ inside the object's box, up to its sides."""
    dataset = Synthetic(n_train=8, n_test=0, clutter=0, instances=1, min_scale=0.3, max_scale=0.8)
    for image_id in dataset.ids("train"):
        scene = dataset.scene(image_id)
        white, black = (_recolored(scene, shade) for shade in (1.0, 0.0))
        images = [paint(shown, np.random.default_rng(0), clutter=0).astype(int) for shown in (white, black)]
        changed = np.abs(images[0] - images[1]).max(axis=2) > 50
        # the lens blurs the rim over a pixel or two
        assert np.abs(mask_to_xyxy(changed) - dataset.truth[image_id].xyxy).max() <= 3, image_id


def test_difficult_objects_are_those_mostly_hidden() -> None:
    dataset = Synthetic(n_train=60, n_test=0, clutter=1)
    n_difficult = 0
    for image_id in dataset.ids("train"):
        scene = dataset.scene(image_id)
        shares = visible_shares(scene.things, scene.size)
        shown = [share for thing, share in zip(scene.things, shares, strict=True) if thing.label >= 0]
        assert dataset.truth[image_id].difficult.tolist() == [share < DIFFICULT_BELOW for share in shown]
        assert min(shown) >= LEAST_VISIBLE
        n_difficult += int(dataset.truth[image_id].difficult.sum())
    assert 0 < n_difficult < 30


def test_class_correlation_draws_bodies_together() -> None:
    """First those of a family, up to 0.5, then all."""
    own, halfway, families, nearly, one = (_body_distances(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    family = np.arange(len(SPECIES)) // FAMILY_SIZE
    kin = (family[:, None] == family[None]) & ~np.eye(len(SPECIES), dtype=bool)
    others = family[:, None] != family[None]
    assert min(own[kin].min(), own[others].min()) > 0.1
    assert np.allclose(halfway[kin], own[kin] / 2, atol=1e-6)
    assert np.allclose(families[kin], 0, atol=1e-6)
    assert families[others].min() > 0.1
    assert np.allclose(nearly[others], families[others] / 2, atol=1e-6)
    assert np.allclose(one, 0, atol=1e-6)
    assert own.mean() > families.mean() > nearly.mean()


def test_parts_differ_at_any_class_correlation() -> None:
    """With all bodies alike, a whole-body color tells classes no longer apart, the part's shape still does."""
    dataset = Synthetic(n_train=len(SPECIES), n_test=0, class_correlation=1, instances=1)
    parts = [next(thing for thing in dataset.scene(i).things if thing.label >= 0).part for i in dataset.ids("train")]
    signatures = {tuple(len(points) for points, _ in part) for part in parts}
    assert len(signatures) == len(SPECIES)


def test_clutter_adds_distractors() -> None:
    plain, crowded = (Synthetic(n_train=30, n_test=0, clutter=clutter) for clutter in (0, 1))
    assert _n_distractors(plain) == 0
    assert _n_distractors(crowded) > 200


@pytest.mark.parametrize("size", [32, 100, 224])
def test_any_size_is_painted(size: int) -> None:
    sample = Synthetic(n_train=2, n_test=0, size=size, max_scale=1.0).load("train_000001")
    assert sample.pixels.shape == (size, size, 3)
    assert sample.pixels.std() > 5


def test_an_empty_split_is_no_error() -> None:
    dataset = Synthetic(n_train=0, n_test=0)
    assert dataset.ids("train") == ()
    assert not dataset.truth


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"n_train": -1}, "n_train must be a whole number of at least 0, got -1"),
        ({"size": 16}, "size must be a whole number of at least 32, got 16"),
        ({"instances": 0}, "instances must be a whole number of at least 1, got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"class_correlation": 1.5}, r"class_correlation must be a number in \[0, 1\], got 1.5"),
        ({"clutter": float("nan")}, r"clutter must be a number in \[0, 1\], got nan"),
        ({"min_scale": 0}, "min_scale must be"),
        ({"min_scale": 0.9}, r"max_scale must be a number in \[0.9, 1\], got 0.8"),
        ({"max_scale": 1.2}, "max_scale must be"),
    ],
)
def test_knobs_are_checked(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Synthetic(**knobs)


def test_an_unknown_image_is_named() -> None:
    with pytest.raises(InputError, match="'train_000007'"):
        Synthetic(n_train=7).load("train_000007")


def _body_distances(class_correlation: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(k, k) mean absolute difference of outlines, colors and textures between species."""
    looks = np.stack(
        [
            np.concatenate([body.outline.ravel(), body.colors.ravel(), body.texture])
            for body in bodies(class_correlation)
        ]
    )
    return np.abs(looks[:, None] - looks[None]).mean(axis=2)


def _recolored(scene: Scene, shade: float) -> Scene:
    (thing,) = scene.things
    part = tuple((points, (shade, shade, shade)) for points, _ in thing.part)
    return replace(scene, things=(replace(thing, colors=np.full((2, 3), shade, np.float32), part=part),))


def _n_distractors(dataset: Synthetic) -> int:
    scenes = [dataset.scene(image_id) for image_id in dataset.ids("train")]
    return sum(len(scene.backdrop) + sum(thing.label < 0 for thing in scene.things) for scene in scenes)
