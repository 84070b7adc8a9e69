"""Detections of a trained detector: `python -m wsdet.detect model=DIR images=FILE|FOLDER|GLOB|VIDEO out=DIR`."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.build import build
from wsdet.cli.entry_point import entry_point
from wsdet.cli.saved_parts import saved_proposals

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.detectors.rcnn.detector import RcnnDetector

log = logging.getLogger(__name__)

_DRAW_ABOVE = {True: -0.6, False: 0.3}  # by whether it looks at proposals: an SVM's score, or a probability


def _run(cfg: DictConfig) -> None:
    from wsdet.data.video import SUFFIXES as VIDEO_SUFFIXES
    from wsdet.data.video import write_frames
    from wsdet.detectors.loading import load_detectors
    from wsdet.detectors.rcnn.detector import RcnnDetector
    from wsdet.sampling import limited
    from wsdet.stages.detect import detect, draw_detections, find_images, write_coco
    from wsdet.stages.recipe import Recipe
    from wsdet.stages.run import Execution, Run
    from wsdet.storage.box_store import BoxStore
    from wsdet.storage.fingerprints import digest_of_folder

    detector = load_detectors({"detector": Path(cfg.model)}, cfg.device, cfg.precision)["detector"]
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
    store = BoxStore(
        out / "detections", data | made_by | {"model": str(cfg.model), "model_files": digest_of_folder(Path(cfg.model))}
    )
    if Path(images).suffix.lower() in VIDEO_SUFFIXES and Path(images).is_file():
        write_frames(Path(images), out / "frames", cfg.every)
        images = str(out / "frames")
    dataset = find_images(images, detector.classes)
    ids = limited(dataset.ids("test"), cfg.limit, cfg.seed)
    execution = Execution(**{field.name: cfg[field.name] for field in fields(Execution)})
    runner = build(cfg.runner, "runner")
    proposals = None
    if sources is not None:
        run = Run(dataset, data, {"test": ids}, out, network, execution, runner=runner)
        proposals = run.propose(sources, ids)
    where = (runner, {"detector": Path(cfg.model)}, cfg.device, cfg.precision)
    detect(dataset, ids, {"detector": detector}, proposals, {"detector": store}, cfg.strict, *where)
    write_coco(out / "detections.json", dataset, ids, detector.classes, store, str(cfg.model))
    if cfg.draw:
        above = cfg.draw_above if cfg.draw_above is not None else _DRAW_ABOVE[detector.needs_proposals]
        draw_detections(out / "drawn", dataset, ids, detector.classes, store, cfg.draw, above)
    log.info("%d boxes in %d images: %s", sum(len(store[i]) for i in ids if i in store), len(store), out)


def _proposal_settings(cfg: DictConfig, detector: RcnnDetector) -> dict[str, Any]:
    """What makes the proposals: what the command line says, else what the detector names."""
    from omegaconf import OmegaConf

    if cfg.get("proposals"):
        return dict(OmegaConf.to_container(cfg.proposals, resolve=True))  # type: ignore[arg-type]
    return saved_proposals(detector.proposals, f"{cfg.model}/model.json")


def main() -> None:
    """Entry point."""
    entry_point("detect", _run)


if __name__ == "__main__":
    main()
