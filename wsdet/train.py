"""The whole experiment: class labels -> pseudo-boxes -> detectors -> how close they come to true boxes.

`python -m wsdet.train data=... network=... localizer=...` strings the stages together. Each leaves its result in a
sub-folder of the run, and a run that was stopped goes on where it was. What runs have in common (the classifier,
pseudo-boxes, proposals, feature maps) they compute once when `shared` names one folder for all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.build import build, check_parts, limited, network_of, settings_of, train_classifier_of
from wsdet.cli.entry_point import entry_point
from wsdet.questions import Localizer
from wsdet.storage.files import write_json
from wsdet.storage.finished import is_sealed, seal
from wsdet.storage.timings import Ledger
from wsdet.types import Boxes, Dataset, InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wsdet.detectors.rcnn.detector import RcnnDetector
    from wsdet.networks.classifier import Network
    from wsdet.storage.box_store import BoxStore

log = logging.getLogger(__name__)

BASELINES = ("center_box", "full_image")


def _run(cfg: DictConfig) -> None:
    tasks = {"experiment": _experiment, "classifier": _classifier, "box_regressor": _box_regressor}
    tasks[cfg.task](cfg)


def _classifier(cfg: DictConfig) -> None:
    dataset: Dataset = build(cfg.data, "data")
    path = train_classifier_of(cfg, dataset, limited(dataset.ids("train"), cfg.limit, cfg.seed))
    log.info("the classifier is in %s; use it as network.weights=%s", path, path)


def _box_regressor(cfg: DictConfig) -> None:
    from wsdet.evaluate import evaluate_localization
    from wsdet.report.box_curve import draw_box_curve
    from wsdet.report.text_tables import localization_table
    from wsdet.training.box_curve import METHODS, train_box_regressors
    from wsdet.training.sensitivity_maps import SensitivityMaps

    if not isinstance(cfg.boxes, str):
        raise InputError(f"boxes must be ground_truth, pseudo or one store, got {cfg.boxes}")
    out, settings = Path(cfg.out), settings_of(cfg, "box_regressor", "n_boxes", "trainer")
    options, n_boxes = settings["box_regressor"], settings["n_boxes"]
    dataset: Dataset = build(cfg.data, "data")
    ids = limited(dataset.ids("train"), cfg.limit, cfg.seed)
    network = network_of(cfg, dataset, ids)
    channels, side = options.pop("channels"), min(options.pop("map_side"), network.input_size)
    made_of = settings_of(cfg, "data") | {"network": network.settings}
    trained = train_box_regressors(
        dataset,
        ids,
        _teachers(cfg, dataset, ids, network),
        SensitivityMaps(out / "sensitivity_maps", made_of, channels, side),
        network,
        out / "box_regressor",
        n_boxes=n_boxes if isinstance(n_boxes, list) else [n_boxes],
        largest=cfg.boxes == "ground_truth",
        seed=cfg.seed,
        batch_size=cfg.batch_size,
        in_flight=cfg.in_flight,
        trainer_options=settings["trainer"],
        **options,
    )
    figures = {
        method: {
            one.n_boxes: evaluate_localization(one.found[method], dataset, list(one.found[method])) for one in trained
        }
        for method in METHODS
    }
    named = {f"{method}@{n}": of_one for method, by_n in figures.items() for n, of_one in by_n.items()}
    write_json(out / "metrics.json", {"localization": named})
    log.info("images kept for the test, by boxes learned from\n%s", localization_table(named))
    if len(trained) > 1:
        draw_box_curve(out / "box_regressor" / "curve.png", figures)
    log.info("use it as localizer=sensitivity localizer.weights=%s", trained[-1].path)


def _teachers(cfg: DictConfig, dataset: Dataset, ids: Sequence[str], network: Network) -> Mapping[str, Boxes]:
    """What a box regressor learns from: true boxes, the configured localizer's, or those of a store."""
    from wsdet.storage.box_store import BoxStore

    if cfg.boxes == "ground_truth":
        return dataset.truth
    if cfg.boxes == "pseudo":
        return _localize(cfg, dataset, ids, network, Ledger(Path(cfg.out) / "ledger.json"))[cfg.names.localizer]
    return BoxStore(cfg.boxes)


