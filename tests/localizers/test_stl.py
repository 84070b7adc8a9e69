"""STL against made-up answers: a classifier that looks at one known rectangle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conftest import FakeNetwork
from wsdet import boxes
from wsdet.engine import localize_all
from wsdet.localizers.stl import TERMS, Stl, drop_similarities, segments_of
from wsdet.questions import Cropped, FeatureMap, Masked, NetworkInput, Note, Regions
from wsdet.types import Boxes, InputError, Sample
from wsdet.vision.segmentation import COLOR_SPACES

SIDE = 100
OBJECTS = {0: [20, 30, 60, 80], 1: [65, 5, 97, 40]}  # class -> its rectangle in the input below

TRUE = np.array(list(OBJECTS.values()), np.float32)


def scene() -> np.ndarray:
    """Two plain rectangles, each of two halves, on a plain ground."""
    pixels = np.full((SIDE, SIDE, 3), (60, 120, 60), np.uint8)
    pixels[30:55, 20:60], pixels[55:80, 20:60] = (200, 40, 40), (230, 90, 30)
    pixels[5:22, 65:97], pixels[22:40, 65:97] = (40, 40, 200), (90, 30, 230)
    return pixels


def row(one: NetworkInput) -> Any:
    """Class scores: the visible share of each object, in a crop times the object's share of it."""
    match one.question:
        case FeatureMap():
            return scene()[::10, ::10].transpose(2, 0, 1).astype(np.float32)
        case Regions(xyxy=xyxy):
            return [crop(box) for box in xyxy]
        case Cropped(xyxy=xyxy):
            return crop(xyxy[one.row])
        case Masked(xyxy=xyxy):
            hidden = boxes.intersection(xyxy[one.row : one.row + 1], TRUE)[0] / boxes.area(TRUE)
            return 0.5 * (1 - hidden)
        case _:
            return np.full(2, 0.5)


def crop(box: np.ndarray) -> np.ndarray:
    """(2, 2) logits, which tell how a crop looks, and class scores."""
    x1, y1, x2, y2 = box.astype(int)
    inside = boxes.intersection(box[None], TRUE)[0]
    look = scene()[y1:y2, x1:x2].mean(axis=(0, 1))[:2]
    return np.stack([look, inside**2 / boxes.area(TRUE) / boxes.area(box[None])])


def localize(stl: Stl, labels: tuple[int, ...], network: FakeNetwork | None = None) -> Boxes:
    sample = Sample("scene", scene(), labels)
    ((_, outcome),) = localize_all([("scene", sample)], stl, network or FakeNetwork(row))
    assert not isinstance(outcome, InputError)
    return outcome


@pytest.mark.parametrize("appearance", ["crop", "pyramid", "map"])
def test_each_label_gets_its_own_object_first(appearance: Any) -> None:
    found = localize(Stl(size=SIDE, appearance=appearance, order="expected_iou"), (0, 1))
    for label, true in OBJECTS.items():
        own = found[found.labels == label]
        assert (
            boxes.iou(own.xyxy[:1], np.array([true], np.float32))[0, 0] > 0.7
        )  # smoothing widens segments by a pixel or two
        assert (np.diff(own.scores) <= 0).all()


@pytest.mark.parametrize("appearance", ["pyramid", "map"])
def test_regions_cost_no_crops_when_their_appearance_is_read_off_maps(appearance: Any) -> None:
    crops, maps = FakeNetwork(row), FakeNetwork(row)
    localize(Stl(size=SIDE, segmentations=[("hsv", 50)]), (0,), crops)
    localize(Stl(size=SIDE, segmentations=[("hsv", 50)], appearance=appearance), (0,), maps)
    assert any(isinstance(question, Cropped) for question in crops.questions)
    assert not any(isinstance(question, Cropped) for question in maps.questions)


def test_the_drop_saturates_and_the_expected_iou_does_not() -> None:
    by_drop = localize(Stl(size=SIDE), (0,))
    assert by_drop.scores[0] == pytest.approx(0.5)  # all of it, on a box that hides more than the object
    assert boxes.area(by_drop.xyxy[:1])[0] > 2 * boxes.area(np.array([OBJECTS[0]], np.float32))[0]
    found = localize(Stl(size=SIDE, order="expected_iou", smallest=0.01), (0,))
    assert ((found.scores > 0) & (found.scores <= 1)).all()
    assert boxes.iou(found.xyxy[:1], np.array([OBJECTS[0]], np.float32))[0, 0] > 0.7
    assert boxes.area(found.xyxy).min() >= 0.01 * SIDE**2


def test_the_expected_iou_asks_once_more_about_all_regions_of_a_label() -> None:
    by_drop, by_expected_iou = FakeNetwork(row), FakeNetwork(row)
    localize(Stl(size=SIDE), (0, 1), by_drop)
    localize(Stl(size=SIDE, order="expected_iou"), (0, 1), by_expected_iou)
    assert len(by_expected_iou.inputs) == len(by_drop.inputs) + 2


