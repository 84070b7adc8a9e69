"""Images for a person to correct: `python -m wsdet.review run=RUN budget=50 format=label_studio out=DIR`.

With `serve=true` on a local page instead; with `judge=30` thirty random boxes are judged right or wrong there.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.build import build, settings_of
from wsdet.cli.entry_point import entry_point
from wsdet.types import Dataset

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.report.review_server import Page

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """What the program does with a composed config."""
    from wsdet.cli.factories import detector_and_positives
    from wsdet.cli.planned import planned
    from wsdet.cli.saved_run import saved_config
    from wsdet.report.judgments import judged_text, read_judged
    from wsdet.sampling import limited
    from wsdet.stages.corrections import corrections_of, pseudo_boxed
    from wsdet.stages.positives import Positives
    from wsdet.stages.review import other_boxes, pick, pseudo_boxes_of, shown_boxes, write_project
    from wsdet.stages.review_page import correction_page, judging_page, refresh_report

    folder = Path(str(cfg.run))
    of_run = saved_config(folder, cfg.trust)
    settings: dict[str, Any] = settings_of(of_run, "data", "localizer")
    store = pseudo_boxes_of(Path(of_run.shared), of_run.names.localizer, settings["localizer"], settings["data"])
    dataset: Dataset = build(of_run.data, "data")
    positives = detector_and_positives(of_run)[1] if "detector" in of_run else Positives()
    ids = limited(dataset.ids("train"), of_run.limit, of_run.seed)
    if cfg.judge:
        path = folder / "judged.json"
        _serve(judging_page(dataset, store, ids, cfg.judge, cfg.seed, path), cfg.port)
        if path.exists():
            names = [of_run.names[of] for of in ("data", "network", "localizer", "proposals") if of in of_run.names]
            tested = limited(dataset.ids("test"), of_run.limit, of_run.seed) if "detector" in of_run else ()
            title = " · ".join([*names, f"seed {of_run.seed}"])
            refresh_report(folder, store, dataset, {"train": ids, "test": tested}, title)
            log.info("%s -> %s", judged_text(read_judged(path)), path)
        return
    corrected = corrections_of(folder, dataset, settings["data"])
    boxes = shown_boxes(store, pseudo_boxed(ids, corrected), positives)
    others = other_boxes(folder, [*positives.agree_with, *cfg.compare_with])
    picked = pick(dataset, store, boxes, cfg.budget, cfg.picker, cfg.seed, others)
    if not picked:
        log.info("nothing to do: all %d images have been corrected", len(ids))
    elif cfg.serve:
        _serve(correction_page(dataset, picked, boxes, corrected), cfg.port)
        n_corrected = sum(image_id in corrected for image_id in ids)
        log.info("%d images are corrected; now python -m wsdet.improve run=%s out=DIR", n_corrected, folder)
    else:
        with planned(cfg, "review", counts=(len(picked), 0), rest="review"):
            write_project(dataset, picked, boxes, store, folder, Path(cfg.out), cfg.format, cfg.images)


def _serve(page: Page, port: int) -> None:
    from wsdet.report.review_server import ReviewServer

    server = ReviewServer(page, port)
    log.info("open %s in a browser on this machine; its button 'finish', or Ctrl-C, ends it", server.address)
    try:
        server.wait()
    except KeyboardInterrupt:
        log.info("what was answered is saved")
        server.close()


def main() -> None:
    """Entry point."""
    entry_point("review", run)


if __name__ == "__main__":
    main()
