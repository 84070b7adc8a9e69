"""Views of images: pixels and boxes go the same way."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from wsdet.data.views import Cornered, Flipped, View
from wsdet.types import InputError


def views(dataset: Any) -> list[View]:
    return [Flipped(dataset), *(Cornered(dataset, 0.6, seed) for seed in range(3))]


@pytest.mark.parametrize("number", range(4))
def test_a_place_is_carried_where_its_pixel_is(tiny_dataset: Any, number: int) -> None:
    view = views(tiny_dataset)[number]
    for image_id in tiny_dataset.ids("train"):
        pixels = tiny_dataset.load(image_id).pixels
        h, w = pixels.shape[:2]
        # each pixel holds its own place
        rows, columns = np.indices((h, w))
        places = np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8)
        seen = view.seen(image_id, places)
        assert view.size_hw((h, w)) == seen.shape[:2]
        assert view.load(image_id).size_hw == seen.shape[:2]
        y, x = seen[seen.shape[0] // 2, seen.shape[1] // 2, :2].astype(int)  # where its middle is in the image
        carried = view.carried(image_id, np.array([[x / w, y / h, (x + 1) / w, (y + 1) / h]], np.float32))[0]
        middle = np.array([carried[[0, 2]].mean(), carried[[1, 3]].mean()]) * seen.shape[1::-1]
        assert np.abs(middle - (np.array(seen.shape[1::-1]) // 2 + 0.5)).max() < 1.01  # a corner has whole pixels


def test_a_view_shows_no_ground_truth_and_the_same_labels(tiny_dataset: Any) -> None:
    for view in views(tiny_dataset):
        assert not view.truth
        assert view.classes == tiny_dataset.classes
        assert view.ids("train") == tiny_dataset.ids("train")
        assert view.load("train_4").labels == view.labels("train_4") == (0, 2)


def test_twice_flipped_is_the_image(tiny_dataset: Any) -> None:
    twice = Flipped(Flipped(tiny_dataset))
    np.testing.assert_array_equal(twice.load("train_0").pixels, tiny_dataset.load("train_0").pixels)
    box = np.array([[0.1, 0.2, 0.6, 0.9]], np.float32)
    flipped = Flipped(tiny_dataset).carried("train_0", box)
    np.testing.assert_allclose(flipped, [[0.4, 0.2, 0.9, 0.9]], atol=1e-6)
    np.testing.assert_allclose(twice.carried("train_0", flipped), box, atol=1e-6)


def test_corners_differ_between_images_and_are_drawn_again_alike(tiny_dataset: Any) -> None:
    box = np.array([[0.4, 0.4, 0.6, 0.6]], np.float32)
    one, same = (Cornered(tiny_dataset, seed=0) for _ in range(2))
    places = {tuple(one.carried(f"image {i}", box)[0].round(3)) for i in range(40)}
    assert len(places) == 4
    assert all((one.carried(f"image {i}", box) == same.carried(f"image {i}", box)).all() for i in range(40))


def test_views_travel_to_other_processes(tiny_dataset: Any) -> None:
    for view in views(tiny_dataset):
        again = copy.deepcopy(view)
        np.testing.assert_array_equal(again.load("train_1").pixels, view.load("train_1").pixels)
    with pytest.raises(AttributeError):
        Flipped(tiny_dataset).path  # noqa: B018  (the dataset has no files)


def test_a_side_outside_its_range(tiny_dataset: Any) -> None:
    with pytest.raises(InputError, match="side must be"):
        Cornered(tiny_dataset, side=0)