def test_without_labels_the_boxes_have_none_and_no_label_gives_no_box() -> None:
    assert set(localize(Stl("top", size=SIDE), (0,)).labels) == {-1}
    assert len(localize(Stl("class", size=SIDE), ())) == 0


def test_a_class_unknown_to_the_network_is_localized_by_the_top_classes() -> None:
    found = localize(Stl(size=SIDE), (1,), FakeNetwork(row, unknown=[1]))
    assert set(found.labels) == {1}
    weakly = localize(Stl("top", size=SIDE), (1,))
    np.testing.assert_array_equal(found.xyxy, weakly.xyxy)


def test_k_segments_cost_at_most_2k_minus_1_masks_and_crops() -> None:
    k = len(segments_of(scene(), "hsv", 50).sizes)
    network = FakeNetwork(row)
    localize(Stl(size=SIDE, segmentations=[("hsv", 50)]), (0, 1), network)
    assert len(network.inputs) <= 1 + 2 * 2 * (2 * k - 1)
    network = FakeNetwork(row)
    localize(Stl(size=SIDE, segmentations=[("hsv", 50)]), (0,), network)
    assert len(network.inputs) <= 1 + 2 * (2 * k - 1)


def test_kept_boxes_do_not_overlap_by_more_than_the_threshold() -> None:
    found = localize(Stl(size=SIDE, nms_iou=0.3), (0,))
    overlaps = boxes.iou(found.xyxy, found.xyxy)
    assert overlaps[~np.eye(len(found), dtype=bool)].max() <= 0.3
    assert len(localize(Stl(size=SIDE, max_boxes=2), (0, 1))) == 4


def test_boxes_come_back_in_pixels_of_the_original() -> None:
    found = localize(Stl(size=50, order="expected_iou"), (0,))
    assert boxes.iou(found.xyxy[:1], np.array([OBJECTS[0]], np.float32))[0, 0] > 0.7


def test_adjacent_only_also_ends_in_one_region() -> None:
    found = localize(Stl(size=SIDE, adjacent_only=True, nms_iou=1.0), (0,))
    assert boxes.area(found.xyxy).max() >= 0.9 * SIDE**2


@pytest.mark.parametrize("color_space", COLOR_SPACES)
def test_segments_cover_the_scene(color_space: str) -> None:
    segments = segments_of(scene(), color_space, 50)
    assert segments.sizes.sum() <= SIDE**2
    assert (boxes.area(segments.xyxy) >= segments.sizes).all()
    assert (segments.adjacent == segments.adjacent.T).all()
    assert not segments.adjacent.diagonal().any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"drop": "both"}, "drop must be"),
        ({"appearance": "none"}, "appearance must be"),
        ({"weights": dict.fromkeys(TERMS, 0.3)}, "sum to 1"),
        ({"weights": {"drop": 1.0}}, "weights must be"),
        ({"segmentations": [("cmyk", 50)]}, "segmentations: a color space must be"),
        ({"order": "size"}, "order must be"),
        ({"smallest": 1}, "smallest must be"),
        ({"score_exponent": 0}, "score_exponent must be"),
        ({"top_classes": 0}, "top_classes must be"),
        ({"max_boxes": -1}, "max_boxes must be"),
        ({"nms_iou": 1.5}, "nms_iou must be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stl(**arguments)


def test_each_region_tree_is_a_note() -> None:
    notes: list[Note] = []
    sample = Sample("scene", scene(), (0, 1))
    stl = Stl(segmentations=(("hsv", 50), ("lab", 100)))
    ((_, found),) = localize_all([("scene", sample)], stl, FakeNetwork(row), look_on=lambda _, note: notes.append(note))
    assert isinstance(found, Boxes)
    assert sorted(note.value["label"] for note in notes) == [0, 0, 1, 1]
    for tree in (note.value for note in notes):
        n_segments = len(tree["xyxy"]) - len(tree["merges"])
        assert len(tree["drops"]) == len(tree["xyxy"]) == 2 * n_segments - 1
        for parent, (a, b) in enumerate(tree["merges"], n_segments):
            np.testing.assert_allclose(tree["xyxy"][parent], boxes.union(tree["xyxy"][a], tree["xyxy"][b]))
        merged = np.concatenate(tree["merges"]).tolist()
        assert sorted(merged) == list(range(len(tree["xyxy"]) - 1))  # each region but the last has one parent


@pytest.mark.parametrize("drops", [(0.2, 0.9), (1.5, 1.6), (0.5, 4.0), (2.0, 5.0)])
def test_equal_drops_are_at_least_as_similar_as_unequal_ones(drops: tuple[float, float]) -> None:
    """Five sigmoid outputs can drop by 5 together."""
    similarity = drop_similarities(np.array([drops[1], drops[1], drops[0]], np.float32), 0)
    assert similarity[1] == 1
    assert similarity[2] <= 1
