"""What many tests share: the real photos where they are, a seeded generator, and a dataset small enough to read."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import programs
from wsdet.questions import Cropped, Kept, Masked, NetworkInput, Outputs, Question, Regions, Whole
from wsdet.types import Boxes, Pixels, Sample, Split

# before torch is loaded: its threads wait for each other, and on a busy machine tests take many times as long
os.environ.setdefault("OMP_NUM_THREADS", "1")
# what runs cost is kept in the user's cache; tests have one of their own, empty
os.environ["WSDET_CACHE"] = tempfile.mkdtemp(prefix="wsdet-cache-")
# run in the background, a shell has pytest ignore SIGINT, and the programs that tests interrupt would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)

CLASSES = ("square", "bar", "disc")
COLORS = ((220, 40, 40), (40, 200, 60), (50, 70, 230))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for the fixture `shared` is marked so, and `-m "not shared"` leaves it out.

    Modules with the most slow tests come first, so that of several processes none is left with one at the end.
    """
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)
    slow = {(item.path, getattr(item, "originalname", "")) for item in items if item.get_closest_marker("slow")}
    n_slow = Counter(path for path, _ in slow)
    items.sort(key=lambda item: -n_slow[item.path])


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and weights; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("WSDET_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no photos in {folder}; WSDET_SHARED=FOLDER names another place")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that is the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of the runner `Local` are forked off the process that `tests.programs` starts; it has loaded torch.

    They share nothing with this process, as those that are spawned: jobs and results travel as ever.
    """
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: programs.context)


@dataclass(frozen=True)
class TinyDataset:
    """A handful of made-up images that satisfies the Protocol `Dataset`: plain shapes on noise, with their boxes.

    Training images 0, 1, 2 hold one object of that class, 3 holds two of one class, 4 two classes, 5 nothing; test
    images likewise. Sizes differ from image to image, landscape and portrait.
    """

    classes: tuple[str, ...] = CLASSES
    samples: Mapping[str, Sample] = field(default_factory=dict)
    truth: Mapping[str, Boxes] = field(default_factory=dict)

    def ids(self, split: Split) -> tuple[str, ...]:
        return tuple(image_id for image_id in self.samples if image_id.startswith(split))

    def labels(self, image_id: str) -> tuple[int, ...]:
        return self.samples[image_id].labels

    def load(self, image_id: str) -> Sample:
        return self.samples[image_id]


@pytest.fixture(scope="session")
def tiny_dataset() -> TinyDataset:
    """Six training and six test images of 48 to 72 pixels; see `TinyDataset`."""
    rng = np.random.default_rng(0)
    samples, truth = {}, {}
    for split in ("train", "test"):
        for index, labels in enumerate([(0,), (1,), (2,), (1, 1), (0, 2), ()]):
            image_id = f"{split}_{index}"
            pixels, boxes = _draw(labels, rng)
            samples[image_id] = Sample(image_id, pixels, tuple(sorted(set(labels))))
            truth[image_id] = boxes
    return TinyDataset(samples=samples, truth=truth)


def _draw(labels: tuple[int, ...], rng: np.random.Generator) -> tuple[Pixels, Boxes]:
    """Objects in their color, side by side, on gray noise."""
    h, w = (int(side) for side in rng.integers(48, 73, size=2))
    pixels = rng.integers(90, 150, size=(h, w, 1)).repeat(3, axis=2).astype(np.uint8)
    corners = []
    for place, label in enumerate(labels):
        left, right = place * w // len(labels), (place + 1) * w // len(labels)
        side = int(rng.integers(12, min(right - left, h) - 3))
        x, y = int(rng.integers(left, right - side)), int(rng.integers(0, h - side))
        width = side // 2 if CLASSES[label] == "bar" else side
        rows, columns = np.indices((side, width))
        inside = np.ones((side, width), bool)
        if CLASSES[label] == "disc":
            inside = np.hypot(rows - (side - 1) / 2, columns - (side - 1) / 2) <= side / 2
        pixels[y : y + side, x : x + width][inside] = COLORS[label]
        corners.append([x, y, x + width, y + side])
    return pixels, Boxes(np.array(corners, np.float32), labels=np.array(labels, np.int64))


class FakeNetwork:
    """Stands for `wsdet.networks.classifier.Network` before the engine; a test makes up its answers.

    Args:
        row: the row of answer to an input, whose `view` is the sample. Of questions that `Outputs` answer: the class
            scores (c,), or logits and class scores (2, c); of `Regions`, the same for each box. Of others: the answer.
        unknown: classes that no output stands for.

    Attributes:
        inputs: what it was asked so far.
        batches: how many at a time.
        prepared: the images.
    """

    input_size = 8
    fingerprint = "fake"

    def __init__(self, row: Callable[[NetworkInput], Any], unknown: Sequence[int] = ()) -> None:
        self._row = row
        self._unknown = list(unknown)
        self.inputs: list[NetworkInput] = []
        self.batches: list[int] = []
        self.prepared: list[str] = []

    @property
    def questions(self) -> list[Any]:
        """What was asked, in order, once for each input."""
        return [one.question for one in self.inputs]

    def prepare(self, sample: Sample) -> Sample:
        self.prepared.append(sample.image_id)
        return sample

    def answer(self, inputs: Sequence[NetworkInput]) -> list[Any]:
        self.inputs.extend(inputs)
        self.batches.append(len(inputs))
        return [self._row(one) for one in inputs]

    def assemble(self, question: Question, rows: Sequence[Any]) -> Any:
        if not isinstance(question, Whole | Masked | Cropped | Kept | Regions):
            return rows[0] if len(rows) else np.zeros((0, 3, self.input_size, self.input_size), np.float32)
        of_boxes = rows[0] if isinstance(question, Regions) else rows
        values = np.stack(of_boxes).astype(np.float32) if len(of_boxes) else np.zeros((0, 1), np.float32)
        logits, scores = (values[:, 0], values[:, 1]) if values.ndim == 3 else (values, values)
        class_scores = scores.copy()
        class_scores[:, self._unknown] = np.nan
        return Outputs(logits, scores, class_scores)