def _experiment(cfg: DictConfig) -> None:
    from wsdet.cli.factories import proposed
    from wsdet.evaluate import write_average_precision

    out = Path(cfg.out)
    dataset: Dataset = build(cfg.data, "data")
    train_ids = limited(dataset.ids("train"), cfg.limit, cfg.seed)
    test_ids = limited(dataset.ids("test"), cfg.limit, cfg.seed)
    made_of = settings_of(cfg, *cfg) | {"images": [train_ids, test_ids]}
    if is_sealed(out / "finished.json", made_of):
        log.info("nothing to do: %s was finished with the same settings on the same images", out)
        return
    _check_choices(cfg.detector)
    detector = cfg.detector
    build(detector.protocols[detector.protocol], f"detector.protocols.{detector.protocol}")
    check_parts(cfg, "localizer", "proposals")
    train_on = _possible(cfg.detector.train_on, dataset, train_ids)
    ledger = Ledger(out / "ledger.json")

    with ledger.stage("classifier"):
        network = network_of(cfg, dataset, train_ids)
    localized = _localize(cfg, dataset, train_ids, network, ledger)
    with ledger.stage("propose"):
        every_id = [*train_ids, *test_ids]
        proposals = proposed(cfg, cfg.proposals, cfg.names.proposals, dataset, every_id, lambda: network)
    positives = _positives(cfg, dataset, train_ids, train_on, localized)
    with ledger.stage("train_detectors"):
        detectors = _train_detectors(cfg, dataset, train_ids, positives, proposals, network)
    with ledger.stage("detect"):
        detections = _detect(cfg, dataset, test_ids, detectors, proposals)
    with ledger.stage("evaluate"):
        metrics = _evaluate(dataset, train_ids, test_ids, localized, {cfg.names.proposals: proposals}, detections)
    metrics["seconds"] = ledger.column("seconds")
    metrics["forward_passes"] = {
        stage.removeprefix("localize/"): passes
        for stage, passes in ledger.column("forward_passes").items()
        if stage.startswith("localize/")
    }
    metrics["images"] = {"train": len(train_ids), "test": len(test_ids)}
    write_json(out / "metrics.json", metrics)
    if "detectors" in metrics:
        write_average_precision(out / "ap.csv", metrics["detectors"])
    if cfg.report:
        _report(cfg, dataset, train_ids, test_ids, metrics, localized, detections)
    stores = [*localized.values(), proposals, *detections.values()]
    failed = {image_id: why for store in stores for image_id, why in store.failed.items()}
    _summarize(cfg, metrics, failed)
    if not failed:  # they are tried again
        folders = [*(store.folder for store in stores), *(out / "detectors" / name for name in detectors)]
        pages = [out / "report"] if cfg.report else []
        seal(out / "finished.json", made_of, [out / "metrics.json", *folders, *pages])


def _check_choices(detector: DictConfig) -> None:
    """What the detector's settings choose, looked at before hours of work."""
    for key, choices in {"features": detector.feature_kinds, "protocol": detector.protocols}.items():
        if detector[key] not in choices:
            raise InputError(f"detector.{key} must be one of {', '.join(choices)}, got {detector[key]}")


def _possible(train_on: Sequence[str], dataset: Dataset, train_ids: Sequence[str]) -> list[str]:
    """The entries of `detector.train_on` that can be had: true boxes only where the data has some."""
    if not train_on:
        raise InputError("detector.train_on must name pseudo, ground_truth or center_box, got an empty list")
    if "ground_truth" not in train_on or any(image_id in dataset.truth for image_id in train_ids):
        return list(train_on)
    log.warning("the data has no true boxes: no detector is trained on ground_truth, and no boxes are measured")
    return [name for name in train_on if name != "ground_truth"]


