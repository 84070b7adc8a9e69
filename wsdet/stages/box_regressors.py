"""Trains what `localizer=sensitivity` reads boxes with, from as many boxes as asked for, and measures each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from wsdet.stages.evaluate import evaluate_localization
from wsdet.stages.experiment import localize_with_baselines
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Run
from wsdet.storage.box_store import BoxStore
from wsdet.storage.files import write_json
from wsdet.training.options import BoxRegressorTraining
from wsdet.types import Boxes

log = logging.getLogger(__name__)


def run_box_regressors(
    run: Run,
    boxes: str,
    n_boxes: Sequence[int],
    localizer: Recipe,
    proposals: Recipe,
    options: BoxRegressorTraining,
) -> None:
    """Leaves the regressors, `metrics.json` and, for several numbers of boxes, the curve of CorLoc against them.

    Args:
        run: the run.
        boxes: what they are trained on: "ground_truth", "pseudo" (boxes of `localizer`) or the folder of a store.
        n_boxes: how many boxes, a regressor for each number; 0: all.
        localizer: makes the pseudo-boxes.
        proposals: a source whose first box in each test image is a reference: what looks most like any object.
        options: how they are trained.
    """
    from wsdet.report.box_curve import draw_box_curve
    from wsdet.report.text_tables import localization_table
    from wsdet.training.box_curve import METHODS, train_box_regressors
    from wsdet.training.sensitivity_maps import SensitivityMaps

    network = run.network
    side = min(options.map_side, network.input_size)
    depends_on = {"data": run.data, "network": network.settings}
    trained = train_box_regressors(
        run.dataset,
        run.train_ids,
        _ground_truth_or_pseudo(run, boxes, localizer),
        SensitivityMaps(run.out / "sensitivity_maps", depends_on, options.channels, side),
        network,
        run.out / "box_regressor",
        n_boxes=n_boxes,
        largest=boxes == "ground_truth",
        seed=run.execution.seed,
        batch_size=run.execution.batch_size,
        in_flight=run.execution.in_flight,
        options=options,
        trainer_options=run.trainer,
    )
    figures = {
        method: {
            one.n_boxes: evaluate_localization(one.found[method], run.dataset, list(one.found[method]))
            for one in trained
        }
        for method in METHODS
    }
    named = {f"{method}@{n}": of_one for method, by_n in figures.items() for n, of_one in by_n.items()}
    tested = list(trained[0].found[METHODS[0]])
    proposed = run.propose(proposals, tested)
    first = {image_id: proposed[image_id][:1] for image_id in tested if image_id in proposed}
    named[f"first box of {proposals.name}"] = evaluate_localization(first, run.dataset, tested)
    write_json(run.out / "metrics.json", {"localization": named})
    log.info("images kept for the test, by boxes learned from\n%s", localization_table(named))
    if len(trained) > 1:
        draw_box_curve(run.out / "box_regressor" / "curve.png", figures)
    log.info("use it as localizer=sensitivity localizer.weights=%s", trained[-1].path)


def _ground_truth_or_pseudo(run: Run, boxes: str, localizer: Recipe) -> Mapping[str, Boxes]:
    if boxes == "ground_truth":
        return run.dataset.truth
    if boxes == "pseudo":
        return localize_with_baselines(run, localizer)[localizer.name]
    return BoxStore(boxes)
