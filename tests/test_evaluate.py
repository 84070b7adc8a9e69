"""The parts of `metrics.json`, and the command that writes them from stores."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import programs
from wsdet.data.synthetic import Synthetic
from wsdet.data.voc import Voc
from wsdet.stages.evaluate import (
    evaluate_detections,
    evaluate_localization,
    evaluate_proposals,
    ratio_of_detections,
    write_average_precision,
)
from wsdet.storage.box_store import BoxStore
from wsdet.storage.untrusted import read_json
from wsdet.types import Boxes, Dataset, InputError

TRAIN = [f"train_{i}" for i in range(6)]


def shifted(truth: Mapping[str, Boxes], pixels: float) -> dict[str, Boxes]:
    return {i: Boxes(true.xyxy + np.float32(pixels), true.scores, true.labels) for i, true in truth.items()}


def halves_wrong(truth: Mapping[str, Boxes]) -> dict[str, Boxes]:
    """The ground truth, but of every second image a box far away."""
    return {
        image_id: true if i % 2 else Boxes(true.xyxy + np.float32(1000), labels=true.labels)
        for i, (image_id, true) in enumerate(truth.items())
    }


@dataclass(frozen=True)
class Unreadable(Mapping[str, Boxes]):
    """Truth of which one annotation is malformed."""

    inner: Mapping[str, Boxes] = field(default_factory=dict)
    bad: str = ""

    def __getitem__(self, image_id: str) -> Boxes:
        if image_id == self.bad:
            raise InputError("annotation of it is malformed")
        return self.inner[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.inner)

    def __len__(self) -> int:
        return len(self.inner)


def test_true_boxes_are_perfect_pseudo_boxes(tiny_dataset: Dataset) -> None:
    figures = evaluate_localization(tiny_dataset.truth, tiny_dataset, TRAIN, resamples=20)
    assert figures["corloc"] == figures["mean_iou"] == figures["lost_corloc"] == figures["precision_at"]["1"] == 1
    assert figures["recall_at"] == {"1": pytest.approx((1 + 2 / 3 + 1) / 3), "10": 1, "100": 1}
    assert list(figures["center_correct"]) == [str(i / 20) for i in range(11)]
    assert set(figures["center_correct"].values()) == {1}  # to a margin of 0.5, where only the middle is right
    assert figures["corloc_over_images"] == 1
    assert figures["mean_iou_by_class"] == {"square": 1, "bar": 1, "disc": 1}
    assert figures["corloc_by_class"] == {"square": 1, "bar": 1, "disc": 1}
    assert figures["corloc_interval"] == [1, 1]
    assert figures["images"] == 5  # the sixth shows nothing


def test_boxes_elsewhere_find_nothing(tiny_dataset: Dataset) -> None:
    figures = evaluate_localization(shifted(tiny_dataset.truth, 1000), tiny_dataset, TRAIN, resamples=0)
    assert figures["corloc"] == figures["mean_iou"] == figures["precision_at"]["10"] == figures["recall_at"]["100"] == 0
    assert set(figures["center_correct"].values()) == {0}
    assert figures["corloc_interval"] is None


def test_images_without_boxes_or_truth_are_left_out_and_empty_boxes_are_not(tiny_dataset: Any) -> None:
    found = {"train_0": tiny_dataset.truth["train_0"], "train_1": Boxes.empty(), "train_2": Boxes.empty()}
    without = replace(tiny_dataset, truth={i: b for i, b in tiny_dataset.truth.items() if i != "train_2"})
    figures = evaluate_localization(found, without, TRAIN, resamples=0)
    assert (figures["corloc"], figures["images"]) == (0.5, 2)


def test_only_classes_that_the_image_is_labeled_with_count(tiny_dataset: Any) -> None:
    """VOC labels an image without the classes of which it shows difficult objects alone."""
    truth = dict(tiny_dataset.truth)
    truth["train_0"] = Boxes.concatenate(
        [truth["train_0"], Boxes(np.array([[0, 0, 5, 5]], np.float32), labels=np.array([2]))]
    )
    figures = evaluate_localization(tiny_dataset.truth, replace(tiny_dataset, truth=truth), TRAIN, resamples=0)
    assert figures["corloc"] == 1


def test_nothing_to_measure_is_none(tiny_dataset: Dataset) -> None:
    for figures in (
        evaluate_localization({}, tiny_dataset, TRAIN),
        evaluate_detections({}, tiny_dataset, TRAIN),
        evaluate_proposals({}, tiny_dataset, TRAIN),
        ratio_of_detections({}, {}, tiny_dataset, TRAIN),
    ):
        json.dumps(figures, allow_nan=False)
        assert figures.get("images", 0) == 0
        assert all(figures.get(key) is None for key in ("corloc", "map", "mabo", "ratio", "interval"))


def test_a_malformed_annotation_is_left_out_with_a_warning(tiny_dataset: Any, caplog: pytest.LogCaptureFixture) -> None:
    broken = replace(tiny_dataset, truth=Unreadable(tiny_dataset.truth, "train_3"))
    figures = evaluate_proposals(tiny_dataset.truth, broken, TRAIN)
    assert figures["images"] == 5
    assert "train_3 is not counted: annotation of it is malformed" in caplog.text


def test_detections_and_their_ratio(tiny_dataset: Dataset) -> None:
    truth, worse = tiny_dataset.truth, halves_wrong(tiny_dataset.truth)
    perfect = evaluate_detections(truth, tiny_dataset, TRAIN, resamples=20)
    assert perfect["map"] == perfect["map_all_point"] == perfect["coco"]["ap"] == 1
    assert perfect["map_interval"] == [1, 1]
    half = evaluate_detections(worse, tiny_dataset, TRAIN, resamples=0)
    assert 0 < half["map"] < 1
    ratio = ratio_of_detections(worse, truth, tiny_dataset, TRAIN, resamples=50)
    assert ratio["ratio"] == half["map"]
    assert ratio["interval"][0] < ratio["ratio"] < ratio["interval"][1]
    # the same images are drawn for both, so equal detectors have no spread
    assert ratio_of_detections(worse, worse, tiny_dataset, TRAIN, resamples=50) == {"ratio": 1, "interval": [1, 1]}
    assert ratio_of_detections(truth, shifted(truth, 1000), tiny_dataset, TRAIN)["ratio"] is None


def test_average_precision_file(tmp_path: Path) -> None:
    detectors = {
        "pseudo": {"ap": {"cat, tabby": 0.25}, "ap_all_point": {"cat, tabby": 0.5}},
        "ground_truth": {"ap": {"cat, tabby": 0.75, "dog": 1.0}, "ap_all_point": {"cat, tabby": 0.5, "dog": 1.0}},
    }
    write_average_precision(tmp_path / "ap.csv", detectors)
    with (tmp_path / "ap.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["class", "pseudo", "pseudo_all_point", "ground_truth", "ground_truth_all_point"],
        ["cat, tabby", "0.25", "0.5", "0.75", "0.5"],
        ["dog", "", "", "1.0", "1.0"],
    ]


def test_voc_truth_is_perfect(shared: Path) -> None:
    voc = Voc(shared / "data" / "VOCdevkit")
    test = evaluate_detections(voc.truth, voc, voc.ids("test"), resamples=0)
    assert test["map"] == pytest.approx(1)
    assert test["coco"]["ap"] == pytest.approx(1)
    assert (test["images"], len(test["ap"])) == (500, 20)
    train = evaluate_localization(voc.truth, voc, voc.ids("train"), resamples=0)
    assert (train["corloc"], train["mean_iou"], train["images"]) == (1, 1, 1000)
    assert evaluate_proposals(voc.truth, voc, voc.ids("test"))["precision_at"]["2000"] == 1


DATA = ["data.n_train=6", "data.n_test=4", "data.size=64"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of stores over six training and four test scenes: the truth itself, and a spoiled copy."""
    folder = tmp_path_factory.mktemp("stores")
    dataset = Synthetic(n_train=6, n_test=4, size=64, seed=0)
    ids = {split: dataset.ids(split) for split in ("train", "test")}
    for name, split in (("truth", "train"), ("found", "test")):
        truth = {i: dataset.truth[i] for i in ids[split]}
        _store(folder / name, truth)
        _store(folder / f"{name}_spoiled", halves_wrong(truth))
    return folder


