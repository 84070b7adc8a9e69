"""What a run would cost, found by rehearsing it: the same stages on a few of its images, in a folder that goes again.

A rehearsal is the run itself, so it has the run's stages and no list of its own. The first one takes the time that is
taken once (modules, start-up); two more of different size, in a process that is warm, tell what an image costs beside
it. Of a detector that is trained in epochs one is rehearsed.
"""

from __future__ import annotations

import logging
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from wsdet.detectors.self_training import MeanTeacher
from wsdet.sampling import limited
from wsdet.stages.experiment import Experiment, run_experiment
from wsdet.stages.plan import Plan, Stage, images_of, line, workers_of
from wsdet.stages.run import Run
from wsdet.types import Split

if TYPE_CHECKING:
    from wsdet.detectors.trainer import DetectorTrainer

BUDGET = 25.0  # seconds of the processor that rehearsals may take: on a machine that others use, more go by
FEWEST, MOST = 3, 24  # training images of a rehearsal; a classifier needs two to learn from and one to measure on

_VERDICT = 2  # images that the verdict of a rehearsal looks at: one in each half
_LOOKED_AT = 1000  # images whose labels are looked at for those of a rehearsal
_SURE = 0.7  # share of the time left that a larger rehearsal is to take by what a smaller one took
_FOLDERS = {  # whose stage is not of their name
    "localization": "localize/",  # and the store's name
    "proposals": "propose",
    "feature_maps": "train_detectors",
    "detectors": "train_detectors",
    "detections": "detect",
    "rounds": "self_training",
}
_TRAINED = {"classifier", "region_classifier", "detectors"}
_OTHERS = "evaluate"  # the stage of all other files


@dataclass(frozen=True)
class _Measured:
    """What one rehearsal took.

    Attributes:
        counts: its training and test images.
        seconds: by stage.
        peaks: bytes by stage.
        disk: by stage, see `_disk_by_stage`.
        grown: bytes by stage that the whole run holds beside them.
        broken_off: the stage in which its time was over.
    """

    counts: tuple[int, int]
    seconds: Mapping[str, float]
    peaks: Mapping[str, float]
    disk: Mapping[str, tuple[float, float]]
    grown: Mapping[str, float]
    broken_off: str = ""


def plan(run: Run, experiment: Experiment | None, budget: float = BUDGET) -> Plan:
    """Rehearses a run on a few of its images, in at most `budget` seconds, and scales what it took.

    Args:
        run: the run; nothing is written into its folders, and its own network is not asked for.
        experiment: what it does; None: it trains the classifier, and stops there.
        budget: seconds of the processor.

    Raises:
        InputError: the configuration is not possible, or none of the images can be read.
    """
    return plans(run, experiment, [(len(run.train_ids), len(run.test_ids))], budget)[0]


def plans(
    run: Run, experiment: Experiment | None, counts: Sequence[tuple[int, int]], budget: float = BUDGET
) -> list[Plan]:
    """The same for other numbers of training and test images like the run's, all from the same rehearsals."""
    start, begun = time.perf_counter(), time.process_time()

    def left() -> float:
        return budget - (time.process_time() - begun)

    few = min(FEWEST, len(run.train_ids))
    shortened = None if experiment is None else _shortened(experiment)
    cold = _rehearse(run, shortened, few, left())
    rehearsals = [cold]
    if not cold.broken_off:
        before = left()
        rehearsals.append(_rehearse(run, shortened, few, before))
        wanted = max(2 * few, int(few * _SURE * left() / max(1e-3, before - left())))
        more = min(MOST, len(run.train_ids), wanted)
        if more > few:  # where it does not get to the end, its first stages count all the same
            rehearsals.append(_rehearse(run, shortened, more, left()))
    numbers, took = [one.counts[0] for one in rehearsals], time.perf_counter() - start
    return [
        Plan([_scaled(name, rehearsals, of, run, experiment) for name in cold.seconds], of, numbers, took)
        for of in counts
    ]


# --- rehearsals


def _shortened(experiment: Experiment) -> Experiment:
    """With a verdict on two images, each of which costs as much as localizing it several times.

    Where detectors are trained in epochs: with one detector and one epoch, which `_repetitions` makes up for.
    """
    experiment = replace(experiment, verdict=min(experiment.verdict, _VERDICT))
    if _repetitions("train_detectors", experiment) == 1:
        return experiment
    train_on, self_training = experiment.positives.train_on, experiment.self_training
    first = "pseudo" if "pseudo" in train_on else train_on[0]
    return replace(
        experiment,
        detector=experiment.detector.changed(training={**experiment.detector.settings["training"], "epochs": 1}),
        positives=replace(experiment.positives, train_on=[first]),
        self_training=replace(self_training, epochs=1) if isinstance(self_training, MeanTeacher) else self_training,
    )


def _repetitions(name: str, experiment: Experiment | None) -> int:
    """How many times as much of a stage the run does for each image as its rehearsals do."""
    if experiment is None or "training" not in experiment.detector.settings:
        return 1
    n_detectors, self_training = len(experiment.positives.train_on), experiment.self_training
    epochs = int(experiment.detector.settings["training"]["epochs"])
    repetitions = {
        "train_detectors": epochs * n_detectors,
        "detect": n_detectors,
        "self_training": self_training.epochs if isinstance(self_training, MeanTeacher) else epochs,
    }
    return repetitions.get(name, 1)


class _TimeIsOver(BaseException):
    """Not an `Exception`: nothing on the way is to handle it."""


