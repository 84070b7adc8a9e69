"""EISS against a classifier that looks at known rectangles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conftest import FakeNetwork
from wsdet import boxes
from wsdet.engine import localize_all
from wsdet.localizers.eiss import Eiss, Trajectory
from wsdet.questions import Cropped, Masked, NetworkInput, Note, Whole
from wsdet.types import Boxes, Floats, InputError, Sample

H, W = 50, 100  # half as high as the frame below
SIZE = 100
OBJECTS = np.array([[10, 10, 40, 40], [60, 5, 90, 25]], np.float32)  # of classes 0 and 1


def scores(one: NetworkInput) -> Floats:
    """Of a class: the share of its rectangle that is seen, times 0.6 and 0.4; of the third class: nothing."""
    seen = np.ones(2)
    if isinstance(one.question, Masked | Cropped):
        seen = boxes.intersection(one.question.xyxy[one.row : one.row + 1], OBJECTS)[0] / boxes.area(OBJECTS)
        if isinstance(one.question, Masked):
            assert one.question.fill == "black"
            seen = 1 - seen
    return np.append(seen * [0.6, 0.4], 0).astype(np.float32)


def search(
    eiss: Eiss, labels: tuple[int, ...] = (), network: FakeNetwork | None = None, image_id: str = "scene"
) -> tuple[Boxes, list[Trajectory]]:
    notes: list[Note] = []
    sample = Sample(image_id, np.zeros((H, W, 3), np.uint8), labels)
    given = [(image_id, sample)]
    ((_, outcome),) = localize_all(
        given, eiss, network or FakeNetwork(scores), in_flight=2, look_on=lambda _, note: notes.append(note)
    )
    assert not isinstance(outcome, InputError)
    assert {note.name for note in notes} <= {"eiss trajectory"}
    return outcome, [note.value for note in notes]


def test_each_label_is_searched_for_on_its_own() -> None:
    found, trajectories = search(Eiss(class_known=True, size=SIZE, stride=2), (0, 1))
    assert found.labels.tolist() == [0, 1]
    assert boxes.iou(found.xyxy, OBJECTS).diagonal().min() > 0.25
    assert boxes.iou(found.xyxy, OBJECTS)[[0, 1], [1, 0]].max() == 0
    assert [trajectory.label for trajectory in trajectories] == [0, 1]


def test_the_best_classes_of_the_image_lead_without_labels() -> None:
    one, _ = search(Eiss(k=1, size=SIZE, stride=2), (1,))
    assert one.labels.tolist() == [-1]
    known, _ = search(Eiss(class_known=True, size=SIZE, stride=2), (0,))
    np.testing.assert_array_equal(one.xyxy, known.xyxy)
    two, (trajectory,) = search(Eiss(k=2, size=SIZE, stride=2, max_iterations=1), ())
    assert trajectory.score == pytest.approx(0.6**2 + 0.4**2)
    assert boxes.intersection(two.xyxy, OBJECTS).min() > 0


def test_an_unknown_label_is_searched_for_by_the_best_classes_and_no_label_gives_nothing() -> None:
    found, _ = search(Eiss(class_known=True, size=SIZE, stride=4), (1,), FakeNetwork(scores, unknown=[1]))
    assert found.labels.tolist() == [1]
    np.testing.assert_array_equal(found.xyxy, search(Eiss(size=SIZE, stride=4))[0].xyxy)
    assert len(search(Eiss(class_known=True, size=SIZE), ())[0]) == 0


def test_the_trajectory_holds_every_region_with_its_scores() -> None:
    found, (trajectory,) = search(Eiss(eta=None, size=SIZE, stride=2, max_iterations=6))
    assert len(trajectory.xyxy) == len(trajectory.blackened) == len(trajectory.cropped) == 6
    assert trajectory.score == pytest.approx(0.36)
    seen = boxes.intersection(trajectory.xyxy, OBJECTS[:1])[:, 0] / boxes.area(OBJECTS[:1])
    np.testing.assert_allclose(trajectory.cropped, 0.36 * seen, rtol=1e-5)
    np.testing.assert_allclose(trajectory.blackened, 0.36 * (1 - seen), rtol=1e-5, atol=1e-6)
    for before, after in zip(trajectory.xyxy, trajectory.xyxy[1:], strict=False):
        assert boxes.intersection(before[None], after[None])[0, 0] == pytest.approx(boxes.area(after[None])[0])
        assert ((after[2:] - after[:2]) / (before[2:] - before[:2]) >= 0.8 - 1e-4).all()
    np.testing.assert_array_equal(found.xyxy, trajectory.xyxy[-1:])
    assert found.scores.tolist() == trajectory.cropped[-1:].tolist()


def test_the_search_stops_before_the_curves_meet() -> None:
    _, (trajectory,) = search(Eiss(eta=60, size=SIZE, stride=2))
    gap = (trajectory.cropped - trajectory.blackened) / trajectory.score
    assert (gap[:-1] >= 0.6).all()
    assert gap[-1] < 0.6
    _, (longer,) = search(Eiss(eta=10, size=SIZE, stride=2))
    assert len(longer.xyxy) > len(trajectory.xyxy)
    np.testing.assert_array_equal(longer.xyxy[: len(trajectory.xyxy)], trajectory.xyxy)


def test_a_region_that_no_longer_shrinks_ends_the_search() -> None:
    found, (trajectory,) = search(Eiss(eta=None, size=SIZE, stride=50))  # four windows, one in each corner
    assert found.xyxy.tolist() == [[0, 0, W, H]]
    assert len(trajectory.xyxy) == 1


def test_the_search_ends_at_a_region_narrower_than_a_pixel() -> None:
    found, (trajectory,) = search(Eiss(eta=None, size=SIZE, stride=0.5, n_best=1, n_windows=4, max_iterations=100))
    assert len(trajectory.xyxy) < 100
    assert boxes.area(found.xyxy)[0] > 0


def test_windows_of_an_iteration_come_together_blackened_and_cropped() -> None:
    network = FakeNetwork(scores)
    search(Eiss(size=SIZE, stride=4, max_iterations=1), (), network)
    kinds = [type(question) for question in network.questions]
    assert kinds == [Whole] + 36 * [Masked] + 36 * [Cropped] + [Masked, Cropped]
    network = FakeNetwork(scores)
    search(Eiss(size=SIZE, stride=1, n_windows=16, max_iterations=1), (), network)
    assert len(network.questions) == 1 + 2 * 16 + 2


def test_random_windows_depend_on_seed_and_image_alone() -> None:
    def xyxy(image_id: str, seed: int) -> Any:
        return search(Eiss(size=SIZE, n_windows=16, seed=seed), (), image_id=image_id)[0].xyxy.tolist()

    assert xyxy("a", 0) == xyxy("a", 0)
    assert xyxy("a", 0) != xyxy("b", 0)
    assert xyxy("a", 0) != xyxy("a", 1)
    assert boxes.intersection(np.array(xyxy("a", 0), np.float32), OBJECTS[:1])[0, 0] > 0


def test_the_order_of_blackened_windows_is_a_choice() -> None:
    hurting, _ = search(Eiss(size=SIZE, stride=2, max_iterations=4))
    harmless, _ = search(Eiss(size=SIZE, stride=2, max_iterations=4, blackened_best="highest"))
    assert boxes.area(hurting.xyxy)[0] < boxes.area(harmless.xyxy)[0]


@pytest.mark.parametrize(
    "arguments",
    [
        {"alpha": 1},
        {"eta": -1},
        {"k": 0},
        {"size": 0},
        {"stride": 0},
        {"n_windows": -1},
        {"n_best": 0},
        {"blackened_best": "top"},
        {"max_iterations": 0},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_bad_arguments_are_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}.* must be"):
        Eiss(**arguments)
