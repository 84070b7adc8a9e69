"""Stage: boxes corrected, or judged correct or wrong, on a local page; of judgments CorLoc with its interval."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wsdet.report.judgments import judged, judged_text, read_judged
from wsdet.report.review_server import Page
from wsdet.stages.corrections import keep_corrections
from wsdet.storage.box_store import BoxStore
from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_object
from wsdet.types import Boxes, Dataset, Split

log = logging.getLogger(__name__)


def correction_page(dataset: Dataset, ids: Sequence[str], boxes: Mapping[str, Boxes], kept: BoxStore) -> Page:
    """A page on which the boxes of the images `ids` are corrected; each answer is in the store `kept` at once."""

    def answer(number: int, corrected: Boxes | bool) -> str:
        if isinstance(corrected, Boxes):
            keep_corrections(kept, {ids[number]: corrected})
        return ""

    return Page("correct", dataset, [(i, boxes[i]) for i in ids], frozenset(), answer)


def judging_page(
    dataset: Dataset, store: Mapping[str, Boxes], ids: Sequence[str], n_boxes: int, seed: int, path: Path
) -> Page:
    """A page on which randomly sampled boxes are judged correct or wrong.

    A box is the first of a label of an image, as CorLoc counts them; a label without a box is not drawn.

    Args:
        dataset: gives images and labels.
        store: all boxes of the localizer.
        ids: the images to draw from.
        n_boxes: maximum number of boxes.
        seed: of the draw. The answers to the same draw are found again.
        path: of the answers and of what they say, `judged.json`.
    """
    first = [
        (image_id, Boxes(best.xyxy, best.scores, np.full(1, label)))
        for image_id in ids
        if image_id in store
        for label in dataset.labels(image_id)
        if len(best := store[image_id].first_of(label))
    ]
    drawn = np.random.default_rng(seed).permutation(len(first))[:n_boxes]
    entries = [first[row] for row in drawn]
    keys = [[image_id, int(box.labels[0]), *box.xyxy[0].tolist()] for image_id, box in entries]
    before = read_judged(path)["answers"] if path.exists() else []
    answers = {keys.index(one["box"]): one["correct"] for one in before if one["box"] in keys}

    def answer(number: int, correct: Boxes | bool) -> str:
        answers[number] = bool(correct)
        result = judged(list(answers.values()))
        write_json(path, result | {"seed": seed, "answers": [{"box": keys[n], "correct": answers[n]} for n in answers]})
        return judged_text(result) if len(answers) == len(entries) else ""

    return Page("judge", dataset, entries, frozenset(answers), answer)


def refresh_report(
    run: Path, store: BoxStore, dataset: Dataset, ids: Mapping[Split, Sequence[str]], title: str
) -> None:
    """Writes the report of a run again, with what a person has judged since; nothing where it has none.

    Args:
        run: the run's folder.
        store: its pseudo-boxes; those of the baselines lie beside them.
        dataset: of the images.
        ids: the images of the run.
        title: of the report.
    """
    from wsdet.report.page import write_report

    if not (run / "report" / "index.html").exists():
        return
    metrics = read_object(run / "metrics.json")
    beside = {name: store.folder.parent / name for name in metrics.get("localization", {})}
    others = {name: BoxStore(path) for name, path in beside.items() if (path / "settings.json").exists()}
    detections = {path.parent.name: BoxStore(path.parent) for path in (run / "detections").glob("*/settings.json")}
    config = (run / "config.yaml").read_text(encoding="utf-8")
    localized = {store.folder.name: store} | {name: one for name, one in others.items() if name != store.folder.name}
    write_report(run, dataset, metrics, title, config, ids["train"], ids["test"], localized, detections)
