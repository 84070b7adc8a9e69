"""DAM against made-up answers: neurons that each see one known rectangle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.conftest import FakeNetwork
from wsdet.engine import localize_all
from wsdet.localizers.dam import Dam, blob_of
from wsdet.questions import GuidedBackprop, Kept, NetworkInput, NeuronRank, Neurons, Note
from wsdet.types import Boxes, Floats, InputError, Sample

SIDE = 56  # of the network's input; the image is twice as wide and four times as high
RECTANGLES = {0: (8, 12, 20, 24), 1: (16, 18, 28, 30), 2: (40, 40, 50, 52)}  # channel -> x1, y1, x2, y2 that it sees
OBJECTS = {0: (0, 1), 1: (2,)}  # class -> the channels of its neurons


def oracle(scores: Sequence[float] = (0.6, 0.4), dead: Sequence[int] = (), logit_sign: int = 1) -> FakeNetwork:
    """A network that sees a class as far as pixels of its own neurons are kept; neurons of `dead` labels rank at 0."""
    best = int(np.nanargmax(scores))

    def row(one: NetworkInput) -> Any:
        match one.question:
            case NeuronRank(k=k, label=label):
                own = OBJECTS[best if label < 0 else label]
                ranks = np.array([2.0 - 0.5 * i for i in range(len(own))] + [0.0] * 9, np.float32)
                places = np.array([[channel, 0, 0] for channel in own] + [[9, 0, 0]] * 9)
                return Neurons(places[:k], ranks[:k] * (label not in dead))
            case GuidedBackprop(neurons=neurons):
                return np.stack([seen(int(channel)) for channel in neurons[:, 0]])
            case Kept(masks=masks):
                share = np.array([masks[one.row][patch(channels[0])].mean() for channels in OBJECTS.values()])
                return np.stack([logit_sign * share, share])
            case _:
                return np.nan_to_num(scores)

    return FakeNetwork(row, unknown=np.flatnonzero(np.isnan(scores)).tolist())


def patch(channel: int) -> tuple[slice, slice]:
    x1, y1, x2, y2 = RECTANGLES[channel]
    return slice(y1, y2), slice(x1, x2)


def seen(channel: int) -> Floats:
    """Guided gradients: positive in the neuron's rectangle alone."""
    gradient = np.random.default_rng(channel).uniform(-1, 0, (3, SIDE, SIDE)).astype(np.float32)
    gradient[:, *patch(channel)] += 5
    return gradient


def localize(
    dam: Dam, labels: tuple[int, ...], network: FakeNetwork | None = None, notes: list[Note] | None = None
) -> Boxes:
    sample = Sample("a", np.zeros((4 * SIDE, 2 * SIDE, 3), np.uint8), labels)
    heard = [] if notes is None else notes
    ((_, outcome),) = localize_all(
        [("a", sample)], dam, network or oracle(), look_on=lambda _, note: heard.append(note)
    )
    assert not isinstance(outcome, InputError)
    return outcome


def plain(**arguments: Any) -> Dam:
    """DAM whose blobs are exactly the rectangles."""
    return Dam(**({"percentile": 0, "dilate": 0, "erode": 0} | arguments))