def _store(folder: Path, boxes: Mapping[str, Boxes]) -> None:
    BoxStore(folder, {}).fill(list(boxes), lambda missing: ((i, boxes[i]) for i in missing), folder.name)


def run(*arguments: str, out: Path) -> subprocess.CompletedProcess[str]:
    return programs.run("evaluate", *arguments, f"out={out}")


@pytest.mark.slow
def test_command(stores: Path, tmp_path: Path) -> None:
    published = tmp_path / "published.json"
    curves = {f"MINE_mean_{panel}": {"other": {"n": [1, 10], "value": [0.1, 0.2]}} for panel in ("recall", "precision")}
    published.write_text(json.dumps({"curves": curves}))
    done = run(
        *DATA,
        f"boxes=[{stores}/truth,{stores}/truth_spoiled]",
        f"proposals={stores}/truth_spoiled",
        f"detections={{pseudo:{stores}/found_spoiled,ground_truth:{stores}/found}}",
        f"published={published}",
        "published_set=MINE",
        "resamples=20",
        out=tmp_path / "run",
    )
    assert done.returncode == 0, done.stderr
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["localization"]["truth"]["corloc"] == metrics["detectors"]["ground_truth"]["map"] == 1
    assert metrics["localization"]["truth_spoiled"]["images"] == 6
    assert metrics["ratio_pseudo_to_ground_truth"] == metrics["detectors"]["pseudo"]["map"] < 1
    assert 0 < metrics["proposals"]["truth_spoiled"]["recall_at"]["2000"] < 1
    assert (tmp_path / "run" / "proposals.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "run" / "ap.csv").exists()
    assert "| ground truth" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "nothing to evaluate: give boxes=STORE", id="nothing given"),
        pytest.param(["boxes=nowhere"], "nowhere is not a box store", id="no store"),
        pytest.param(
            ["boxes=STORES/truth", "data.n_train=0"], "boxes of none of the dataset's images", id="other data"
        ),
    ],
)
def test_command_says_what_is_wrong(stores: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(*(argument.replace("STORES", str(stores)) for argument in arguments), out=tmp_path / "run")
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
