"""Training of all detectors of a run together, with hard negative mining.

Computing features takes nearly all of the time, so one pass over the images serves every class of every detector: a
*task* is one class of one detector, and all tasks share one pool of features. The `TrainingProtocol` decides what a
task takes from an image. Classes of one detector may share negatives; detectors never do, so that one trained on
pseudo-boxes gains nothing from the ground truth of another in the same run.

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

from wsdet.boxes import iou, nms
from wsdet.detectors.rcnn.cross_validation import choose_c
from wsdet.detectors.rcnn.examples import POSITIVE_BOX, ExamplePool, Targets, rows_that_fit
from wsdet.detectors.rcnn.features import BoxFeatures, Maps
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.rows import Rows
from wsdet.detectors.rcnn.svm import LinearClassifiers, SvmProblem, solver_named
from wsdet.progress import Bar
from wsdet.sampling import image_generator
from wsdet.types import Bools, Boxes, Dataset, Floats, InputError, Ints

log = logging.getLogger(__name__)

_NORM_IMAGES, _NORM_BOXES = 200, 200  # images, and boxes of each, that R-CNN measures the features' mean norm on
_COLUMNS = 64  # tasks solved together
_FULL = 0.8  # of the pool stays when it had to make room


@dataclass(frozen=True)
class Tasks:
    """One binary problem for each class of each detector that has a positive box.

    Attributes:
        detectors: names of the detectors.
        pairs: (detector's index, class index) of each task.
    """

    detectors: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def by_detector(self) -> list[Ints]:
        """The tasks of each detector that has any."""
        of = np.array([detector for detector, _ in self.pairs])
        return [np.flatnonzero(of == detector) for detector in np.unique(of)]


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


@dataclass(frozen=True, eq=False)
class _Page:
    """An image while a pass looks at it.

    Attributes:
        index: its place in the list of ids.
        xyxy: (m, 4) proposals.
        maps: for the features.
        negative: (m, n_tasks) whether a proposal is a negative of the task.
        nearest: (m, n_tasks) highest IoU with a box of the task's class, 0 without.
        positive: (n_tasks,) whether this is a positive image of the task.
    """

    image_id: str
    index: int
    xyxy: Floats
    maps: Maps
    negative: Bools
    nearest: Floats
    positive: Bools


class SvmTrainer:
    """One training run. See `wsdet.detectors.rcnn.detector.train_detectors`, which wraps it.

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
        self.dataset = dataset
        self.ids = tuple(ids)
        self.positives = positives
        self.proposals = proposals
        self.features = features
        self.protocol = protocol
        self.solve = solver_named(solver)
        self.seed = seed
        self.cache = cache
        self.strict = strict
        self.tasks = self._find_tasks()
        self.scale = 1.0
        if max_rows is None:
            max_rows = rows_that_fit(features.dim, features.network.device)
        self.pool = ExamplePool(features.dim, len(self.tasks), max_rows, features.network.device)
        self.classifiers = LinearClassifiers.zeros(features.dim, len(self.tasks), features.network.device)
        self.c = np.full(len(self.tasks), np.nan)
        self._task_of = {pair: index for index, pair in enumerate(self.tasks.pairs)}
        self._used_by = self._sample_images()
        self._broken: dict[str, str] = {}
        # over many images the first negatives take at most half of the pool, every image as many as the others
        self._random_negatives = min(protocol.random_negatives, max(1, max_rows // (2 * max(1, len(self.ids)))))

    def run(self) -> TrainedTasks:
        """Collects, trains, mines and trains again."""
        self._collect()
        everything = list(range(len(self.tasks)))
        self._train(everything)
        for number in range(1, self.protocol.rounds + 1):
            self._evict()
            self._mine(f"hard negatives, round {number} of {self.protocol.rounds}")
            if self.protocol.choose_c_each_round:  # hard negatives are more like positives: they may ask for another C
                self.c[:] = np.nan
            self._train(everything)
        return TrainedTasks(
            self.tasks, LinearClassifiers(self.classifiers.weights * self.scale, self.classifiers.biases), self.c
        )

    def maps(self, image_id: str) -> Maps:
        """An image's maps, kept or computed now.

        Raises:
            InputError: the image cannot be read.
        """

        def compute() -> Maps:
            return self.features.maps(self.dataset.load(image_id))

        return self.cache.maps(image_id, compute) if self.cache else compute()

    def held_out_scores(self, folds: int, n_images: int) -> Iterator[tuple[str, Floats, Floats]]:
        """(image id, (m, 4) proposals, (m, n_tasks) scores) by classifiers that were not trained on the image.

        For each fold of the images they are solved again, with the negatives that `run` found in the others.

        Args:
            folds: how many parts the images are cut into.
            n_images: maximum number of images, sampled with the seed.
        """
        drawn = np.random.default_rng(self.seed).permutation(len(self.ids))
        solved = [self._without(drawn[fold::folds].tolist()) for fold in range(folds)]
        fold_of = {int(index): place % folds for place, index in enumerate(drawn)}
        ids = [self.ids[index] for index in drawn[:n_images]]
        for page in self._pages("held-out scores", ids):
            if len(page.xyxy):
                x = self.features.features(page.maps, page.xyxy) * self.scale
                yield page.image_id, page.xyxy, solved[fold_of[page.index]].scores(x).cpu().numpy()

    def _without(self, images: Sequence[int]) -> LinearClassifiers:
        """The classifiers of all tasks, solved without some images."""
        classifiers = self.classifiers
        for group in self._groups(list(range(len(self.tasks)))):
            problem, _ = self._problem(group, images)
            classifiers = self._solved(problem, group, classifiers)
        return classifiers

    def _find_tasks(self) -> Tasks:
        pairs = set()
        for index, by_id in enumerate(self.positives.values()):
            for image_id in self.ids:
                boxes = by_id.get(image_id, Boxes.empty())
                positive = ~boxes.difficult & (boxes.labels >= 0)
                if (boxes.scores[positive] <= 0).any():
                    raise ValueError(f"scores of positives are their weights: they must be > 0, but not in {image_id}")
                pairs |= {(index, int(label)) for label in boxes.labels[positive]}
        detectors = tuple(self.positives)
        for index, name in enumerate(detectors):
            missing = [c for label, c in enumerate(self.dataset.classes) if (index, label) not in pairs]
            if missing:
                log.warning("detector %s has no positive box of %s: it will never find one", name, ", ".join(missing))
        if not pairs:
            raise InputError(f"there is no positive box to train the detectors {', '.join(detectors)} on")
        return Tasks(detectors, tuple(sorted(pairs)))

    def _sample_images(self) -> dict[str, Bools]:
        """(n_tasks,) by image id: which tasks train on the image.

        A class draws the same images for every detector, so that detectors differ in their boxes alone.
        """
        used = np.ones((len(self.ids), len(self.tasks)), bool)
        protocol = self.protocol
        if protocol.positive_images or protocol.negative_images:
            has = np.zeros((len(self.ids), len(self.dataset.classes)), bool)
            for row, image_id in enumerate(self.ids):
                has[row, list(self.dataset.labels(image_id))] = True
            for task, (_, label) in enumerate(self.tasks.pairs):
                used[:, task] = _sampled_images(
                    has, label, protocol.positive_images, protocol.negative_images, [self.seed, label]
                )
        return dict(zip(self.ids, used, strict=True))

    # --- passes over the images

    def _pages(self, description: str, ids: Sequence[str] | None = None) -> Iterator[_Page]:
        """The images, or `ids`, that can be read and that a task uses; a broken one is left out, with one warning."""
        index_of = {image_id: index for index, image_id in enumerate(self.ids)}
        for image_id in Bar(self.ids if ids is None else ids, desc=description, unit="image", smoothing=0.1):
            index = index_of[image_id]
            if image_id in self._broken or not self._used_by[image_id].any():
                continue
            try:
                xyxy = self.proposals.get(image_id, Boxes.empty()).xyxy[: self.protocol.max_proposals or None]
                maps = self.maps(image_id)
            except InputError as error:
                if self.strict:
                    raise
                log.warning("%s is left out: %s", image_id, error)
                self._broken[image_id] = str(error)
                continue
            yield _Page(image_id, index, xyxy, maps, *self._compare(image_id, xyxy))

    def _compare(self, image_id: str, xyxy: Floats) -> tuple[Bools, Floats, Bools]:
        """What `_Page` says of (m, 4) boxes: `negative`, `nearest`, `positive`."""
        negative = np.ones((len(xyxy), len(self.tasks)), bool)
        nearest = np.zeros((len(xyxy), len(self.tasks)), np.float32)
        positive = np.zeros(len(self.tasks), bool)
        labels = set(self.dataset.labels(image_id))
        for detector, by_id in enumerate(self.positives.values()):
            boxes = by_id.get(image_id, Boxes.empty())
            for label in labels | set(boxes.labels.tolist()):
                task = self._task_of.get((detector, label))
                if task is None:
                    continue
                own = boxes.xyxy[boxes.labels == label]
                if len(own):
                    nearest[:, task] = iou(xyxy, own).max(axis=1)
                # an image with the label and without a box hides its object anywhere: no proposal is safely a negative
                negative[:, task] = nearest[:, task] < self.protocol.negative_iou if len(own) else False
                positive[task] = True
        return negative & self._used_by[image_id], nearest, positive

    # --- the start

    def _collect(self) -> None:
        """Positives, the first negatives, and the scale of the features."""
        start = time.perf_counter()
        measured = set(np.random.default_rng(self.seed).permutation(len(self.ids))[:_NORM_IMAGES].tolist())
        norms: list[Tensor] = []
        wants_whole = self.protocol.whole_first_image
        for page in self._pages("positives and first negatives"):
            rng = image_generator(page.image_id, self.seed)
            self._add_positives(page)
            targets = self._first_negatives(page, rng, wants_whole)
            wants_whole = wants_whole and not len(page.xyxy)
            self._add(page, targets, None)
            if page.index in measured and len(page.xyxy):
                drawn = rng.permutation(len(page.xyxy))[:_NORM_BOXES]
                norms.append(self.features.features(page.maps, page.xyxy[drawn]).norm(dim=1))
        if not len(self.pool):
            raise InputError("no training image gave an example to learn from; the warnings before this say why")
        self._limit_start()
        mean_norm = (
            float(torch.cat(norms).mean()) if norms else float(self.pool.x[: len(self.pool)].float().norm(dim=1).mean())
        )
        self.scale = self.protocol.feature_norm / max(mean_norm, 1e-12)
        self.pool.x[: len(self.pool)] *= self.scale
        log.info(
            "%d examples for %d classes x detectors at the start, mean feature norm %.3g, %.1f s",
            len(self.pool),
            len(self.tasks),
            mean_norm,
            time.perf_counter() - start,
        )

    def _add_positives(self, page: _Page) -> None:
        for detector, by_id in enumerate(self.positives.values()):
            boxes = by_id.get(page.image_id, Boxes.empty())
            boxes = boxes[~boxes.difficult & (boxes.labels >= 0)]
            tasks = np.array([self._task_of[detector, int(label)] for label in boxes.labels], np.int64)
            boxes, tasks = boxes[self._used_by[page.image_id][tasks]], tasks[self._used_by[page.image_id][tasks]]
            if not len(boxes):
                continue
            targets: Targets = np.zeros((len(boxes), len(self.tasks)), np.int8)
            if self.protocol.share_negatives:
                # a box of another class is a negative like any proposal, but only in its own detector: one that trains
                # on pseudo-boxes must not learn from the ground truth
                own = np.array([pair[0] == detector for pair in self.tasks.pairs])
                targets[self._compare(page.image_id, boxes.xyxy)[0] & own] = -1
            targets[np.arange(len(boxes)), tasks] = 1
            x = self.features.features(page.maps, boxes.xyxy)
            self.pool.add(x, targets, page.index, np.full(len(boxes), POSITIVE_BOX), boxes.scores)

    def _first_negatives(self, page: _Page, rng: np.random.Generator, whole: bool) -> Bools:
        """(m, n_tasks) the proposals that are negatives of a task from the start."""
        protocol = self.protocol
        if whole:
            return page.negative
        chosen = np.zeros_like(page.negative)
        chosen[rng.permutation(len(page.xyxy))[: self._random_negatives]] = True  # the same boxes for every task
        if not protocol.random_in_positive_images:
            chosen &= ~page.positive
        order = rng.permutation(len(page.xyxy))
        # boxes with a part of the object, or with too much around it, are what a detector most often takes for it
        for task in np.flatnonzero(page.positive) if protocol.near_iou is not None else ():
            near = order[(page.nearest[order, task] >= protocol.near_iou) & page.negative[order, task]]
            apart = nms(page.xyxy[near], np.zeros(len(near), np.float32), protocol.near_nms)
            chosen[near[apart[: protocol.near_per_image or None]], task] = True
        return chosen & page.negative

    def _limit_start(self) -> None:
        limit = self.protocol.start_negatives
        targets = self.pool.targets[: len(self.pool)]
        for task in range(len(self.tasks)) if limit else ():
            rows = np.flatnonzero(targets[:, task] < 0)
            targets[np.random.default_rng([self.seed, task]).permutation(rows)[limit:], task] = 0
        self.pool.keep(np.asarray(targets.any(axis=1)))

    # --- hard negatives

    def _mine(self, description: str) -> None:
        """One pass over the images for negatives that the detectors take for objects."""
        start, added = time.perf_counter(), 0
        new = np.zeros(len(self.tasks), np.int64)
        for page in self._pages(description):
            if not len(page.xyxy):
                continue
            x = self.features.features(page.maps, page.xyxy) * self.scale
            hard = self._hard(page, self.classifiers.scores(x).cpu().numpy())
            added += int(hard.any(axis=1).sum())
            new += hard.sum(axis=0)
            self._add(page, hard, x)
            # R-CNN retrains in the middle of a pass: later images then add only what is still wrong after that
            due = np.flatnonzero(new > self.protocol.retrain_after)
            if self.protocol.retrain_after and len(due):
                self._train(due.tolist(), quietly=True)
                self._evict()
                new[due] = 0
        log.info("%s: %d boxes, %.1f s", description, added, time.perf_counter() - start)

    def _hard(self, page: _Page, scores: Floats) -> Bools:
        """(m, n_tasks) the proposals that become negatives of a task."""
        protocol = self.protocol
        allowed = page.negative.copy()
        if not protocol.mine_positive_images:
            allowed &= ~page.positive
        # what is a negative of the task already would come first again and use up the image's share
        rows = self.pool.rows_of(page.index)
        there = self.pool.targets[rows] != 0
        allowed[self.pool.boxes[rows]] &= ~there
        if protocol.negatives_per_image:
            allowed &= there.sum(axis=0) < protocol.negatives_per_image
        value = np.where(allowed, scores, -np.inf)
        if protocol.hard_above is not None:
            value[value <= protocol.hard_above] = -np.inf
        value = _best_rows(value, protocol.hard_per_image)
        hard: Bools = np.isfinite(value)
        for tasks in self.tasks.by_detector():
            best = value[:, tasks].max(axis=1)
            chosen = np.isfinite(best)
            if protocol.hard_rows_per_image:
                chosen[np.argsort(-best, kind="stable")[protocol.hard_rows_per_image :]] = False
            hard[:, tasks] &= chosen[:, None]
            if protocol.share_negatives:
                # the row is in the pool anyway, and serving all classes costs nothing: the solver multiplies with
                # every row of the detector for all of its classes at once
                hard[:, tasks] = allowed[:, tasks] & chosen[:, None]
        return hard

    def _add(self, page: _Page, negatives: Bools, x: Tensor | None) -> None:
        """Puts the proposals that are a negative of some task into the pool; those there already serve more tasks.

        Args:
            page: the image.
            negatives: (m, n_tasks).
            x: (m, dim) scaled features of the proposals, or None: they are computed for those that are needed.
        """
        rows = self.pool.rows_of(page.index)
        # a box is one row for all tasks: its features are kept once
        self.pool.targets[rows] -= negatives[self.pool.boxes[rows]] & (self.pool.targets[rows] == 0)
        fresh = np.asarray(negatives.any(axis=1))
        fresh[self.pool.boxes[rows]] = False
        boxes = np.flatnonzero(fresh)
        if not len(boxes):
            return
        if x is None:
            taken = self.features.features(page.maps, page.xyxy[boxes])
        else:
            taken = x[torch.from_numpy(boxes).to(x.device)]
        if len(boxes) > self.pool.room:
            self._make_room()
        self.pool.add(taken, -negatives[boxes].astype(np.int8), page.index, boxes)

    def _make_room(self) -> None:
        """Forgets the negatives that the detectors score lowest."""
        # a row stays for the task that needs it most; a positive always stays
        hardest = np.where(self._targets > 0, np.inf, np.where(self._targets < 0, self._scores(), -np.inf)).max(axis=1)
        wanted = int(_FULL * self.pool.max_rows)
        log.warning(
            "the examples fill all %d rows; the easiest %d are forgotten (detector.max_rows bounds the memory)",
            self.pool.max_rows,
            len(self.pool) - wanted,
        )
        keep: Bools = np.asarray(hardest == np.inf)
        keep[np.argsort(-hardest, kind="stable")[:wanted]] = True
        self.pool.keep(keep)

    def _evict(self) -> None:
        """Forgets easy negatives, which no longer move the classifier: their loss is 0 well before the margin."""
        if self.protocol.evict_below is None:
            return
        targets = self._targets
        easy = (targets < 0) & (self._scores() < self.protocol.evict_below)
        if self.protocol.share_negatives:
            for tasks in self.tasks.by_detector():  # a shared row goes when no class of its detector needs it
                needed = ((targets[:, tasks] != 0) & ~easy[:, tasks]).any(axis=1)
                easy[:, tasks] = ~needed[:, None]
        targets[easy] = 0
        self.pool.keep(np.asarray(targets.any(axis=1)))

    # --- training

    @property
    def _targets(self) -> Targets:
        return self.pool.targets[: len(self.pool)]

    def _scores(self) -> Floats:
        """(len(pool), n_tasks) scores of the pool."""
        scores: Floats = self.classifiers.scores(Rows(self.pool.x[: len(self.pool)])).cpu().numpy()
        return scores

    def _train(self, tasks: list[int], quietly: bool = False) -> None:
        """Fits the classifiers of some tasks to the pool, from where they are."""
        start = time.perf_counter()
        groups = self._groups(tasks)
        for group in Bar(groups, desc="training", unit="group", disable=quietly or len(groups) == 1):
            self._fit(group)
        if not quietly:
            log.info(
                "trained %d classes x detectors on %d examples, %.1f s",
                len(tasks),
                len(self.pool),
                time.perf_counter() - start,
            )

    def _groups(self, tasks: list[int]) -> list[list[int]]:
        """The tasks that are solved together."""
        if not self.protocol.share_negatives:
            return [[task] for task in tasks]
        return [
            own[first : first + _COLUMNS].tolist()
            for own in (np.intersect1d(own, tasks) for own in self.tasks.by_detector())
            for first in range(0, len(own), _COLUMNS)
        ]

    def _fit(self, group: list[int]) -> None:
        """Fits tasks that are solved together."""
        problem, images = self._problem(group)
        if np.isnan(self.c[group]).any():
            self.c[group] = choose_c(problem, images, self.protocol.cs, self.protocol.folds, self.solve, self.seed)
        self.classifiers = self._solved(problem, group, self.classifiers)

    def _problem(self, group: list[int], left_out: Sequence[int] = ()) -> tuple[SvmProblem, Ints]:
        """What tasks that are solved together ask of the pool, and the image of each example.

        Args:
            group: the tasks.
            left_out: images whose rows are no examples.
        """
        device = self.pool.x.device
        targets = self._targets[:, group] * ~np.isin(self.pool.images[: len(self.pool)], left_out)[:, None]
        rows = np.flatnonzero(targets.any(axis=1))
        targets, images, weights = targets[rows], self.pool.images[rows], self.pool.weights[rows]
        problem = SvmProblem(
            self.pool.x,
            torch.from_numpy(targets).to(device),
            *self._class_weights(targets, weights),
            self.protocol.bias_multiplier,
            self.protocol.loss,
            torch.from_numpy(weights).to(device),
            rows=torch.from_numpy(rows).to(device),
        )
        return problem, images

    def _solved(self, problem: SvmProblem, group: list[int], start: LinearClassifiers) -> LinearClassifiers:
        """Classifiers of all tasks, those of a group solved anew from where they are in `start`."""
        device = self.pool.x.device
        columns, c = torch.tensor(group, device=device), torch.from_numpy(self.c[group]).float().to(device)
        return start.with_columns(columns, self.solve(problem.weighted(c), start.columns(columns)))

    def _class_weights(self, targets: Targets, weights: Floats) -> tuple[Tensor, Tensor]:
        """(k,) costs of positives and negatives for C = 1."""
        n_positive, n_negative = weights @ (targets > 0), (targets < 0).sum(axis=0)
        weight = self.protocol.positive_weight
        if isinstance(weight, str):
            total = n_positive + n_negative
            costs = total / (2 * np.maximum(n_positive, 1e-6)), total / (2 * np.maximum(n_negative, 1))
        else:
            costs = np.full(targets.shape[1], weight), np.ones(targets.shape[1])
        positive, negative = (torch.from_numpy(cost.astype(np.float32)).to(self.pool.x.device) for cost in costs)
        return positive, negative


def _sampled_images(has: Bools, label: int, n_positive: int, n_negative: int, seed: Sequence[int]) -> Bools:
    """(n,) the images that a class is trained on.

    Args:
        has: (n, n_classes) whether an image has a class.
        label: the class.
        n_positive: how many images that have it; 0: all.
        n_negative: how many that have it not, the classes taking turns; 0: all.
        seed: of the draw.
    """
    order = np.random.default_rng(seed).permutation(len(has))
    drawn = has[order]
    turn = np.where(drawn, drawn.cumsum(axis=0), len(has) + 1)  # an image is its class's first, second, ... drawn
    positive = drawn[:, label]
    rank = np.where(positive, turn[:, label], turn.min(axis=1, where=~positive[:, None], initial=len(has) + 1))
    used = np.zeros(len(has), bool)
    for of_kind, n in ((positive, n_positive), (~positive, n_negative)):
        rows = np.flatnonzero(of_kind)
        used[order[rows[np.argsort(rank[rows], kind="stable")][: n or None]]] = True
    return used


def _best_rows(values: Floats, n: int) -> Floats:
    """(m, k) values with all but the n highest of each column at -inf; 0: all stay."""
    if not n or len(values) <= n:
        return values
    best = np.argsort(-values, axis=0, kind="stable")[:n]  # of equal scores the first: a threshold would let all in
    chosen = np.full_like(values, -np.inf)
    np.put_along_axis(chosen, best, np.take_along_axis(values, best, axis=0), axis=0)
    return chosen