def _localize(
    cfg: DictConfig, dataset: Dataset, ids: Sequence[str], network: Network, ledger: Ledger
) -> dict[str, BoxStore]:
    """Pseudo-boxes of the configured localizer and of the baselines, by name."""
    from wsdet.cli.factories import localizer_of
    from wsdet.localize import learn_size, localize, visualize
    from wsdet.localizers.constant_boxes import CenterBox
    from wsdet.storage.box_store import BoxStore

    learn_size(cfg.localizer, dataset, ids)
    with ledger.stage("propose"):
        methods: dict[str, Localizer] = {cfg.names.localizer: localizer_of(cfg, dataset, ids, network)}
    settings = {cfg.names.localizer: settings_of(cfg, "data", "localizer") | {"network": network.settings}}
    for name, side in zip(BASELINES, (0.7, 1.0), strict=True):
        methods.setdefault(name, CenterBox(side, side))
        settings.setdefault(name, settings_of(cfg, "data") | {"side": side})
    stores = {}
    for name, method in methods.items():
        stores[name] = BoxStore(Path(cfg.shared) / "localization" / name, settings[name])
        with ledger.stage(f"localize/{name}", lambda: network.n_forward_passes):
            localize(dataset, ids, method, network, stores[name], cfg.batch_size, cfg.in_flight, cfg.strict)
    if cfg.visualize:
        shown, folder = limited(ids, cfg.visualize, cfg.seed), Path(cfg.out) / "evidence" / cfg.names.localizer
        visualize(dataset, shown, methods[cfg.names.localizer], network, folder, cfg.batch_size, cfg.in_flight)
    return stores


def _positives(
    cfg: DictConfig, dataset: Dataset, ids: Sequence[str], train_on: Sequence[str], localized: Mapping[str, BoxStore]
) -> dict[str, Mapping[str, Boxes]]:
    """The boxes that each detector takes for true, by image id."""
    from wsdet.detectors.rcnn.confidence import confidences, weigh
    from wsdet.detectors.rcnn.detector import best_positives, ground_truth_positives
    from wsdet.storage.box_store import BoxStore

    pseudo, detector = localized[cfg.names.localizer], cfg.detector
    if "pseudo" in train_on and not any((pseudo[image_id].labels >= 0).any() for image_id in ids if image_id in pseudo):
        raise InputError(
            f"localizer={cfg.names.localizer} gave no box with a label, and train_on=pseudo needs labels; take one "
            "that follows the labels, such as stl_cl, or set localizer.class_known=true where there is such a key"
        )
    positives: dict[str, Mapping[str, Boxes]] = {}
    for name in train_on:
        if name == "ground_truth":
            positives[name] = ground_truth_positives(dataset, ids)
            continue
        boxes = pseudo if name == "pseudo" else localized["center_box"]
        best = best_positives(boxes, ids, detector.top_k)
        confidence = confidences(best, boxes, [BoxStore(path) for path in detector.agree_with])
        positives[name] = weigh(best, confidence, detector.weighting, detector.doubtful_below)
    return positives


def _train_detectors(
    cfg: DictConfig,
    dataset: Dataset,
    ids: Sequence[str],
    positives: Mapping[str, Mapping[str, Boxes]],
    proposals: BoxStore,
    network: Network,
) -> dict[str, RcnnDetector]:
    """One detector for each entry of `positives`: those of `<out>/detectors`, or all trained now."""
    from wsdet.detectors.rcnn.detector import RcnnDetector, train_detectors
    from wsdet.detectors.rcnn.map_cache import MapCache
    from wsdet.storage.provenance import claim

    detector, folder = cfg.detector, Path(cfg.out) / "detectors"
    settings = settings_of(cfg, "data", "localizer", "proposals", "detector", "limit", "seed")
    claim(folder, settings | {"network": network.settings})
    kind = detector.feature_kinds[detector.features]
    features = build(kind, f"detector.feature_kinds.{detector.features}", network=network)
    if all((folder / name / "model.json").exists() for name in positives):
        return {name: RcnnDetector.load(folder / name, features=features) for name in positives}
    cache = MapCache(Path(cfg.shared) / "feature_maps", features, detector.cache_gigabytes)
    detectors = train_detectors(
        dataset,
        ids,
        positives,
        proposals,
        features,
        build(detector.protocols[detector.protocol], f"detector.protocols.{detector.protocol}"),
        detector.solver,
        cfg.seed,
        detector.max_rows,
        cache if detector.cache_gigabytes else None,
        cfg.strict,
        settings["proposals"],
        detector.nms_iou,
        detector.max_per_class,
        detector.max_per_image,
        detector.box_regression,
    )
    for name, trained in detectors.items():
        trained.save(folder / name)
    return detectors


