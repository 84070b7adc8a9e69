"""Images and targets as the training sees them: boxes follow their objects, batches are sampled with seed and epoch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import COLORS, TinyDataset
from tests.detectors.neural.conftest import boxes_of
from wsdet.detectors.neural.examples import BatchOrder, Draw, Examples, make_target
from wsdet.detectors.neural.options import ModelOptions, TrainingOptions
from wsdet.types import Boxes, Dataset, InputError, Sample


def test_a_targets_classes_count_from_1() -> None:
    boxes = boxes_of([[0, 0, 9, 9], [5, 5, 20, 20], [1, 1, 8, 8]], [0, 2, 1], [1, 0.5, 1])
    target = make_target(boxes[:2], (0, 1, 2), 3)
    assert target["labels"].tolist() == [1, 3]
    assert target["weights"].tolist() == [1, 0.5]
    assert target["present"].tolist() == [False, True, True, True]
    assert target["unboxed"].tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    "boxes",
    [
        Boxes.empty(),
        boxes_of([[3, 3, 3, 3], [0, 0, 50, 0.5]], [0, 1]),
        boxes_of([[0, 0, 9, 9]], [-1]),  # without a class
    ],
    ids=["none", "no area", "no label"],
)
def test_nothing_usable_is_an_empty_target(boxes: Boxes) -> None:
    target = make_target(boxes, (1,), 3)
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)
    assert target["unboxed"].tolist() == [False, False, True, False]


def test_difficult_boxes_are_ignored_regions() -> None:
    boxes = boxes_of([[0, 0, 9, 9], [5, 5, 20, 20]], [0, 1], difficult=[True, False])
    target = make_target(boxes, (0, 1), 3)
    assert target["ignored"].tolist() == [[0, 0, 9, 9]]
    assert target["labels"].tolist() == [2]


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_boxes_stay_on_their_objects(square: bool, seed: int, tiny_dataset: TinyDataset) -> None:
    """Of the plain squares, every change leaves the box's middle red and its outside not."""
    model = ModelOptions("fcos", short_side=64, square=square)
    examples = Examples(tiny_dataset, ["train_0"], tiny_dataset.truth, model, TrainingOptions(color_jitter=0.05))
    image, target = examples[Draw(0, seed, 0.8 + 0.08 * seed)]
    if square:
        assert image.shape == (3, 64, 64)
    for x1, y1, x2, y2 in target["boxes"].tolist():
        color = image[:, round((y1 + y2) / 2), round((x1 + x2) / 2)].tolist()
        assert np.abs(np.subtract(color, COLORS[0])).max() < 40
        assert 0 <= x1 < x2 <= image.shape[2]
        assert 0 <= y1 < y2 <= image.shape[1]
    assert len(target["boxes"]) + len(target["ignored"]) == 1


def test_the_same_draw_is_the_same_example(tiny_dataset: TinyDataset) -> None:
    examples = Examples(
        tiny_dataset, tiny_dataset.ids("train"), {}, ModelOptions("fcos", short_side=64), TrainingOptions()
    )
    first, again, other = (examples[Draw(1, seed, 1.1)][0] for seed in (5, 5, 6))
    assert (first == again).all()
    assert first.shape != other.shape or (first != other).any()


def test_images_beyond_the_memory_are_read_again(tiny_dataset: TinyDataset) -> None:
    options = ModelOptions("fcos", short_side=64), TrainingOptions()
    ids = tiny_dataset.ids("train")
    kept, not_kept = (Examples(tiny_dataset, ids, {}, *options, memory_gib=gib) for gib in (1.0, 0.0))
    assert (kept[Draw(2, 3, 1.0)][0] == not_kept[Draw(2, 3, 1.0)][0]).all()


class OneBroken(TinyDataset):
    """Its second image cannot be read."""

    def load(self, image_id: str) -> Sample:
        if image_id == "train_1":
            raise InputError("train_1 is damaged")
        return super().load(image_id)


def test_an_image_that_cannot_be_read_is_left_out(tiny_dataset: TinyDataset, caplog: pytest.LogCaptureFixture) -> None:
    broken: Dataset = OneBroken(samples=tiny_dataset.samples, truth=tiny_dataset.truth)
    options = ModelOptions("fcos", short_side=64), TrainingOptions()
    assert "train_1" not in Examples(broken, broken.ids("train"), {}, *options).ids
    assert "train_1 is damaged" in caplog.text
    with pytest.raises(InputError, match="none of 1 images"):
        Examples(broken, ["train_1"], {}, *options)


