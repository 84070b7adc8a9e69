"""Detections of a trained detector: `python -m wsdet.detect model=DIR images=FILE|FOLDER|GLOB|VIDEO out=DIR`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.build import build
from wsdet.cli.entry_point import CONF, entry_point
from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.detectors.rcnn.detector import RcnnDetector

log = logging.getLogger(__name__)

_DRAW_ABOVE = {True: -0.6, False: 0.3}  # by whether it looks at proposals: an SVM's score, or a probability
_LARGEST, _LONGEST = 1e9, 1000  # numbers and lists in what a detector says of its proposals


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
    if not detector.proposals:
        raise InputError(f"{cfg.model}/model.json names no proposals; give proposals=NAME, such as selective_search")
    paths = [path for group in ("proposals", "localizer") for path in (CONF / group).glob("*.yaml")]
    known = {OmegaConf.load(path).get("_target_") for path in paths} - {None}  # type: ignore[arg-type]
    _check_harmless(detector.proposals, known, f"{cfg.model}/model.json", top=True)
    if not str(detector.proposals["_target_"]).startswith("wsdet.proposals."):
        raise InputError(f"{cfg.model}/model.json: its proposals are no source of proposals; give proposals=NAME")
    return detector.proposals


def _check_harmless(settings: Any, known: set[str], name: str, top: bool = False) -> None:
    """A detector may come from a stranger: its proposals are one of ours by name, with plain values."""
    remedy = "give proposals=NAME instead (python -m wsdet.detect --help lists them)"
    if isinstance(settings, int | float) and not abs(settings) <= _LARGEST:
        raise InputError(f"{name}: proposals hold the number {settings}; {remedy}")
    if isinstance(settings, list) and len(settings) > _LONGEST:
        raise InputError(f"{name}: proposals hold a list of {len(settings)} values; {remedy}")
    if isinstance(settings, Mapping):
        if isinstance(settings.get("localizer"), Mapping) and not isinstance(settings.get("name"), str):
            raise InputError(f"{name}: the localizer of proposals has no name; {remedy}")
        if (top or "_target_" in settings) and settings.get("_target_") not in known:
            raise InputError(f"{name}: proposals are of no known kind, {settings.get('_target_')!r}; {remedy}")
        if any(str(key).startswith("_") and key != "_target_" for key in settings):
            raise InputError(f"{name}: proposals have a key that is not allowed; {remedy}")
        for value in settings.values():
            _check_harmless(value, known, name)
    elif isinstance(settings, list):
        for value in settings:
            _check_harmless(value, known, name)
    elif isinstance(settings, str) and "${" in settings:
        raise InputError(f"{name}: proposals hold an interpolation; {remedy}")


def main() -> None:
    """Entry point."""
    entry_point("detect", _run)


if __name__ == "__main__":
    main()
