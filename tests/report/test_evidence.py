"""Pages of evidence: every kind of note is drawn, whatever the image and its boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsdet.localizers.eiss import Trajectory
from wsdet.questions import Note
from wsdet.report.evidence import draw_evidence
from wsdet.report.evidence_maps import mean_over, share_over, tree_places
from wsdet.types import Boxes, Sample

H, W = 60, 90
SAMPLE = Sample("a/$b$.jpg", np.random.default_rng(0).integers(0, 255, (H, W, 3)).astype(np.uint8), (0,))
FOUND = Boxes(np.array([[10, 10, 50, 40], [0, 0, 90, 60]]), np.array([0.5, 0.1]), np.array([0, 0]))
TRUE = Boxes(np.array([[12, 8, 55, 44]]), labels=np.array([0]))
BLOBS = np.zeros((2, H, W), bool)
BLOBS[0, 20:40, :30], BLOBS[1, 5:15, 40:80] = True, True
TREE = {
    "label": 0,
    "xyxy": np.array([[0, 0, 45, 60], [45, 0, 90, 60], [10, 10, 50, 40], [0, 0, 50, 60], [0, 0, 90, 60]], np.float32),
    "drops": np.array([0.1, 0, 0.5, 0.3, 0.1], np.float32),
    "merges": np.array([[0, 2], [3, 1]]),
}
VALUES: dict[str, Any] = {
    "heat map": {"label": 0, "map": np.linspace(0, 1, H * W, dtype=np.float32).reshape(H, W)},
    "windows": {"label": -1, "xyxy": FOUND.xyxy, "scores": FOUND.scores},
    "guided gradients": {"label": 0, "gradients": np.linspace(-1, 2, 48, dtype=np.float32).reshape(4, 4, 3)},
    "blobs": {"label": 0, "blobs": BLOBS, "scores": np.array([0.2, 0.7]), "united": np.array([1])},
    "mask": {"label": 0, "mask": BLOBS[1]},
    "eiss trajectory": Trajectory(0, FOUND.xyxy[::-1].copy(), np.array([0.1, 0.3]), np.array([0.9, 0.4]), 0.8),
    "region tree": TREE,
    "votes": {"label": 0, "xyxy": FOUND.xyxy, "prior_weights": np.array([0.9, 0.3], np.float32)},
    "of another kind": "passed over",
}
ONE_REGION = {"label": 0, "xyxy": np.array([[0, 0, 90, 60]], np.float32), "drops": np.zeros(1), "merges": []}


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page without notes."""
    path = tmp_path_factory.mktemp("evidence") / "plain.png"
    draw_evidence(path, SAMPLE, [], FOUND, TRUE, ("cat",))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", VALUES)
def test_each_kind_of_note_adds_to_the_page(tmp_path: Path, plain: Path, kind: str) -> None:
    noted = tmp_path / "sub" / "noted.png"
    draw_evidence(noted, SAMPLE, [Note(kind, VALUES[kind])], FOUND, TRUE, ("cat",))
    assert (size_of(noted)[0] > size_of(plain)[0]) == (kind != "of another kind")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("found", "true"),
    [(Boxes.empty(), None), (Boxes.empty(), TRUE), (FOUND, Boxes.empty()), (FOUND, TRUE)],
    ids=["neither", "truth", "found", "both"],
)
def test_a_page_of_everything(tmp_path: Path, found: Boxes, true: Boxes | None) -> None:
    notes = [Note(kind, value) for kind, value in VALUES.items()]
    notes.append(Note("region tree", ONE_REGION))
    draw_evidence(tmp_path / "page.png", SAMPLE, notes, found, true, ("cat",))
    assert (tmp_path / "page.png").exists()


def test_branches_of_a_tree_do_not_cross() -> None:
    assert tree_places(5, [(0, 2), (3, 1)]).tolist() == [0, 2, 1, 0.5, 1.25]
    assert tree_places(1, []).tolist() == [0]


def test_the_mean_over_a_pixel_counts_the_boxes_that_cover_it() -> None:
    heat = mean_over(np.array([[0, 0, 2, 2], [1, 0, 3, 1]], np.float32), np.array([1, 3], np.float32), (2, 4))
    assert heat.tolist() == [[1, 2, 3, 0], [1, 1, 0, 0]]


def test_a_pixel_has_the_share_of_the_prior_weight_that_covers_it() -> None:
    xyxy = np.array([[0, 0, 2, 2], [1, 0, 3, 1]], np.float32)
    share = share_over(xyxy, np.array([3, 1], np.float32), (2, 4))
    assert share.tolist() == [[0.75, 1, 0.25, 0], [0.75, 0.75, 0, 0]]
    assert not share_over(xyxy, np.zeros(2, np.float32), (2, 4)).any()
