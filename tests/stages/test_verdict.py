"""The verdict: boxes that are found again and boxes that are not, and why; what it gathers on real dialogue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsdet.localizers.constant_boxes import CenterBox
from wsdet.metrics.average_precision import match
from wsdet.stages.evidence import Evidence, gather
from wsdet.stages.found_again import FoundAgain
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Execution, Run
from wsdet.stages.verdict import CAUSES, judge, text_of, verdict_of
from wsdet.types import Boxes, Sample

N = 40


def small_boxes(rng: np.random.Generator) -> np.ndarray:
    corner = rng.uniform(0, 0.7, (N, 2))
    return np.concatenate([corner, corner + 0.3], axis=1).astype(np.float32)


def evidence(kind: str, **changed: Any) -> Evidence:
    """Of 40 images of two classes in turn, whose boxes are right, always the center, or anywhere."""
    rng = np.random.default_rng(0)
    images, labels = np.arange(N), np.arange(N) % 2
    boxes = np.tile(np.array([[0.15, 0.15, 0.85, 0.85]], np.float32), (N, 1)) if kind == "center" else small_boxes(rng)
    found = small_boxes(rng) if kind == "anywhere" else boxes
    left = (
        np.tile(np.array([[0.1, 0.5]], np.float32), (N, 1))
        if kind == "right"
        else rng.random((N, 2)).astype(np.float32)
    )
    has = labels[:, None] == np.arange(2)
    one = Evidence(
        [f"{i}" for i in range(N)],
        images,
        labels,
        boxes,
        {"flip": (images, boxes, found)},
        boxes if kind == "right" else small_boxes(rng),
        left.astype(np.float32),
        np.ones(N, np.int64),
        np.where(has, 0.9, 0.1).astype(np.float32),
        has,
    )
    return replace(one, **changed)


def again(share: float, n: int = N, n_classes: int = 2) -> FoundAgain:
    """Of as many images, a share of whose boxes detectors find, and nothing else."""
    box = np.array([[0, 0, 10, 10]], np.float32)
    ids = [f"{i}" for i in range(n)]
    wanted = {one: Boxes(box, labels=np.array([i % n_classes])) for i, one in enumerate(ids)}
    found = {
        one: Boxes(box, np.ones(1, np.float32), np.array([i % n_classes])) for i, one in enumerate(ids) if i < share * n
    }
    return FoundAgain(ids, match(found, wanted, ids, n_classes))


def names(verdict: dict[str, Any]) -> set[str]:
    return {one["name"] for one in verdict["causes"]}


def test_boxes_that_are_found_again_are_trusted() -> None:
    found = verdict_of(again(1), evidence("right"), ("a", "b"))
    assert found["trust"] == 1
    assert (found["level"], found["causes"]) == ("good", [])
    assert found["by_class"] == {"a": 1, "b": 1}
    assert found["interval"] == [1, 1]


@pytest.mark.parametrize("kind", ["center", "anywhere"])
def test_boxes_that_say_nothing_are_not(kind: str) -> None:
    found = verdict_of(again(0), evidence(kind), ("a", "b"))
    assert found["trust"] == 0
    assert found["level"] == "bad"
    assert "unstable" in names(found)
    assert ("fixed boxes" in names(found)) == (kind == "center")


def test_fixed_boxes_are_not_trusted_however_well_they_are_found() -> None:
    found = verdict_of(again(1), evidence("center"), ("a", "b"))
    assert (found["trust"], found["level"]) == (1, "unsure")
    assert "fixed boxes" in names(found)


def test_trust_is_average_precision() -> None:
    half = verdict_of(again(0.5), evidence("right"), ("a", "b"))
    assert half["trust"] == pytest.approx(6 / 11)  # right to a recall of a half: six of the eleven points
    assert half["interval"][0] < half["trust"] < half["interval"][1]
    few = verdict_of(again(1, n=9), evidence("right"), ("a", "b"))
    assert few["by_class"] == {"a": 1}  # the other has four images


@pytest.mark.parametrize(
    ("name", "changed", "classes"),
    [
        ("unseen class", {"class_scores": np.full((N, 2), 0.5, np.float32)}, ("a", "b")),
        ("one class", {"labels": np.zeros(N, int)}, ("a",)),
        ("crowds", {"suggested": np.full(N, 3)}, ("a", "b")),
        ("small objects", {"xyxy": np.tile(np.array([[0.4, 0.4, 0.5, 0.5]], np.float32), (N, 1))}, ("a", "b")),
    ],
)
def test_the_cause_is_named(name: str, changed: dict[str, Any], classes: tuple[str, ...]) -> None:
    assert name in names(verdict_of(again(0, n_classes=len(classes)), evidence("anywhere", **changed), classes))
    plain = verdict_of(again(0), evidence("anywhere"), ("a", "b"))
    assert name not in names(plain)


def test_remedies_name_keys_that_there_are() -> None:
    reference = (Path(__file__).resolve().parents[2] / "docs" / "config.md").read_text(encoding="utf-8")
    for cause in CAUSES:
        for word in cause.remedy.replace(";", " ").replace(",", " ").split():
            key = word.partition("=")[0]
            if "=" in word and key not in ("data", "network", "localizer"):
                assert key.split(".")[-1] in reference, word


def test_nothing_to_look_at_says_nothing() -> None:
    none = np.zeros(0, np.int64)
    empty = Evidence(
        [], none, none, np.zeros((0, 4), np.float32), {}, np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32),
        none, np.zeros((0, 2), np.float32), np.zeros((0, 2), bool),
    )  # fmt: skip
    found = verdict_of(again(1, n=0), empty, ("a", "b"))
    assert found["trust"] is None
    assert "trust in the boxes, without ground truth: -" in text_of(found, Path("RUN"))


@pytest.fixture
def run(tiny_dataset: Any, tmp_path: Path) -> Run:
    from wsdet.networks.backbones import build_backbone
    from wsdet.networks.classifier import Network

    network = Network(build_backbone("tiny", 3, 64), [(0,), (1,), (2,)], device="cpu")
    how = Execution(workers=0)
    return Run(tiny_dataset, {"data": "tiny"}, {"train": tiny_dataset.ids("train")}, tmp_path, network, how)


CENTER = Recipe(
    "center_box",
    {"_target_": "wsdet.localizers.constant_boxes.CenterBox", "width": 0.7, "height": 0.7},
    "localizer",
    lambda settings, kind: CenterBox(settings["width"], settings["height"]),
)


class Corners:
    """Nine boxes in an image."""

    def propose(self, sample: Sample) -> Boxes:
        corners = np.stack(np.meshgrid(*[np.arange(0, 24, 8)] * 2), axis=-1).reshape(-1, 2)
        return Boxes(np.concatenate([corners, corners + 16], axis=1).astype(np.float32))


CORNERS = Recipe("corners", {"_target_": "corners"}, "proposals", lambda settings, kind: Corners())


def test_center_boxes_are_seen_through(run: Run) -> None:
    store, _ = run.localize(CENTER, run.train_ids)
    seen = gather(run, CENTER, store, n_images=40)
    assert len(seen.ids) == 5  # the one without a label is left out
    assert len(seen.labels) == 6  # one has two
    np.testing.assert_allclose(seen.xyxy, np.tile([[0.15, 0.15, 0.85, 0.85]], (6, 1)), atol=1e-6)
    signals = seen.signals()
    assert signals["stable_beyond_chance"] <= 0.01
    assert signals["center_box"] == 1
    rows, expected, found = seen.views["flip"]
    assert rows.tolist() == list(range(6))
    np.testing.assert_allclose(expected, found, atol=0.02)  # a centered box is where it was
    assert np.isfinite(seen.left).all()


def test_the_number_of_images_is_bounded(run: Run) -> None:
    store, _ = run.localize(CENTER, run.train_ids)
    assert judge(run, CENTER, CORNERS, store, 0) is None
    found = judge(run, CENTER, CORNERS, store, 2)
    assert found is not None
    assert found["images"] <= 2
    views = [path for path in (run.shared / "views").rglob("settings.json") if "localization" in path.parts]
    assert len(views) == 2
