"""Stage: pseudo-boxes for images, `python -m wsdet.localize data=... localizer=... out=DIR`."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from wsdet.cli.build import build, check_parts, limited, network_of, settings_of
from wsdet.cli.entry_point import entry_point
from wsdet.data.loading import load_samples
from wsdet.engine import Answerer, localize_all
from wsdet.formats.contents import file_name
from wsdet.formats.masks import coco_masks, write_masks
from wsdet.questions import Localizer, Note
from wsdet.storage.box_store import BoxStore, FillReport, Outcome
from wsdet.storage.files import write_json
from wsdet.types import Boxes, Dataset, InputError, Sample, Split

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

SPLITS: tuple[Split, ...] = ("train", "test")


def localize(
    dataset: Dataset,
    ids: Sequence[str],
    localizer: Localizer,
    network: Answerer,
    store: BoxStore,
    batch_size: int = 32,
    in_flight: int = 16,
    strict: bool = False,
    masks: Path | None = None,
) -> FillReport:
    """Fills `store` with the boxes that `localizer` finds in the images `ids`.

    Args:
        dataset: holds the images; its truth is not looked at.
        ids: images wanted; those in the store already are left alone.
        localizer: the method.
        network: answers its questions.
        store: receives the boxes.
        batch_size: pictures in one forward pass.
        in_flight: images localized side by side.
        strict: the first bad image raises.
        masks: a folder that receives the masks that `localizer` makes beside its boxes, if any.

    Raises:
        InputError: `localizer` was trained for another network or other classes; or, with `strict`, an image cannot be
            read.
    """
    if hasattr(localizer, "check"):  # what was trained says what it fits
        localizer.check(dataset.classes, getattr(network, "fingerprint", ""))

    def produce(missing: Sequence[str]) -> Iterator[Outcome]:
        for image_id, outcome, notes in _with_notes(dataset, missing, localizer, network, batch_size, in_flight):
            if masks is not None:
                made = {note.value["label"]: note.value["mask"] for note in notes if note.name == "mask"}
                write_masks(masks, image_id, made, dataset.classes)
            yield image_id, outcome

    report = store.fill(ids, produce, "localize", strict)
    if masks is not None:
        coco = coco_masks(
            masks, [image_id for image_id in ids if image_id in store], dataset.classes, store.folder.name
        )
        write_json(masks.with_suffix(".json"), coco)
        log.info("%d masks: %s", len(coco["annotations"]), masks)
    return report


def visualize(
    dataset: Dataset,
    ids: Sequence[str],
    localizer: Localizer,
    network: Answerer,
    folder: Path,
    batch_size: int = 32,
    in_flight: int = 16,
) -> None:
    """Draws what `localizer` sees in the images `ids`, a PNG each in `folder`, with the true boxes if there are any.

    The images are localized again for it; those whose picture is there already are left alone.
    """
    from wsdet.report.evidence import draw_evidence

    missing = [image_id for image_id in ids if not _picture(folder, image_id).exists()]
    for image_id, found, notes in tqdm(
        _with_notes(dataset, missing, localizer, network, batch_size, in_flight),
        desc="visualize",
        total=len(missing),
        unit="image",
    ):
        if isinstance(found, Boxes):
            path, true = _picture(folder, image_id), _true_boxes(dataset, image_id)
            draw_evidence(path, dataset.load(image_id), notes, found, true, dataset.classes)
    log.info("the evidence of %d images: %s", len(ids), folder)


def learn_size(node: DictConfig, dataset: Dataset, ids: Sequence[str]) -> None:
    """Puts the average size of the true boxes in the images `ids` into a center box's config that leaves it open.

    The one place where a localizer's settings come from true boxes, and only where `width` and `height` are null.
    """
    from wsdet.localizers.constant_boxes import average_shares

    if "width" not in node or node.width is not None or node.height is not None:
        return
    images = ((_true_boxes(dataset, image_id), sample) for image_id, sample in load_samples(dataset, ids))
    shares = average_shares((true, sample.size_hw) for true, sample in images if true and isinstance(sample, Sample))
    if shares is None:
        log.warning("no true boxes whose size could be learnt: the center box is 0.7 x 0.7 of the image")
    node.width, node.height = shares or (0.7, 0.7)
    log.info("center box: %.3f x %.3f of the image", node.width, node.height)


def _with_notes(
    dataset: Dataset, ids: Sequence[str], localizer: Localizer, network: Answerer, batch_size: int, in_flight: int
) -> Iterator[tuple[str, Boxes | InputError, list[Note]]]:
    """(image id, its outcome, what its dialogue noted) in the order of `ids`."""
    notes: defaultdict[str, list[Note]] = defaultdict(list)
    for image_id, outcome in localize_all(
        load_samples(dataset, ids),
        localizer,
        network,
        batch_size,
        in_flight,
        look_on=lambda image_id, note: notes[image_id].append(note),
    ):
        yield image_id, outcome, notes.pop(image_id, [])


def _picture(folder: Path, image_id: str) -> Path:
    return folder / f"{file_name(image_id)}.png"


def _true_boxes(dataset: Dataset, image_id: str) -> Boxes | None:
    try:
        return dataset.truth.get(image_id)
    except InputError as error:
        log.warning("%s counts as one without true boxes: %s", image_id, error)
        return None


def _run(cfg: DictConfig) -> None:
    from wsdet.cli.factories import localizer_of
    from wsdet.evaluate import evaluate_localization
    from wsdet.export import check_choices, export_store
    from wsdet.report.page import write_report
    from wsdet.report.text_tables import boxes_table, localization_table

    options = {key: cfg[key] for key in ("min_score", "top_k", "images")}
    for format in cfg.export:
        check_choices(format, **options)
    check_parts(cfg, "localizer")
    dataset = build(cfg.data, "data")
    ids = [*limited(dataset.ids("train"), cfg.limit, cfg.seed), *limited(dataset.ids("test"), cfg.limit, cfg.seed)]
    learn_size(cfg.localizer, dataset, limited(dataset.ids("train"), cfg.limit, cfg.seed))
    network = network_of(cfg, dataset, limited(dataset.ids("train"), cfg.limit, cfg.seed))
    localizer, name = localizer_of(cfg, dataset, ids, network), cfg.names.localizer
    settings = settings_of(cfg, "data", "localizer") | {"network": network.settings}
    store = BoxStore(Path(cfg.out) / "localization" / name, settings | ({"masks": True} if cfg.masks else {}))
    masks = Path(cfg.out) / "masks" / name if cfg.masks else None
    localize(dataset, ids, localizer, network, store, cfg.batch_size, cfg.in_flight, cfg.strict, masks)
    if not any(len(store[image_id]) for image_id in ids if image_id in store):
        log.warning(
            "no image has a box: %s",
            "localizer=stl_wl needs no labels" if not any(dataset.labels(i) for i in ids) else "see failed.json",
        )
    if cfg.visualize:
        shown, folder = limited(ids, cfg.visualize, cfg.seed), Path(cfg.out) / "evidence" / name
        visualize(dataset, shown, localizer, network, folder, cfg.batch_size, cfg.in_flight)

    out, splits = Path(cfg.out), {split: limited(dataset.ids(split), cfg.limit, cfg.seed) for split in SPLITS}
    for format in cfg.export:
        export_store(dataset, splits, store, out / "export" / format, format, cfg.strict, **options)
    metrics: dict[str, Any] = {"images": {split: len(splits[split]) for split in splits}}
    if any(image_id in dataset.truth for image_id in ids):
        metrics["localization"] = {cfg.names.localizer: evaluate_localization(store, dataset, ids)}
        log.info("against the true boxes\n%s", localization_table(metrics["localization"]))
    write_json(out / "metrics.json", metrics)
    if cfg.report:
        place = Path(cfg.data.root).resolve().name if "root" in cfg.data else cfg.names.data
        title = " · ".join([place, cfg.names.network, cfg.names.localizer])
        config = (out / "config.yaml").read_text(encoding="utf-8")
        write_report(out, dataset, metrics, title, config, ids, (), {cfg.names.localizer: store}, {})
    log.info("pseudo-boxes: %s\n%s", store.folder, boxes_table(store, splits))


def main() -> None:
    """Entry point."""
    entry_point("localize", _run)


if __name__ == "__main__":
    main()