def in_image(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    return [2 * x1, 4 * y1, 2 * x2, 4 * y2]


def test_the_box_of_a_label_holds_the_union_of_its_blobs() -> None:
    found = localize(plain(), (0, 1))
    np.testing.assert_array_equal(found.labels, [0, 1])
    np.testing.assert_array_equal(found.xyxy, [in_image(8, 12, 28, 30), in_image(40, 40, 50, 52)])


def test_only_the_k_blobs_of_highest_score_are_united() -> None:
    found = localize(plain(k=1), (0,))
    np.testing.assert_array_equal(found.xyxy[0], in_image(8, 12, 20, 24))
    assert found.scores[0] == 1


@pytest.mark.parametrize("labels", [(0,), ()], ids=["label", "prediction"])
def test_blobs_can_be_scored_before_the_softmax(labels: tuple[int, ...]) -> None:
    probability, logit = (
        localize(plain(k=1, score=score), labels, oracle(logit_sign=-1)) for score in ("probability", "logit")
    )
    np.testing.assert_array_equal(probability.xyxy[0], in_image(8, 12, 20, 24))
    np.testing.assert_array_equal(logit.xyxy[0], in_image(16, 18, 28, 30))


def test_blobs_grow_and_shrink_in_proportion_to_the_input() -> None:
    found = localize(plain(k=1, dilate=16, erode=8), (1,))  # 56 is a quarter of 224: 4 pixels out, to the border, 2 in
    np.testing.assert_array_equal(found.xyxy[0], in_image(40 - 2, 40 - 2, 50 + 2, 52 + 2))


def test_a_blob_is_the_strongest_share_of_the_positive_pixels_without_islands() -> None:
    gradient = np.zeros((3, SIDE, SIDE), np.float32)
    gradient[:, 5:15, 5:15] = 1.0  # 100 pixels
    gradient[:, 20:30, 5:30] = 2.0  # 250
    gradient[:, 50, 50] = 3.0
    gradient[:, 40:45] = -9.0
    gradient[0, 0, 0], gradient[1, 0, 0] = 4.0, -8.0  # positive in one color, negative in the mean
    blob = blob_of(gradient, percentile=80, dilate=0, erode=0)
    assert blob.sum() == 250
    assert blob[20:30, 5:30].all()
    np.testing.assert_array_equal(blob_of(gradient, 10, 40, 40)[15:20, 5:15], True)
    assert not blob_of(-np.abs(gradient), 80, 0, 0).any()


def test_the_union_is_a_note_in_pixels_of_the_image() -> None:
    notes: list[Note] = []
    found = localize(plain(), (1,), notes=notes)
    guided, blobs, note = notes
    assert (guided.name, blobs.name, note.name) == ("guided gradients", "blobs", "mask")
    assert guided.value["gradients"].shape[2] == 3
    np.testing.assert_array_equal(blobs.value["blobs"][blobs.value["united"]].any(axis=0), note.value["mask"])
    assert len(blobs.value["blobs"]) == len(blobs.value["scores"])
    assert note.value["label"] == 1
    assert note.value["mask"].shape == (4 * SIDE, 2 * SIDE)
    ys, xs = np.nonzero(note.value["mask"])
    np.testing.assert_array_equal(found.xyxy[0], [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def test_multi_gives_a_labeled_box_for_each_class_of_high_score_and_looks_at_no_label() -> None:
    both = localize(plain(per="multi"), (0,), oracle((0.4, 0.6)))
    assert set(both.labels.tolist()) == {0, 1}
    for box, label in zip(both.xyxy, both.labels.tolist(), strict=True):
        np.testing.assert_array_equal(box, localize(plain(), (label,), oracle((0.4, 0.6))).xyxy[0])
    assert (np.diff(both.scores) <= 0).all()
    network = oracle((0.2, 0.8))
    alone = localize(plain(per="multi"), (0,), network)
    assert [q.label for q in network.questions if isinstance(q, NeuronRank)] == [1]
    assert alone.labels.tolist() == [1]
    np.testing.assert_array_equal(alone.xyxy[0], in_image(*RECTANGLES[2]))


def test_top1_follows_the_prediction() -> None:
    network = oracle((0.2, 0.8))
    found = localize(plain(per="top1"), (0,), network)
    assert [q.label for q in network.questions if isinstance(q, NeuronRank)] == [-1]
    assert found.labels.tolist() == [-1]
    np.testing.assert_array_equal(found.xyxy[0], in_image(*RECTANGLES[2]))


@pytest.mark.parametrize("network", [oracle((0.9, 0.1), dead=[1]), oracle((0.9, np.nan))], ids=["no rank", "no output"])
def test_a_label_that_the_network_cannot_follow_gets_the_box_of_the_prediction(network: FakeNetwork) -> None:
    found = localize(plain(), (1,), network)
    assert found.labels.tolist() == [1]
    np.testing.assert_array_equal(found.xyxy, localize(plain(), (0,)).xyxy)


def test_without_any_rank_the_box_is_the_image() -> None:
    found = localize(plain(), (1,), oracle(dead=[-1, 0, 1]))
    np.testing.assert_array_equal(found.xyxy, [[0, 0, 2 * SIDE, 4 * SIDE]])
    assert found.scores.tolist() == [0]
    assert found.labels.tolist() == [1]


def test_without_labels_the_prediction_is_localized() -> None:
    assert localize(plain(), ()).labels.tolist() == [-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 11}, "kmax must be a whole number of at least 11"),
        ({"k": 0}, "k must be"),
        ({"percentile": 100}, "percentile must be"),
        ({"erode": 40}, "dilate must be a number of at least 40"),
        ({"per": "image"}, "per must be"),
        ({"score": "rank"}, "score must be"),
        ({"relative": 0}, "relative must be"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dam(**arguments)
