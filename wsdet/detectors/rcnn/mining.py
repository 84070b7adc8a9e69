"""Training of all detectors of a run together, with hard negative mining.

An image has hundreds of proposals and nearly all show background: too many negatives to learn from at once, and most
of them easy. So the SVMs are trained on a *pool* of examples, which starts with the positives and a few negatives of
each image. Then come rounds: the SVMs score the proposals of every image, those that they wrongly take for objects
(*hard* negatives) join the pool, negatives that have become easy leave it, and the SVMs are trained again.

Computing features takes nearly all of the time, so one pass over the images serves every class of every detector: a
*task* is one class of one detector, and all tasks share one pool of features. Classes of one detector may share
negatives; detectors never do, so that one trained on pseudo-boxes gains nothing from the ground truth of another in the
same run.

The parts: `tasks` (what is learned, on which images), `training_images` (a pass over them), `pass_jobs` (what it does
with each, in this process or others), `negatives` (which proposals are taken), `examples` (the pool),
`pool_classifiers` (SVMs fitted to it). Here is the order of their work.

Sources: R-CNN (Girshick et al. 2014, and its published training code), Uijlings et al. 2013 section 5, and the
protocol of the self-taught localization authors; conf/detector/protocol/*.yaml name the values.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsdet.detectors.rcnn.examples import POSITIVE_BOX, ExamplePool, Targets, rows_that_fit
from wsdet.detectors.rcnn.features import BoxFeatures
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.detectors.rcnn.pass_jobs import HardJob, Start, StartJob
from wsdet.detectors.rcnn.pool_classifiers import PoolClassifiers
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.svm import LinearClassifiers
from wsdet.detectors.rcnn.tasks import Tasks, find_tasks, sample_images
from wsdet.detectors.rcnn.training_images import TrainingImages
from wsdet.runners.job import Runner
from wsdet.runners.local import Local
from wsdet.types import Bools, Boxes, Dataset, Floats, InputError

log = logging.getLogger(__name__)

_NORM_IMAGES = 200  # that R-CNN measures the features' mean norm on
_FULL = 0.8  # of the pool stays when it had to make room


@dataclass(frozen=True, eq=False)
class TrainedTasks:
    """What training gives.

    Attributes:
        tasks: the tasks.
        classifiers: one classifier a task, for features as the extractor gives them.
        c: (n_tasks,) the C that each was trained with.
    """

    tasks: Tasks
    classifiers: LinearClassifiers
    c: npt.NDArray[np.float64]


class SvmTrainer:
    """One training run. See `wsdet.detectors.rcnn.training.train_detectors`, which wraps it.

    Args:
        dataset: gives images and their labels.
        ids: the images to learn from.
        positives: for each detector, its boxes by image id, each scored by its weight as a positive. A box flagged
            difficult is neither a positive nor may a negative overlap it.
        proposals: boxes by image id that negatives are taken from.
        features: describes boxes.
        protocol: the rules.
        solver: see `wsdet.detectors.rcnn.svm.solver_named`.
        seed: of every random choice; what is drawn from an image depends on it and the image's id alone.
        max_rows: size of the pool; None: what `rows_that_fit` says.
        cache: keeps the images' maps between passes.
        strict: raise the first image's `InputError` instead of leaving the image out.
        runner: where images are looked at; None: in this process. What is learned does not depend on it.

    Attributes:
        tasks: what is learned.
        images: what it is learned from.
        pool: the examples, their features multiplied by `scale`.
        scale: brings the features' mean norm to the protocol's, which its C is tuned to.
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: Sequence[str],
        positives: Mapping[str, Mapping[str, Boxes]],
        proposals: Mapping[str, Boxes],
        features: BoxFeatures,
        protocol: TrainingProtocol,
        solver: str = "newton_cg",
        seed: int = 0,
        max_rows: int | None = None,
        cache: MapCache | None = None,
        strict: bool = False,
        runner: Runner | None = None,
    ) -> None:
        self.tasks = find_tasks(dataset, ids, positives)
        used_by = sample_images(dataset, ids, self.tasks, protocol, seed)
        self.images = TrainingImages(
            dataset, ids, positives, proposals, features, self.tasks, used_by, protocol, cache, strict
        )
        self.features = features
        self.runner = runner or Local()
        self.protocol = protocol
        self.seed = seed
        self.scale = 1.0
        if max_rows is None:
            max_rows = rows_that_fit(features.dim, features.network.device)
        self.pool = ExamplePool(features.dim, len(self.tasks), max_rows, features.network.device)
        self._classifiers = PoolClassifiers(self.pool, self.tasks, protocol, solver, seed)
        # over many images the first negatives take at most half of the pool, every image as many as the others
        self._random_negatives = min(protocol.random_negatives, max(1, max_rows // (2 * max(1, len(ids)))))

    def run(self) -> TrainedTasks:
        """Collects, trains, mines and trains again."""
        self._collect()
        everything = range(len(self.tasks))
        self._classifiers.fit(everything)
        for number in range(1, self.protocol.rounds + 1):
            self._evict()
            self._mine(f"hard negatives, round {number} of {self.protocol.rounds}")
            if self.protocol.choose_c_each_round:  # hard negatives are more like positives: they may ask for another C
                self._classifiers.c[:] = np.nan
            self._classifiers.fit(everything)
        # scaling the weights instead of the features gives the same scores
        weights, biases = self._classifiers.current.weights * self.scale, self._classifiers.current.biases
        return TrainedTasks(self.tasks, LinearClassifiers(weights, biases), self._classifiers.c)

    def held_out_scores(self, folds: int, n_images: int) -> Iterator[tuple[str, Floats, Floats]]:
        """(image id, (m, 4) proposals, (m, n_tasks) scores) by classifiers that were not trained on the image.

        For each fold of the images they are solved again, with the negatives that `run` found in the others.

        Args:
            folds: how many parts the images are cut into.
            n_images: maximum number of images, sampled with the seed.
        """
        drawn = np.random.default_rng(self.seed).permutation(len(self.images.ids))
        solved = [self._classifiers.without(drawn[fold::folds].tolist()) for fold in range(folds)]
        fold_of = {int(index): place % folds for place, index in enumerate(drawn)}
        ids = [self.images.ids[index] for index in drawn[:n_images]]
        for image in self.images.visit("held-out scores", ids):
            if len(image.xyxy):
                x = self.features.features(image.maps, image.xyxy) * self.scale
                yield image.image_id, image.xyxy, solved[fold_of[image.index]].scores(x).cpu().numpy()

    # --- the start

    def _collect(self) -> None:
        """Positives, the first negatives, and the scale of the features."""
        start = time.perf_counter()
        drawn = np.random.default_rng(self.seed).permutation(len(self.images.ids))
        job = StartJob(self.images, self._random_negatives, self.seed, frozenset(drawn[:_NORM_IMAGES].tolist()))
        norms: list[Tensor] = []
        for found in self.images.results("positives and first negatives", lambda ids: self._started(job, ids)):
            for of_detector in found.positives:
                boxes = np.full(len(of_detector.x), POSITIVE_BOX)
                self.pool.add(of_detector.x, of_detector.targets, found.index, boxes, of_detector.weights)
            self._add(found.index, found.negatives, found.x)
            norms.append(found.norms)
        if not len(self.pool):
            raise InputError("no training image gave an example to learn from; the warnings before this say why")
        self._limit_start()
        x = self.pool.x[: len(self.pool)]
        measured = torch.cat(norms) if sum(map(len, norms)) else x.float().norm(dim=1)
        mean_norm = float(measured.mean())
        self.scale = self.protocol.feature_norm / max(mean_norm, 1e-12)
        x *= self.scale
        log.info(
            "%d examples for %d classes x detectors at the start, mean feature norm %.3g, %.1f s",
            len(self.pool),
            len(self.tasks),
            mean_norm,
            time.perf_counter() - start,
        )

    def _started(self, job: StartJob, ids: Sequence[str]) -> Iterator[tuple[str, Start | InputError]]:
        """The first pass. Where the first image is to give all negatives, those up to it are looked at here."""
        n_done = 0
        if self.protocol.whole_first_image:
            for image_id, found in replace(job, takes_all=True)(ids):
                n_done += 1
                yield image_id, found
                if not isinstance(found, InputError) and len(found.negatives):
                    break
        yield from self.runner.run(job, ids[n_done:])

    def _limit_start(self) -> None:
        """Forgets what a task has above `start_negatives`."""
        limit = self.protocol.start_negatives
        targets = self._targets
        for task in range(len(self.tasks)) if limit else ():
            rows = np.flatnonzero(targets[:, task] < 0)
            targets[np.random.default_rng([self.seed, task]).permutation(rows)[limit:], task] = 0
        self.pool.keep(np.asarray(targets.any(axis=1)))

    # --- rounds

    def _mine(self, description: str) -> None:
        """One pass over the images for negatives that the detectors take for objects."""
        start, added = time.perf_counter(), 0
        new = np.zeros(len(self.tasks), np.int64)
        job = HardJob(self.images, self._classifiers.current, self.scale, self.pool)
        # training within the pass changes what is hard in the images after it: they are looked at here, in turn
        runner = Local() if self.protocol.retrain_after else self.runner
        for found in self.images.results(description, lambda ids: runner.run(job, ids)):
            if not np.array_equal(found.known, self.pool.known(found.index, len(found.known))):
                # the pool has made room meanwhile, for which examples of this image were forgotten
                found = job.look(self.images.look(self.images.ids[found.index]))
            added += len(found.boxes)
            new += found.negatives.sum(axis=0)
            self._add(found.index, found.negatives, found.x)
            # R-CNN retrains in the middle of a pass: later images then add only what is still wrong after that
            due = np.flatnonzero(new > self.protocol.retrain_after)
            if self.protocol.retrain_after and len(due):
                self._classifiers.fit(due.tolist(), quietly=True)
                self._evict()
                new[due] = 0
                job.classifiers = self._classifiers.current
        log.info("%s: %d boxes, %.1f s", description, added, time.perf_counter() - start)

    def _evict(self) -> None:
        """Forgets easy negatives, which no longer move the classifier: their loss is 0 well before the margin."""
        if self.protocol.evict_below is None:
            return
        targets = self._targets
        easy = (targets < 0) & (self._classifiers.scores() < self.protocol.evict_below)
        if self.protocol.share_negatives:
            for tasks in self.tasks.by_detector():  # a shared row goes when no class of its detector needs it
                needed = ((targets[:, tasks] != 0) & ~easy[:, tasks]).any(axis=1)
                easy[:, tasks] = ~needed[:, None]
        targets[easy] = 0
        self.pool.keep(np.asarray(targets.any(axis=1)))

    # --- the pool

    @property
    def _targets(self) -> Targets:
        return self.pool.targets[: len(self.pool)]

    def _add(self, image: int, negatives: Bools, x: Tensor) -> None:
        """Puts the proposals that are a negative of some task into the pool; those there already serve more tasks.

        Args:
            image: its index.
            negatives: (m, n_tasks).
            x: (k, dim) features, as the pool has them, of the proposals that are a negative of some task.
        """
        rows = self.pool.rows_of(image)
        # a box is one row for all tasks: its features are kept once
        self.pool.targets[rows] -= negatives[self.pool.boxes[rows]] & (self.pool.targets[rows] == 0)
        boxes = np.flatnonzero(negatives.any(axis=1))
        is_fresh = ~np.isin(boxes, self.pool.boxes[rows])
        if not is_fresh.any():
            return
        boxes = boxes[is_fresh]
        if len(boxes) > self.pool.room:
            self._make_room()
        self.pool.add(x[torch.from_numpy(is_fresh)], -negatives[boxes].astype(np.int8), image, boxes)

    def _make_room(self) -> None:
        """Forgets the negatives that the detectors score lowest."""
        # a row stays for the task that needs it most; a positive always stays
        scores = np.where(self._targets < 0, self._classifiers.scores(), -np.inf)
        hardest = np.where(self._targets > 0, np.inf, scores).max(axis=1)
        wanted = int(_FULL * self.pool.max_rows)
        log.warning(
            "the examples fill all %d rows; the easiest %d are forgotten (detector.max_rows bounds the memory)",
            self.pool.max_rows,
            len(self.pool) - wanted,
        )
        keep: Bools = np.asarray(hardest == np.inf)
        keep[np.argsort(-hardest, kind="stable")[:wanted]] = True
        self.pool.keep(keep)
