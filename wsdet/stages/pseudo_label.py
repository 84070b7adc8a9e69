"""The whole story of pseudo-labels: boxes for every image, what can be said of them, and exports."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from wsdet.stages.evaluate import evaluate_localization
from wsdet.stages.export import export_store
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import SPLITS, Run
from wsdet.stages.verdict import judge, text_of
from wsdet.storage.box_store import BoxStore
from wsdet.storage.files import write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exports:
    """What is exported of pseudo-boxes; see `wsdet.stages.export.export`.

    Attributes:
        formats: an export for each.
        min_score: boxes scored lower are left out; None: none is.
        top_k: maximum number of boxes of each class in an image, the best; 0: all; None: those that training takes.
        images: `none`, `link` or `copy`.
    """

    formats: tuple[str, ...] = ()
    min_score: float | None = None
    top_k: int | None = None
    images: str = "link"

    @property
    def options(self) -> dict[str, Any]:
        """As keyword arguments of `export`."""
        return {"min_score": self.min_score, "top_k": self.top_k, "images": self.images}


def pseudo_label(
    run: Run,
    recipe: Recipe,
    exports: Exports,
    masks: bool = False,
    n_evidence: int = 0,
    title: str = "",
    proposals: Recipe | None = None,
    n_verdict: int = 0,
) -> BoxStore:
    """Localizes all images of a run; writes exports, `metrics.json` and the report.

    Args:
        run: the run.
        recipe: of the localizer.
        exports: what is exported.
        masks: keep the masks that the localizer makes beside its boxes.
        n_evidence: number of images in which to draw what the localizer saw.
        title: of the report; empty: no report.
        proposals: where the verdict's detectors look; None: there is no verdict.
        n_verdict: maximum number of images for it, see `wsdet.stages.verdict.judge`.
    """
    from wsdet.report.text_tables import boxes_table, localization_table

    ids, dataset = run.ids, run.dataset
    store, localizer = run.localize(recipe, ids, run.out / "masks" / recipe.name if masks else None)
    if not any(len(store[image_id]) for image_id in ids if image_id in store):
        log.warning(
            "no image has a box: %s",
            "localizer=stl_wl needs no labels" if not any(dataset.labels(i) for i in ids) else "see failed.json",
        )
    if n_evidence:
        run.visualize(recipe.name, localizer, ids, n_evidence)
    splits = dict(zip(SPLITS, (run.train_ids, run.test_ids), strict=True))
    for format in exports.formats:
        folder = run.out / "export" / format
        export_store(dataset, splits, store, folder, format, run.execution.strict, **exports.options)
    metrics: dict[str, Any] = {"images": {split: len(splits[split]) for split in splits}}
    if any(image_id in dataset.truth for image_id in ids):
        metrics["localization"] = {recipe.name: evaluate_localization(store, dataset, ids)}
        log.info("against the ground truth\n%s", localization_table(metrics["localization"]))
    verdict = judge(run, recipe, proposals, store, n_verdict) if proposals else None
    metrics |= {"verdict": verdict} if verdict else {}
    write_json(run.out / "metrics.json", metrics)
    if title:
        _report(run, title, metrics, recipe.name, store)
    log.info("pseudo-boxes: %s\n%s", store.folder, boxes_table(store, splits))
    if verdict:
        log.info("%s", text_of(verdict, run.out))
    return store


def _report(run: Run, title: str, metrics: dict[str, Any], name: str, store: BoxStore) -> None:
    from wsdet.report.page import write_report

    write_report(run.out, run.dataset, metrics, title, run.config, run.ids, (), {name: store}, {})
