"""The studies' arithmetic, on made-up boxes: what they measure, not how they run."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from wsdet.types import Boxes, Dataset


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "scripts"))
    return importlib.import_module(request.param)


def one_box(*corners: float, label: int = 0) -> Boxes:
    return Boxes(np.array([corners]), labels=np.array([label]))


@pytest.mark.parametrize("study", ["benchmark_localizers"], indirect=True)
def test_images_of_one_object_alone_are_compared(study: Any, tiny_dataset: Dataset) -> None:
    assert study.of_one_object(tiny_dataset, tiny_dataset.ids("train")) == ["train_0", "train_1", "train_2"]


@pytest.mark.parametrize("study", ["benchmark_localizers"], indirect=True)
def test_the_table_has_a_row_for_each_localizer(study: Any) -> None:
    figures = {
        "corloc": 0.5,
        "corloc_interval": None,
        "mean_iou": 0.4,
        "center_correct": {"0.0": 1.0, "0.2": 0.5},
        "images_per_second": 1234.5,
        "passes_per_image": 0.0,
        "images": 3,
    }
    lines = study.as_table({"localizers": {"cam": figures, "dam": figures}}).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["cam", "dam"]
    assert len(lines[0].split("|")) == len(study.COLUMNS) + 3


@pytest.mark.parametrize("study", ["eiss_curves"], indirect=True)
def test_a_search_that_ended_keeps_its_last_region(study: Any) -> None:
    searches = {
        "a": {"xyxy": [[0, 0, 10, 10], [0, 0, 10, 5]], "cropped": [0.4, 0.2], "blackened": [0, 0.1], "score": 0.4},
        "b": {"xyxy": [[0, 0, 10, 10]], "cropped": [0.5], "blackened": [0.5], "score": 0.5},
    }
    truth = {"a": one_box(0, 0, 10, 5), "b": one_box(0, 0, 10, 10)}
    curves = study.mean_curves(searches, truth, 3)
    np.testing.assert_allclose(curves["mean_iou"], [0.75, 1, 1])
    np.testing.assert_allclose(curves["cropped"], [1, 0.75, 0.75])
    np.testing.assert_allclose(curves["blackened"], [0.5, 0.625, 0.625])
    assert (curves["images"], curves["mean_iterations"]) == (2, 1.5)


@pytest.mark.parametrize("study", ["eiss_curves"], indirect=True)
def test_a_search_has_converged_where_the_curves_would_have_met(study: Any) -> None:
    one = {"cropped": [0.9, 0.7, 0.5, 0.3], "blackened": [0.0, 0.2, 0.42, 0.5], "score": 1.0}
    assert [study.converged_after(one, eta) for eta in (60, 10, 5)] == [2, 3, 4]
    assert study.converged_after({"cropped": [0.9, 0.8], "blackened": [0.0, 0.1], "score": 1.0}, 10) == 2


@pytest.mark.parametrize("study", ["eiss_curves"], indirect=True)
@pytest.mark.parametrize(
    ("found", "predicted", "kind"),
    [
        ([0, 0, 10, 9], False, None),
        ([2, 2, 6, 6], False, "wrong class"),
        ([2, 2, 6, 6], True, "class correlation"),
        ([8, 8, 20, 20], True, "clutter"),
        ([30, 30, 40, 40], True, "clutter"),
        ([0, 0, 30, 30], True, "too large"),
    ],
)
def test_failures_are_told_apart(study: Any, found: list[float], predicted: bool, kind: str | None) -> None:
    assert study.failure(np.array([found], np.float32), np.array([[0, 0, 10, 10]], np.float32), predicted) == kind


@pytest.mark.slow
@pytest.mark.parametrize("study", ["eiss_curves"], indirect=True)
def test_curves_by_class_name_the_hardest_and_the_easiest(study: Any, tiny_dataset: Dataset, tmp_path: Path) -> None:
    ids = study.of_one_object(tiny_dataset, tiny_dataset.ids("train"))
    labels = [tiny_dataset.labels(image_id)[0] for image_id in ids]
    searches = {}
    for n, (image_id, label) in enumerate(zip(ids, labels, strict=True)):
        on_object = tiny_dataset.truth[image_id].xyxy[0].tolist()
        xyxy = [[0, 0, 64, 64]] * n + [on_object if n != 1 else [0, 0, 1, 1]]
        steps = len(xyxy)
        curve = {"cropped": [1.0] * n + [0.5], "blackened": [0.0] * n + [0.5], "score": 1.0}
        searches[image_id] = {"xyxy": xyxy, "predicted": [label]} | curve
        assert study.converged_after(searches[image_id], 10) == steps
    classes = study.by_class(searches, tiny_dataset, 5, 10)
    assert len(classes) == len(set(labels))
    hardest, easiest = study.extremes(classes, "iterations")
    assert hardest == easiest[::-1]
    assert classes[hardest[0]]["iterations"] >= classes[easiest[0]]["iterations"]
    assert sum(sum(one["failures"].values()) for one in classes.values()) == 1
    assert all(len(one["mean_iou"]) == 5 for one in classes.values())
    study.draw_by_class(tmp_path / "by_class.png", classes)
    assert (tmp_path / "by_class.png").read_bytes().startswith(b"\x89PNG")
    lines = study.classes_table(classes).splitlines()
    assert [cell.strip() for cell in lines[-1].split("|")[1:3]] == ["all", "3"]


@pytest.mark.parametrize("study", ["eiss_curves"], indirect=True)
def test_a_limit_by_class_keeps_rare_classes(study: Any, tiny_dataset: Dataset) -> None:
    ids = [image_id for image_id in tiny_dataset.ids("train") if tiny_dataset.labels(image_id)]
    kept = study.of_each_class(tiny_dataset, ids, 1, 0)
    labels = [tiny_dataset.labels(image_id)[0] for image_id in kept]
    assert sorted(labels) == sorted({tiny_dataset.labels(image_id)[0] for image_id in ids})
    assert sorted(study.of_each_class(tiny_dataset, ids, 0, 0)) == sorted(ids)


@pytest.mark.parametrize("study", ["class_correlation"], indirect=True)
def test_a_box_inside_its_object_is_told_from_one_beside_it(study: Any) -> None:
    truth = dict.fromkeys("abc", one_box(0, 0, 10, 10))
    found = {"a": one_box(2, 2, 6, 6), "b": one_box(0, 0, 10, 9), "c": one_box(8, 8, 12, 12)}
    figures = study.figures(found, truth, ["a", "b", "c", "missing"])
    assert figures["images"] == 3
    assert figures["inside"] == pytest.approx(1 / 3)
    assert figures["corloc"] == pytest.approx(1 / 3)
    assert figures["box_to_object"] == pytest.approx(0.4)
    assert [study.family_of(wnid) for wnid in ("n02123045", "n02106662", "n04146614", "n02132136")] == [
        "cats",
        "dogs",
        *2 * ["single classes"],
    ]


@pytest.mark.parametrize("study", ["cross_dataset"], indirect=True)
def test_each_target_class_finds_its_nearest_known_class(study: Any, tiny_dataset: Dataset) -> None:
    known = {"cat": np.array([1.0, 0]), "dog": np.array([3.0, 3.0])}
    close = study.nearest({"lynx": np.array([2.0, 0.1]), "wolf": np.array([1.0, 0.9])}, known)
    assert {target: name for target, (name, _) in close.items()} == {"lynx": "cat", "wolf": "dog"}
    assert close["wolf"][1] == pytest.approx(1.9 / np.sqrt(2 * 1.81))
    ids = ("train_0", "train_1", "train_4")
    boxes = {image_id: tiny_dataset.truth[image_id][:1] for image_id in ids}
    assert study.top_1_recall(boxes, tiny_dataset) == {"square": 1, "bar": 1, "disc": 0}


@pytest.mark.parametrize("study", ["correction_study"], indirect=True)
def test_curves_of_corrections_are_compared_seed_by_seed(study: Any, tmp_path: Path) -> None:
    seeds = [
        {
            "images": 50,
            "pseudo": 0.1 + shift,
            "ground_truth": 0.5 + shift,
            "curves": {
                "uncertain": {0: 0.1 + shift, 10: 0.3 + shift, 50: 0.5 + shift},
                "random": {0: 0.1 + shift, 10: 0.2 + shift, 50: 0.5 + shift},
                "uncertain_alone": {10: 0.25 + shift, 50: 0.5 + shift},
            },
        }
        for shift in (0.0, 0.2)
    ]
    head, _, *rows, ends = study.as_table(seeds).splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in (head, *rows)]
    curves = ["images corrected", "uncertain", "random", "uncertain, alone"]
    assert cells == [
        [*curves, "uncertain - random", "uncertain, alone - uncertain"],
        ["0", "0.200 ± 0.141", "0.200 ± 0.141", "-", "+0.000 ± 0.000", "-"],
        ["10", "0.400 ± 0.141", "0.300 ± 0.141", "0.350 ± 0.141", "+0.100 ± 0.000", "-0.050 ± 0.000"],
        ["50", "0.600 ± 0.141", "0.600 ± 0.141", "0.600 ± 0.141", "+0.000 ± 0.000", "+0.000 ± 0.000"],
    ]
    assert ends == "mAP pseudo 0.200 ± 0.141, ground_truth 0.600 ± 0.141"
    study.draw(seeds, tmp_path / "curve.png", "made up")
    assert (tmp_path / "curve.png").stat().st_size > 1000