def test_batches_hold_each_image_once_and_one_orientation() -> None:
    sizes = [(2, 3)] * 5 + [(3, 2)] * 4
    batches = list(BatchOrder(sizes, 2, 0.2, 0, lambda: 3))
    assert len(batches) == len(BatchOrder(sizes, 2, 0.2, 0, lambda: 3)) == 5
    assert sorted(draw.image for batch in batches for draw in batch) == list(range(9))
    for batch in batches:
        assert len({draw.image < 5 for draw in batch}) == 1
        assert len({draw.factor for draw in batch}) == 1
        assert 0.8 <= batch[0].factor <= 1.2


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[Draw]]:
        return list(BatchOrder([(2, 3)] * 9, 2, 0.2, seed, lambda: epoch))

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2) != order(1, 1)


def test_processes_share_the_batches() -> None:
    parts = [list(BatchOrder([(2, 3)] * 9, 2, 0.1, 0, lambda: 0, rank, 2)) for rank in (0, 1)]
    whole = list(BatchOrder([(2, 3)] * 9, 4, 0.1, 0, lambda: 0))
    assert [len(part) for part in parts] == [3, 3]
    for mine, yours, together in zip(*parts, whole, strict=True):
        assert {*mine, *yours} == {*together}


class OnePhoto:
    """160 x 80 pixels with a red square and a blue bar, far apart."""

    classes = ("square", "bar")
    boxes = boxes_of([[10, 10, 30, 30], [130, 40, 150, 70]], [0, 1])

    def labels(self, image_id: str) -> tuple[int, ...]:
        return 0, 1

    def load(self, image_id: str) -> Sample:
        pixels = np.full((80, 160, 3), 90, np.uint8)
        for (x1, y1, x2, y2), color in zip(self.boxes.xyxy.astype(int).tolist(), COLORS, strict=False):
            pixels[y1:y2, x1:x2] = color
        return Sample(image_id, pixels, (0, 1))


def test_tiles_that_show_an_object_are_examples_beside_the_image() -> None:
    model = ModelOptions("fcos", short_side=80, tile=80, tile_overlap=0.0)  # tiles begin at 0 and 80
    training = TrainingOptions(flip=0.0, color_jitter=0.0, scale_jitter=0.0)
    photo = OnePhoto()
    examples = Examples(photo, ["a"], {"a": photo.boxes}, model, training)  # type: ignore[arg-type]
    assert examples.ids == ["a"] * 3
    assert examples.sizes_hw == [(80, 160), (80, 80), (80, 80)]
    found = [examples[Draw(number, 0, 1.0)] for number in range(3)]
    assert [target["labels"].tolist() for _, target in found] == [[1, 2], [1], [2]]
    assert [target["present"].tolist() for _, target in found] == [
        [False, True, True],
        [False, True, False],
        [False, False, True],
    ]
    assert not any(target["unboxed"].any() for _, target in found)
    assert found[2][1]["boxes"].tolist() == [[50, 40, 70, 70]]
    for image, target in found[1:]:
        x1, y1, x2, y2 = target["boxes"][0].int().tolist()
        assert (image[:, y1:y2, x1:x2] == image[:, y1, x1][:, None, None]).all()
        assert (image[:, y1 - 1, x1] == 90).all()
    alone = Examples(photo, ["a"], {"a": photo.boxes[0]}, model, training)  # type: ignore[arg-type]
    assert len(alone) == 2  # no tile without a box


def test_what_a_tile_cuts_off_is_ignored_in_it() -> None:
    model = ModelOptions("fcos", short_side=80, tile=80, tile_overlap=0.0)
    photo, boxes = OnePhoto(), boxes_of([[40, 10, 90, 30], [10, 10, 30, 30], [130, 10, 150, 30]], [0, 1, 1])
    training = TrainingOptions(flip=0.0, color_jitter=0.0, scale_jitter=0.0)
    examples = Examples(photo, ["a"], {"a": boxes}, model, training)  # type: ignore[arg-type]
    left, right = (examples[Draw(number, 0, 1.0)][1] for number in (1, 2))
    assert left["boxes"].tolist() == [[40, 10, 80, 30], [10, 10, 30, 30]]  # four fifths of the first are there
    assert right["boxes"].tolist() == [[50, 10, 70, 30]]
    assert right["ignored"].tolist() == [[0, 10, 10, 30]]
