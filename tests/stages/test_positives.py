"""What detectors are trained on, where a person has corrected some of the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TinyDataset
from wsdet.stages.positives import CORRECTED, CORRECTED_ALONE, Positives, positives_of
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, InputError


def boxes(*xyxy: tuple[float, float, float, float], labels: list[int]) -> Boxes:
    return Boxes(np.array(xyxy, np.float32).reshape(-1, 4), np.full(len(labels), 0.3, np.float32), np.array(labels))


@pytest.fixture
def localized(tiny_dataset: TinyDataset, tmp_path: Path) -> dict[str, BoxStore]:
    store = BoxStore(tmp_path / "boxes", {"made": "here"})
    pseudo = {
        image_id: boxes(*[(0, 0, 9, 9)] * len(labels), labels=labels)
        for image_id in tiny_dataset.ids("train")
        for labels in [list(tiny_dataset.labels(image_id))]
    }
    store.fill(list(pseudo), lambda ids: ((image_id, pseudo[image_id]) for image_id in ids), "boxes")
    return {"vote": store}


def test_a_persons_boxes_take_the_place_of_pseudo_boxes_or_stand_alone(
    tiny_dataset: TinyDataset, localized: dict[str, BoxStore]
) -> None:
    ids = tiny_dataset.ids("train")
    by_hand = {ids[0]: boxes((5, 5, 20, 20), (30, 5, 40, 20), labels=[0, 0]), ids[1]: Boxes.empty()}
    detectors = {CORRECTED: by_hand, CORRECTED_ALONE: by_hand}
    found = positives_of(Positives(), tuple(detectors), tiny_dataset, ids, localized, "vote", detectors)
    assert set(found[CORRECTED]) == set(ids)
    assert set(found[CORRECTED_ALONE]) == {ids[0], ids[1]}
    for positives in found.values():
        np.testing.assert_array_equal(positives[ids[0]].xyxy, by_hand[ids[0]].xyxy)
        assert positives[ids[0]].scores.tolist() == [1, 1]
        assert not len(positives[ids[1]])
    assert found[CORRECTED][ids[2]].xyxy.tolist() == [[0, 0, 9, 9]]


@pytest.mark.parametrize("name", [CORRECTED, CORRECTED_ALONE])
def test_without_corrections_nothing_is_trained_on_them(
    name: str, tiny_dataset: TinyDataset, localized: dict[str, BoxStore]
) -> None:
    with pytest.raises(InputError, match=f"train_on={name} needs corrections: python -m wsdet.improve"):
        positives_of(Positives(), [name], tiny_dataset, tiny_dataset.ids("train"), localized, "vote", {})
