"""Detections of a trained detector: `python -m wsdet.detect model=DIR images=FILE|FOLDER|GLOB|VIDEO out=DIR`."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.build import build
from wsdet.cli.entry_point import entry_point, shard_of
from wsdet.cli.factories import tiling_of
from wsdet.cli.planned import planned
from wsdet.cli.saved_parts import saved_proposals

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.detectors.rcnn.detector import RcnnDetector

log = logging.getLogger(__name__)

_ON_SHEET = 48  # drawings on the contact sheet


def run(cfg: DictConfig) -> None:
    """What the program does with a composed config."""
    from wsdet.data.video import SUFFIXES as VIDEO_SUFFIXES
    from wsdet.data.video import frames_per_second, write_frames, write_video
    from wsdet.detectors.loading import load_detectors
    from wsdet.detectors.rcnn.detector import RcnnDetector
    from wsdet.report.box_drawing import write_contact_sheet
    from wsdet.sampling import limited
    from wsdet.stages.detect import SCORES, check_tiles, detect, draw_detections, find_images, write_coco
    from wsdet.stages.recipe import Recipe
    from wsdet.stages.run import Execution, Run
    from wsdet.storage.box_store import BoxStore
    from wsdet.storage.fingerprints import digest_of_folder

    tiling = tiling_of(cfg)
    detector = load_detectors({"detector": Path(cfg.model)}, cfg.device, cfg.precision)["detector"]
    check_tiles(detector, tiling)
    out, images = Path(cfg.out), str(cfg.images)
    data = {"images": images, "every": cfg.every}
    sources = None
    made_by: dict[str, Any] = {"precision": str(cfg.precision)}
    if isinstance(detector, RcnnDetector):
        network = detector.features.network
        sources = Recipe("proposals", _proposal_settings(cfg, detector), "proposals", build)
        made_by = {"proposals": sources.settings, "network": network.fingerprint, "dtype": str(network.dtype)}
    elif cfg.get("proposals"):
        log.warning("%s looks at no proposals; proposals= is not used", cfg.model)
    made_by |= {"tile": tiling.side, "tile_overlap": tiling.overlap} if tiling else {}
    settings = data | made_by | SCORES | {"model": str(cfg.model), "model_files": digest_of_folder(Path(cfg.model))}
    shard = shard_of(cfg)
    with shard.alone("settings") if shard else nullcontext():
        store = BoxStore(out / "detections", settings)
    video = Path(images) if Path(images).suffix.lower() in VIDEO_SUFFIXES and Path(images).is_file() else None
    if video is not None:
        with shard.alone("frames") if shard else nullcontext():
            write_frames(video, out / "frames", cfg.every)
        images = str(out / "frames")
    dataset = find_images(images, detector.classes)
    ids = limited(dataset.ids("test"), cfg.limit, cfg.seed)
    execution = Execution(**{field.name: cfg[field.name] for field in fields(Execution)})
    runner = build(cfg.runner, "runner")
    run = None
    if sources is not None:
        run = Run(dataset, data, {"test": ids}, out, network, execution, runner=runner, shard=shard)
    n = -(-len(ids) // (shard.of if shard else 1))
    with planned(cfg, "detect", run, (0, n), rest="detect", is_new=not len(store)):
        proposals = run.propose(sources, ids) if run is not None and sources is not None else None
        where = (runner, {"detector": Path(cfg.model)}, shard, tiling)
        detect(dataset, ids, {"detector": detector}, proposals, {"detector": store}, cfg.strict, *where)
    if shard:
        log.info("shards write no detections.json and no drawings; the same command without shard= does, at the end")
        return
    above = 0.0 if cfg.min_score is None else float(cfg.min_score)
    shown = {
        image_id: boxes[boxes.scores >= above] for image_id in ids if image_id in store for boxes in [store[image_id]]
    }
    write_coco(out / "detections.json", dataset, ids, detector.classes, shown, str(cfg.model))
    if cfg.draw and shown:
        drawn_above = above if cfg.draw_above is None else float(cfg.draw_above)
        drawings = draw_detections(out / "drawn", dataset, ids, detector.classes, store, cfg.draw, drawn_above)
        on_sheet = [Path(name) for name in limited([str(one) for one in drawings], _ON_SHEET, cfg.seed)]
        write_contact_sheet(out / "contact_sheet.jpg", on_sheet)
        if video is not None:
            write_video(out / "drawn.mp4", drawings, frames_per_second(video) / cfg.every)
    n_boxes = sum(map(len, shown.values()))
    if not n_boxes:
        best = max((float(store[i].scores.max(initial=0)) for i in shown), default=0.0)
        log.warning("no box is scored %g or more, the highest score is %.2f; lower min_score", above, best)
    log.info("%d boxes scored %g or more in %d images: %s", n_boxes, above, len(shown), out)


def _proposal_settings(cfg: DictConfig, detector: RcnnDetector) -> dict[str, Any]:
    """What makes the proposals: what the command line says, else what the detector names."""
    from omegaconf import OmegaConf

    from wsdet.stages.recipe import in_tiles

    settings = (
        dict(OmegaConf.to_container(cfg.proposals, resolve=True))  # type: ignore[arg-type]
        if cfg.get("proposals")
        else saved_proposals(detector.proposals, f"{cfg.model}/model.json")
    )
    tiling = tiling_of(cfg)
    return in_tiles(settings, tiling) if tiling else settings


def main() -> None:
    """Entry point."""
    entry_point("detect", run)


if __name__ == "__main__":
    main()