def _detect(
    cfg: DictConfig,
    dataset: Dataset,
    ids: Sequence[str],
    detectors: Mapping[str, RcnnDetector],
    proposals: BoxStore,
) -> dict[str, BoxStore]:
    from wsdet.detect import detect
    from wsdet.storage.box_store import BoxStore
    from wsdet.storage.provenance import read_settings

    out = Path(cfg.out)
    settings = read_settings(out / "detectors")
    stores = {name: BoxStore(out / "detections" / name, settings) for name in detectors}
    detect(dataset, ids, detectors, proposals, stores, cfg.strict)
    return stores


def _evaluate(
    dataset: Dataset,
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    localized: Mapping[str, BoxStore],
    proposals: Mapping[str, BoxStore],
    detections: Mapping[str, BoxStore],
) -> dict[str, Any]:
    """The measured parts of `metrics.json`; nothing that needs truth where there is none."""
    from wsdet.evaluate import evaluate_detections, evaluate_localization, evaluate_proposals, ratio_of_detections

    metrics: dict[str, Any] = {}
    if any(image_id in dataset.truth for image_id in train_ids):
        metrics["localization"] = {
            name: evaluate_localization(boxes, dataset, train_ids) for name, boxes in localized.items()
        }
    if any(image_id in dataset.truth for image_id in test_ids):
        metrics["detectors"] = {
            name: evaluate_detections(boxes, dataset, test_ids) for name, boxes in detections.items()
        }
        metrics["proposals"] = {name: evaluate_proposals(boxes, dataset, test_ids) for name, boxes in proposals.items()}
        if {"pseudo", "ground_truth"} <= set(detections):
            ratio = ratio_of_detections(detections["pseudo"], detections["ground_truth"], dataset, test_ids)
            metrics |= {"ratio_pseudo_to_ground_truth": ratio["ratio"], "ratio_interval": ratio["interval"]}
    return metrics


def _report(
    cfg: DictConfig,
    dataset: Dataset,
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    metrics: Mapping[str, Any],
    localized: Mapping[str, BoxStore],
    detections: Mapping[str, BoxStore],
) -> None:
    """The page of the run, `<out>/report/index.html`."""
    from wsdet.report.page import write_report

    out, names = Path(cfg.out), cfg.names
    title = " · ".join([names.data, names.network, names.localizer, names.proposals, f"seed {cfg.seed}"])
    config = (out / "config.yaml").read_text(encoding="utf-8")
    write_report(out, dataset, metrics, title, config, train_ids, test_ids, localized, detections)


def _summarize(cfg: DictConfig, metrics: Mapping[str, Any], failed: Mapping[str, str]) -> None:
    from wsdet.report import text_tables as table

    if "localization" in metrics:
        log.info("pseudo-boxes of the training images\n%s", table.localization_table(metrics["localization"]))
    if "proposals" in metrics:
        log.info("proposals of the test images\n%s", table.proposals_table(metrics["proposals"]))
    if "detectors" in metrics:
        log.info("detectors on the test images\n%s", table.detectors_table(metrics["detectors"]))
    for image_id, why in list(failed.items())[:5]:
        log.warning("left out: %s: %s", image_id, why)
    minutes = sum(metrics["seconds"].values()) / 60
    log.info("%d images left out; %.1f minutes; all of it is in %s", len(failed), minutes, cfg.out)


def main() -> None:
    """Entry point."""
    entry_point("train", _run)


if __name__ == "__main__":
    main()
