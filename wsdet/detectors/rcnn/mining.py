"""Training of all detectors of a run together, with hard negative mining.

An image has hundreds of proposals and nearly all show background: too many negatives to learn from at once, and most
of them easy. So the SVMs are trained on a *pool* of examples, which starts with the positives and a few negatives of
each image. Then come rounds: the SVMs score the proposals of every image, those that they wrongly take for objects
(*hard* negatives) join the pool, negatives that have become easy leave it, and the SVMs are trained again.

Computing features takes nearly all of the time, so one pass over the images serves every class of every detector: a
*task* is one class of one detector, and all tasks share one pool of features. Classes of one detector may share
negatives; detectors never do, so that one trained on pseudo-boxes gains nothing from the ground truth of another in the
same run.

The parts: `tasks` (what is learned, on which images), `training_images` (a pass over them), `negatives` (which
proposals are taken), `examples` (the pool), `pool_classifiers` (SVMs fitted to it). Here is the order of their work.

Sources: R-CNN (Girshick et al. 2014, and its published training code), Uijlings et al. 2013 section 5, and the
protocol of the self-taught localization authors; conf/detector/protocol/*.yaml name the values.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsdet.detectors.rcnn.examples import POSITIVE_BOX, ExamplePool, Targets, rows_that_fit
from wsdet.detectors.rcnn.features import BoxFeatures
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.detectors.rcnn.negatives import first_negatives, hard_negatives
from wsdet.detectors.rcnn.pool_classifiers import PoolClassifiers
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.svm import LinearClassifiers
from wsdet.detectors.rcnn.tasks import Tasks, find_tasks, sample_images
from wsdet.detectors.rcnn.training_images import TrainingImage, TrainingImages
from wsdet.sampling import image_generator
from wsdet.types import Bools, Boxes, Dataset, Floats, InputError

log = logging.getLogger(__name__)

_NORM_IMAGES, _NORM_BOXES = 200, 200  # images, and boxes of each, that R-CNN measures the features' mean norm on
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
    ) -> None:
        self.tasks = find_tasks(dataset, ids, positives)
        used_by = sample_images(dataset, ids, self.tasks, protocol, seed)
        self.images = TrainingImages(
            dataset, ids, positives, proposals, features, self.tasks, used_by, protocol, cache, strict
        )
        self.features = features
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
        measured = set(drawn[:_NORM_IMAGES].tolist())
        norms: list[Tensor] = []
        wants_whole = self.protocol.whole_first_image
        for image in self.images.visit("positives and first negatives"):
            rng = image_generator(image.image_id, self.seed)
            self._add_positives(image)
            if wants_whole:
                negatives = image.negative
            else:
                negatives = first_negatives(image, self.protocol, self._random_negatives, rng)
            wants_whole = wants_whole and not len(image.xyxy)
            self._add(image, negatives, None)
            if image.index in measured and len(image.xyxy):
                boxes = rng.permutation(len(image.xyxy))[:_NORM_BOXES]
                norms.append(self.features.features(image.maps, image.xyxy[boxes]).norm(dim=1))
        if not len(self.pool):
            raise InputError("no training image gave an example to learn from; the warnings before this say why")
        self._limit_start()
        x = self.pool.x[: len(self.pool)]
        mean_norm = float(torch.cat(norms).mean()) if norms else float(x.float().norm(dim=1).mean())
        self.scale = self.protocol.feature_norm / max(mean_norm, 1e-12)
        x *= self.scale
        log.info(
            "%d examples for %d classes x detectors at the start, mean feature norm %.3g, %.1f s",
            len(self.pool),
            len(self.tasks),
            mean_norm,
            time.perf_counter() - start,
        )

    def _add_positives(self, image: TrainingImage) -> None:
        """Puts each detector's boxes in the image into the pool."""
        used_by = self.images.used_by[image.image_id]
        for detector, by_id in enumerate(self.images.positives.values()):
            boxes = by_id.get(image.image_id, Boxes.empty())
            boxes = boxes[~boxes.difficult & (boxes.labels >= 0)]
            tasks = np.array([self.tasks.index_of[detector, int(label)] for label in boxes.labels], np.int64)
            boxes, tasks = boxes[used_by[tasks]], tasks[used_by[tasks]]
            if not len(boxes):
                continue
            targets: Targets = np.zeros((len(boxes), len(self.tasks)), np.int8)
            if self.protocol.share_negatives:
                # a box of another class is a negative like any proposal, but only in its own detector: one that trains
                # on pseudo-boxes must not learn from the ground truth
                own = np.array([pair[0] == detector for pair in self.tasks.pairs])
                targets[self.images.compare(image.image_id, boxes.xyxy)[0] & own] = -1
            targets[np.arange(len(boxes)), tasks] = 1
            x = self.features.features(image.maps, boxes.xyxy)
            self.pool.add(x, targets, image.index, np.full(len(boxes), POSITIVE_BOX), boxes.scores)

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
        for image in self.images.visit(description):
            if not len(image.xyxy):
                continue
            x = self.features.features(image.maps, image.xyxy) * self.scale
            scores = self._classifiers.current.scores(x).cpu().numpy()
            hard = hard_negatives(image, scores, self._known(image), self.tasks, self.protocol)
            added += int(hard.any(axis=1).sum())
            new += hard.sum(axis=0)
            self._add(image, hard, x)
            # R-CNN retrains in the middle of a pass: later images then add only what is still wrong after that
            due = np.flatnonzero(new > self.protocol.retrain_after)
            if self.protocol.retrain_after and len(due):
                self._classifiers.fit(due.tolist(), quietly=True)
                self._evict()
                new[due] = 0
        log.info("%s: %d boxes, %.1f s", description, added, time.perf_counter() - start)

    def _known(self, image: TrainingImage) -> Bools:
        """(m, n_tasks) whether a proposal is an example of a task already."""
        known = np.zeros_like(image.negative)
        rows = self.pool.rows_of(image.index)
        known[self.pool.boxes[rows]] = self.pool.targets[rows] != 0
        return known

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

    def _add(self, image: TrainingImage, negatives: Bools, x: Tensor | None) -> None:
        """Puts the proposals that are a negative of some task into the pool; those there already serve more tasks.

        Args:
            image: the image.
            negatives: (m, n_tasks).
            x: (m, dim) scaled features of the proposals, or None: they are computed for those that are needed.
        """
        rows = self.pool.rows_of(image.index)
        # a box is one row for all tasks: its features are kept once
        self.pool.targets[rows] -= negatives[self.pool.boxes[rows]] & (self.pool.targets[rows] == 0)
        fresh = np.asarray(negatives.any(axis=1))
        fresh[self.pool.boxes[rows]] = False
        boxes = np.flatnonzero(fresh)
        if not len(boxes):
            return
        if x is None:
            taken = self.features.features(image.maps, image.xyxy[boxes])
        else:
            taken = x[torch.from_numpy(boxes).to(x.device)]
        if len(boxes) > self.pool.room:
            self._make_room()
        self.pool.add(taken, -negatives[boxes].astype(np.int8), image.index, boxes)

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
