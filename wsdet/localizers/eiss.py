"""Explicit Image Space based Search: shrink a region to where the classifier looks.

Source: the EISS paper, Section 3. In each iteration every window of `alpha` times the region's size is both blackened
(painted black) and cropped; the region becomes the bounding box of the best windows of each kind. The search stops
shortly before the score of the blackened region, which rises, meets that of the cropped region, which falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsdet import boxes, check
from wsdet.localizers.dialogue import Dialogue, side_by_side
from wsdet.localizers.responses import Response, response_of
from wsdet.localizers.windows import grid
from wsdet.questions import Cropped, Masked, Note, Outputs, Whole
from wsdet.sampling import image_generator
from wsdet.types import Boxes, Floats, Sample


class Eiss:
    """EISS over all windows at a stride, or over some of them drawn at random.

    Args:
        alpha: width and height of the windows relative to the region's, in (0, 1).
        eta: stop when the cropped region's score is less than this percentage of the whole image's score above the
            blackened region's, so also when the curves have crossed; None: go on to the last iteration.
        k: K, how many of the image's best classes the score follows.
        class_known: follow the image's label instead, once for each label; a label that the network has no output
            for is localized by the best classes.
        size: side in pixels of the frame that strides are counted in: the network's input.
        stride: steps between windows, in pixels of the frame.
        n_windows: M, windows drawn in each iteration from those at the stride; 0: all of them.
        n_best: windows of each kind that make the next region.
        blackened_best: "lowest": the best blackened windows are those whose loss hurts the score most; "highest": those
            with the highest score, which the paper's "top 5 scoring" may also mean.
        max_iterations: maximum number of them in a search.
        seed: of the draws, together with the image's id.

    Raises:
        InputError: an argument is outside its range.
    """

    def __init__(
        self,
        alpha: float = 0.8,
        eta: float | None = 10.0,
        k: int = 1,
        class_known: bool = False,
        size: int = 227,
        stride: float = 1,
        n_windows: int = 0,
        n_best: int = 5,
        blackened_best: Literal["lowest", "highest"] = "lowest",
        max_iterations: int = 30,
        seed: int = 0,
    ) -> None:
        check.within("(0, 1)", alpha=alpha)
        if eta is not None:
            check.within("[0, 100]", eta=eta)
        check.positive(stride=stride)
        check.one_of(("lowest", "highest"), blackened_best=blackened_best)
        check.at_least(1, k=k, size=size, n_best=n_best, max_iterations=max_iterations)
        check.at_least(0, n_windows=n_windows, seed=seed)
        self.alpha = alpha
        self.eta = eta
        self.k = k
        self.class_known = class_known
        self.size = size
        self.stride = stride
        self.n_windows = n_windows
        self.n_best = n_best
        self.blackened_best = blackened_best
        self.max_iterations = max_iterations
        self.seed = seed

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """The last region, for each label (class-known) or with label -1, scored by its crop.

        Notes an "eiss trajectory" of each: see `Trajectory`.
        """
        labels = sample.labels if self.class_known else (-1,)
        if not labels:
            return Boxes.empty()
        (whole,) = yield [Whole()]
        trajectories = yield from side_by_side([self._search(sample, whole, label) for label in labels])
        yield [Note("eiss trajectory", trajectory) for trajectory in trajectories]
        return Boxes.concatenate(
            Boxes(trajectory.xyxy[-1:], trajectory.cropped[-1:], np.array([trajectory.label]))
            for trajectory in trajectories
        )

    def _search(self, sample: Sample, whole: Outputs, label: int) -> Dialogue[Trajectory]:
        response = response_of(label, whole, self.k)
        rng = image_generator(sample.image_id, self.seed)
        region = np.array([0, 0, self.size, self.size], np.float32)
        regions, blackened, cropped = [], [], []
        for _ in range(self.max_iterations):
            windows = self._windows(region, rng)
            blackened_windows, cropped_windows = yield from self._look(windows, sample, whole, response)
            previous, region = region, self._next_region(windows, blackened_windows, cropped_windows)
            blackened_region, cropped_region = yield from self._look(region[None], sample, whole, response)
            regions.append(region)
            blackened.append(blackened_region[0])
            cropped.append(cropped_region[0])
            if self._have_met(blackened[-1], cropped[-1], _score(response, whole, whole)[0]):
                break
            if not _differ(region, previous) or (region[2:] - region[:2]).min() < 1:
                break
        return Trajectory(
            label,
            self._to_image(np.stack(regions), sample),
            np.array(blackened, np.float32),
            np.array(cropped, np.float32),
            float(_score(response, whole, whole)[0]),
            tuple(np.flatnonzero(whole.class_scores[0] >= whole.scores[0].max()).tolist()),
        )

    def _windows(self, region: Floats, rng: np.random.Generator) -> Floats:
        """(n, 4) windows in the frame."""
        w, h = self.alpha * (region[2:] - region[:2])
        windows = grid(region, (w, h), (self.stride, self.stride))
        if 0 < self.n_windows < len(windows):
            windows = windows[np.sort(rng.choice(len(windows), self.n_windows, replace=False))]
        return windows

    def _look(
        self, xyxy: Floats, sample: Sample, whole: Outputs, response: Response
    ) -> Dialogue[tuple[Floats, Floats]]:
        """The (n,) scores of (n, 4) boxes in the frame, blackened and cropped."""
        in_image = self._to_image(xyxy, sample)
        blackened, cropped = yield [Masked(in_image, "black"), Cropped(in_image)]
        return _score(response, blackened, whole), _score(response, cropped, whole)

    def _next_region(self, windows: Floats, blackened: Floats, cropped: Floats) -> Floats:
        """(4,) bounding box of the best windows of each kind."""
        blackened_order = blackened if self.blackened_best == "lowest" else -blackened
        best = [np.argsort(order, kind="stable")[: self.n_best] for order in (blackened_order, -cropped)]
        chosen = windows[np.concatenate(best)]
        return np.concatenate([chosen[:, :2].min(axis=0), chosen[:, 2:].max(axis=0)])

    def _have_met(self, blackened: float, cropped: float, whole: float) -> bool:
        return self.eta is not None and cropped - blackened < self.eta / 100 * whole

    def _to_image(self, xyxy: Floats, sample: Sample) -> Floats:
        """(n, 4) boxes of the frame in pixels of the original image."""
        return boxes.clip(boxes.scale(xyxy, (self.size, self.size), sample.size_hw), sample.size_hw)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One search, an entry an iteration; n is at most `Eiss.max_iterations`.

    Attributes:
        label: the label that was followed; -1 for the network's best classes.
        xyxy: (n, 4) the region after each iteration, in pixels of the original image.
        blackened: (n,) score of the image with the region painted black.
        cropped: (n,) score of the region's crop.
        score: score of the whole image, what `eta` is a percentage of.
        predicted: the dataset's classes that the network's best output of the whole image stands for; often none.
    """

    label: int
    xyxy: Floats
    blackened: Floats
    cropped: Floats
    score: float
    predicted: tuple[int, ...] = ()


def _score(response: Response, outputs: Outputs, whole: Outputs) -> Floats:
    """(n,) inner products of n responses with that of the whole image."""
    return response(outputs) @ response(whole)[0]


_TOUCH = 1e-3  # pixels of the frame: regions this close are the same


def _differ(region: Floats, previous: Floats) -> bool:
    return bool((np.abs(region - previous) > _TOUCH).any())
