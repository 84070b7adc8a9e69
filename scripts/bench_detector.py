"""Features of boxes, support vector machines and proposals, each against the plain way.

python scripts/bench_detector.py                       # some minutes
python scripts/bench_detector.py --device cuda --json bench.json

- Features of 2,000 boxes of an image: RoI pooling on the maps of one image against one warped crop a box. The crops are
  timed on 32 boxes and counted up.
- 20 classes on 20,000 x 4,096 features: choosing C by cross-validation, training, and training again with the hard
  negatives of a round of mining. All classes together by Newton's method against scikit-learn's LinearSVC, class after
  class; the latter is timed on `--classes-one-by-one` of them and counted up.
- Selective Search in parallel processes against one process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from benchmark import clock_of, parser_of, report, seconds_in_turns, start

from wsdet.data.synthetic import Synthetic
from wsdet.detectors.rcnn.cross_validation import choose_c
from wsdet.detectors.rcnn.features import BoxFeatures, RoiFeatures, WarpFeatures
from wsdet.detectors.rcnn.svm import LinearClassifiers, Solver, SvmProblem, liblinear, newton_cg, objective
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.types import Floats, Sample

_WARPED = 32
_CS, _FOLDS = (1e-4, 1e-3), 2


def features_of_boxes(device: str, n_boxes: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds for the boxes of one image, maps included."""
    network = Network(build_backbone("squeezenet1_0"), [(0,)], device=device)
    dataset = Synthetic(n_train=1, n_test=0, size=400)
    sample = dataset.load(dataset.ids("train")[0])
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (n_boxes, 2))
    xyxy = np.concatenate([corners, corners + rng.uniform(20, 100, (n_boxes, 2))], axis=1).astype(np.float32)

    def describe(features: BoxFeatures, sample: Sample, xyxy: Floats) -> torch.Tensor:
        return features.features(features.maps(sample), xyxy)

    roi, warp = RoiFeatures(network), WarpFeatures(network)
    seconds = seconds_in_turns(
        {"roi": lambda: describe(roi, sample, xyxy), "warp": lambda: describe(warp, sample, xyxy[:_WARPED])}, clock
    )
    by_warp = seconds["warp"] * n_boxes / _WARPED
    return {"roi_seconds": seconds["roi"], "warp_seconds": by_warp, "roi_speedup": by_warp / seconds["roi"]}


def machines(options: argparse.Namespace, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds to choose C, to train and to train again after mining, and how far the objectives are apart."""
    problem, mined, images = _problem(options.rows, options.dim, options.classes, options.device)
    few = options.classes_one_by_one
    _, seconds, c = _train(problem, mined, images, newton_cg, clock)
    one_by_one, few_seconds, few_c = _train(_first(problem, few), _first(mined, few), images, liblinear, clock)
    counted_up = few_seconds * options.classes / few
    wanted = _first(mined, few).weighted(torch.from_numpy(few_c).to(problem.x))
    reached, best = objective(wanted, newton_cg(wanted)), objective(wanted, one_by_one)
    return {
        "svm_seconds": seconds,
        "linear_svc_seconds": counted_up,
        "svm_speedup": counted_up / seconds,
        "svm_same_c": bool((c[:few] == few_c).all()),
        "svm_objective_above": float(((reached - best) / best).max()),
    }


def _problem(n: int, d: int, k: int, device: str) -> tuple[SvmProblem, SvmProblem, np.ndarray]:
    """k classes with 100 positives each; the problem before and after mining; the image of each example.

    Of the last tenth of the rows, each class gets those as negatives in the mining that its own first classifiers would
    have found hard: they lie towards it.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator)
    towards = torch.randn(k, d, generator=generator)
    targets = torch.full((n, k), -1, dtype=torch.int8)
    for j in range(k):
        positives = slice(100 * j, 100 * (j + 1))
        x[positives] += 0.5 * towards[j]
        targets[positives, j] = 1
        x[n - n // 10 + j :: k] += 0.25 * towards[j]
    x *= 20 / x.norm(dim=1).mean()
    before = targets.clone()
    before[n - n // 10 :] = 0
    costs = torch.full((k,), 2.0, device=device), torch.ones(k, device=device)
    x = x.to(device)
    mined = SvmProblem(x, targets.to(device), *costs)
    return mined.with_targets(before.to(device)), mined, np.random.default_rng(0).permutation(n) % (n // 10)


def _first(problem: SvmProblem, k: int) -> SvmProblem:
    """The problem of the first k columns."""
    return SvmProblem(problem.x, problem.targets[:, :k], problem.positive_cost[:k], problem.negative_cost[:k])


def _train(
    problem: SvmProblem, mined: SvmProblem, images: np.ndarray, solve: Solver, clock: Callable[[], float]
) -> tuple[LinearClassifiers, float, np.ndarray]:
    begin = clock()
    c = choose_c(problem, images, _CS, _FOLDS, solve, seed=0)
    costs = torch.from_numpy(c).to(problem.x)
    classifiers = solve(mined.weighted(costs), solve(problem.weighted(costs), None))
    return classifiers, clock() - begin, c


def proposals(n_images: int, workers: int) -> dict[str, float]:
    """Wall-clock seconds of Selective Search in one process and in several, start of the program included."""
    seconds = []
    for processes in (1, workers):
        with tempfile.TemporaryDirectory() as folder:
            images = ["data=synthetic", "data.size=400", f"data.n_train={n_images}", "data.n_test=0"]
            command = [sys.executable, "-m", "wsdet.propose", *images, f"workers={processes}", f"out={folder}"]
            begin = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - begin)
    return {
        "proposal_processes": workers,
        "proposals_seconds_an_image": seconds[0] / n_images,
        "proposals_speedup": seconds[0] / seconds[1],
    }


def main() -> None:
    """Prints the figures, and writes them to `--json`."""
    options = _options()
    machine, clock = start(options), clock_of(options)
    figures: dict[str, Any] = {}
    figures |= features_of_boxes(options.device, options.boxes, clock)
    figures |= proposals(options.images, options.workers)
    figures |= machines(options, clock)
    report(options, machine, figures)


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--boxes", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--classes-one-by-one", type=int, default=1, help="of them, timed with LinearSVC")
    parser.add_argument("--images", type=int, default=40, help="for the proposals")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes for the proposals")
    return parser.parse_args()


if __name__ == "__main__":
    main()