def _rehearse(run: Run, experiment: Experiment | None, n: int, seconds: float) -> _Measured:
    """The run with `n` training images and its share of test images, in this process."""
    n_test = min(len(run.test_ids), max(1, round(n * len(run.test_ids) / max(1, len(run.train_ids)))))
    ids: dict[Split, Sequence[str]] = {
        "train": _of_many_classes(run, n),
        "test": limited(run.test_ids, n_test, run.execution.seed),
    }
    with tempfile.TemporaryDirectory(prefix="wsdet-plan-") as folder:
        small = run.rehearsal(ids, Path(folder))
        grown: Mapping[str, float] = {}
        is_over = False
        try:
            with _quiet(), _time_limit(seconds):
                if experiment is None:
                    small.train_classifier()
                else:
                    run_experiment(small, replace(experiment, visualize=0, title=""))
                    grown = _grown(small, experiment, len(run.train_ids))
        except _TimeIsOver:
            is_over = True
        taken, peaks = small.timings.column("seconds"), small.timings.column("peak_mb")
        disk = _disk_by_stage(Path(folder))
    bytes_held = {name: 1e6 * mb for name, mb in peaks.items()}
    return _Measured((n, n_test), taken, bytes_held, disk, grown, [*taken, ""][-2 if taken else -1] if is_over else "")


def _of_many_classes(run: Run, n: int) -> list[str]:
    """Sampled training images, first those that show a class which those before them do not.

    The whole run has all classes, and what trains a detector takes time for each.
    """
    sampled = limited(run.train_ids, min(_LOOKED_AT, len(run.train_ids)), run.execution.seed)
    seen: set[int] = set()
    new: list[str] = []
    others: list[str] = []
    for image_id in sampled:
        (others if seen.issuperset(run.dataset.labels(image_id)) else new).append(image_id)
        seen.update(run.dataset.labels(image_id))
    return [*new, *others][:n]


def _grown(small: Run, experiment: Experiment, n: int) -> dict[str, float]:
    """Bytes by stage that are held for `n` images at once, beside what a few of them take."""
    trainer: DetectorTrainer = experiment.detector.build()
    return {
        "classifier": min(2 * 2**30, n * 3 * small.network.input_size**2),
        "train_detectors": trainer.memory(n, len(experiment.positives.train_on), small.network),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what a run says: it is about a few images, and of no interest."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Ends the block with `_TimeIsOver`, where the system has timers; elsewhere it goes on to its end."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def over(*_: object) -> NoReturn:
        raise _TimeIsOver

    handler = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, max(0.1, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)


def _disk_by_stage(folder: Path) -> dict[str, tuple[float, float]]:
    """(bytes of what was trained, whose size does not depend on the images; bytes of everything else) by stage."""
    disk: dict[str, tuple[float, float]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            top, *rest = path.relative_to(folder).parts
            stage = _FOLDERS.get(top, top if rest else _OTHERS)
            stage += rest[0] if stage.endswith("/") else ""
            trained, others = disk.get(stage, (0.0, 0.0))
            size = path.stat().st_size
            disk[stage] = (trained + size, others) if top in _TRAINED else (trained, others + size)
    return disk


# --- from rehearsals to the run


def _scaled(
    name: str, rehearsals: Sequence[_Measured], counts: tuple[int, int], run: Run, experiment: Experiment | None
) -> Stage:
    """A stage of a whole run, from that of a cold, a warm and a larger rehearsal, or of as many as there are."""
    cold, *later = rehearsals
    # one that was broken off may have ended before it came to proposals a second time, for the test images
    warm = [
        one for one in later if not one.broken_off or (name in one.seconds and name not in (one.broken_off, "propose"))
    ]
    last = [cold, *warm][-1]

    def images(counts: tuple[int, int], n_verdict: int) -> int:
        """How many the stage goes over."""
        return images_of(name, counts, experiment.localizer.name if experiment else "", n_verdict)

    n_verdict = experiment.verdict if experiment else 0
    wanted = images(counts, n_verdict)
    points = [(images(one.counts, min(n_verdict, _VERDICT)), one.seconds[name]) for one in warm or [cold]]
    trained, others = last.disk.get(name, (0.0, 0.0))
    # a classifier that is loaded takes as long for any number of images; of one size all else comes with the images
    once, rate = (points[-1][1], 0.0) if name == "classifier" and not trained else line(points)
    start_up = max(0.0, cold.seconds[name] - points[0][1])
    others *= wanted / points[-1][0]
    if name == "train_detectors" and experiment is not None:  # feature maps are kept up to a limit
        others = min(others, 1e9 * experiment.detector.settings.get("cache_gigabytes", 0))
    return Stage(
        name,
        start_up + once + rate * wanted * _repetitions(name, experiment) / workers_of(name, run),
        _held(name, cold, [cold, *warm], counts[0], run.execution.in_flight) + cold.grown.get(name, 0.0),
        trained + others,
        name != cold.broken_off,
    )


def _held(name: str, cold: _Measured, rehearsals: Sequence[_Measured], n: int, in_flight: int) -> float:
    """Bytes that a stage holds of `n` training images: what is loaded, and the images in flight, of which few are seen.

    Freed memory stays with the process: what one stage needed is still there in the next.
    """
    if name == "classifier":
        return cold.peaks[name]
    loaded = min(cold.peaks.values())
    images = min(n, in_flight) / min(rehearsals[-1].counts[0], in_flight)
    return loaded + (max(one.peaks[name] for one in rehearsals) - loaded) * max(1.0, images)
