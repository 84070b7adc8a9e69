"""What every proposal source keeps, whichever it is: found by listing conf/proposals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from tests.proposals.small_sam import save_small_sam
from wsdet.cli.build import build, settings_of
from wsdet.cli.entry_point import CONF
from wsdet.stages.recipe import Recipe, with_localized
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Pixels, ProposalSource, Sample

NAMES = sorted(path.stem for path in (CONF / "proposals").glob("*.yaml"))
SIZES = {"ordinary": (60, 90), "portrait": (90, 50), "one pixel": (1, 1), "one row": (1, 70)}


def made_up_pixels(h: int, w: int) -> Pixels:
    """Two ellipses on noise."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 120, (h, w, 3)).astype(np.uint8)
    cv2.ellipse(pixels, (w // 3, h // 2), (w // 5, h // 4), 0, 0, 360, (210, 60, 40), -1)
    cv2.ellipse(pixels, (3 * w // 4, h // 3), (w // 8, h // 6), 30, 0, 360, (30, 60, 220), -1)
    return pixels


SAMPLES = {name: Sample(name, made_up_pixels(*size)) for name, size in SIZES.items()}


@pytest.fixture(params=NAMES, scope="module")
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProposalSource]:
    """Each source of conf/proposals, at its defaults but for the files that it cannot do without."""
    tmp_path = tmp_path_factory.mktemp(request.param)
    overrides = [f"proposals={request.param}"]
    if request.param == "bing":
        overrides.append(f"proposals.model={request.getfixturevalue('shared')}/models/BING")
    if request.param == "sam":
        pytest.importorskip("transformers")
        overrides += [f"proposals.model={save_small_sam(tmp_path / 'sam')}", "proposals.points=2"]
    if request.param == "files":
        boxes = {name: [[0, 0, w, h, 0.5], [0, 0, w / 2, h, 0.9]] for name, (h, w) in SIZES.items()}
        (tmp_path / "boxes.json").write_text(json.dumps(boxes))
        overrides.append(f"proposals.path={tmp_path}/boxes.json")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = settings_of(compose("propose", overrides), "proposals")["proposals"]
        recipe = Recipe(request.param, settings, "proposals", build)
        yield with_localized(recipe, lambda localizer: as_localized(tmp_path / localizer.name)).build()


def as_localized(folder: Path) -> Path:
    """A store of a localizer's boxes, two labels an image."""
    made = {
        name: Boxes(np.array([[0, 0, w / 2, h], [0, 0, w, h]]), np.array([0.5, 0.9]), np.array([0, 1]))
        for name, (h, w) in SIZES.items()
    }
    BoxStore(folder, {}).fill(list(made), lambda ids: made.items(), "test")
    return folder


def equal(a: Boxes, b: Boxes) -> bool:
    return np.array_equal(a.xyxy, b.xyxy) and np.array_equal(a.scores, b.scores)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=list(SAMPLES))
def test_boxes_lie_in_the_image_best_first_without_repeats_or_labels(source: ProposalSource, sample: Sample) -> None:
    boxes = source.propose(sample)
    h, w = sample.size_hw
    assert (boxes.xyxy >= 0).all()
    assert (boxes.xyxy[:, 2:] <= [w, h]).all()
    assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()
    assert (np.diff(boxes.scores) <= 0).all()
    assert (boxes.labels == -1).all()
    assert len(np.unique(boxes.xyxy, axis=0)) == len(boxes) <= 10000


def test_an_ordinary_image_has_boxes(source: ProposalSource) -> None:
    assert len(source.propose(SAMPLES["ordinary"])) >= 2


def test_boxes_depend_on_the_image_alone(source: ProposalSource) -> None:
    ordinary, portrait = SAMPLES["ordinary"], SAMPLES["portrait"]
    before = ordinary.pixels.copy()
    one_order = [source.propose(sample) for sample in (ordinary, portrait)]
    other_order = [source.propose(sample) for sample in (portrait, ordinary)]
    assert equal(one_order[0], other_order[1])
    assert equal(one_order[1], other_order[0])
    assert np.array_equal(ordinary.pixels, before)


def test_a_copy_in_another_process_gives_the_same(source: ProposalSource) -> None:
    copy = copied(source)
    assert equal(copy.propose(SAMPLES["ordinary"]), source.propose(SAMPLES["ordinary"]))


def test_nothing_is_printed(source: ProposalSource, capfd: pytest.CaptureFixture[str]) -> None:
    source.propose(SAMPLES["ordinary"])
    assert capfd.readouterr().out == ""


loads: Callable[[bytes], ProposalSource] = ForkingPickler.loads


def copied(source: ProposalSource) -> ProposalSource:
    """The source as a worker process gets it."""
    return loads(bytes(ForkingPickler.dumps(source)))
