"""Neural detectors on one GPU: ground truth, pseudo-boxes and center boxes side by side, then self-training.

    # here: photos and boxes in one small folder (needs wsdet with its data readers; a minute)
    python scripts/gpu_detectors.py pack --voc ../shared/data/VOCdevkit --pseudo RUN/localization/wsddn --out pack
    # there: three trainings side by side, then a round of self-training; a table, and gpu_detectors.json in --out
    python scripts/gpu_detectors.py train --pack pack --weights ../shared/weights/mobilenet_v2_tf_quant.safetensors \
        --out $OUT --epochs 12 --batch 16 --short-side 480
    # the same code in a minute on a CPU
    python scripts/gpu_detectors.py train --pack pack --tiny --out /tmp/tiny

`train` needs torch, torchvision, pytorch-lightning, scipy, safetensors, OpenCV and Pillow; no Hydra and no network. All
detectors have one seed and one schedule. Average precision is VOC's with 11 points, by `wsdet.metrics`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsdet.types import Boxes, Sample, Split

NAMES = ("ground_truth", "pseudo", "center_box")
CENTER = 0.7  # sides of the center box relative to the image's
KEEP_SHARE = 0.5  # of localizers' boxes, whose scores lie closer together than a detector's


class Packed:
    """A data set in one folder: `boxes.json` and `images/`."""

    def __init__(self, folder: Path, n_train: int = 0, n_test: int = 0) -> None:
        content = json.loads((folder / "boxes.json").read_text(encoding="utf-8"))
        self.classes = tuple(content["classes"])
        self.folder = folder
        limits = {"train": n_train, "test": n_test}
        self._ids = {split: tuple(content["ids"][split][: n or None]) for split, n in limits.items()}
        self._labels = {image_id: tuple(labels) for image_id, labels in content["labels"].items()}
        self.truth = {image_id: unpacked(rows) for image_id, rows in content["truth"].items()}
        self.pseudo = {image_id: unpacked(rows) for image_id, rows in content["pseudo"].items()}

    def ids(self, split: Split) -> tuple[str, ...]:
        """Image ids of a split."""
        return self._ids[split]

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The labels of an image."""
        return self._labels[image_id]

    def load(self, image_id: str) -> Sample:
        """The image."""
        with Image.open(self.folder / "images" / f"{image_id}.webp") as image:
            return Sample(image_id, np.array(image.convert("RGB")), self._labels[image_id])


def packed(boxes: Boxes) -> list[list[float]]:
    """Rows of x1, y1, x2, y2, score, label, difficult."""
    columns = [boxes.xyxy.round(1), boxes.scores[:, None], boxes.labels[:, None], boxes.difficult[:, None]]
    rows: list[list[float]] = np.concatenate(columns, axis=1).tolist()
    return rows


def unpacked(rows: Sequence[Sequence[float]]) -> Boxes:
    """The boxes of `packed` rows."""
    table = np.array(rows, np.float32).reshape(-1, 7)
    return Boxes(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), table[:, 6] > 0)


def pack(options: argparse.Namespace) -> None:
    """Writes the folder that `Packed` reads."""
    from wsdet.data.voc import Voc
    from wsdet.detectors.filtering import Filtering, filtered
    from wsdet.storage.box_store import BoxStore

    voc, store = Voc(str(options.voc)), BoxStore(options.pseudo)
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    ids = {split: voc.ids(split) for split in ("train", "test")}  # type: ignore[arg-type]
    every_id = [*ids["train"], *ids["test"]]
    for image_id in every_id:
        image = Image.fromarray(voc.load(image_id).pixels)
        image.save(options.out / "images" / f"{image_id}.webp", quality=options.quality)
    filtering = Filtering(options.keep_share)
    content = {
        "classes": voc.classes,
        "ids": ids,
        "labels": {image_id: voc.labels(image_id) for image_id in every_id},
        "truth": {image_id: packed(voc.truth[image_id]) for image_id in every_id},
        "pseudo": {
            image_id: packed(filtered(store[image_id], voc.labels(image_id), filtering))
            for image_id in ids["train"]
            if image_id in store
        },
    }
    (options.out / "boxes.json").write_text(json.dumps(content), encoding="utf-8")
    mebibytes = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file()) / 2**20
    n_boxes = sum(map(len, content["pseudo"].values()))  # type: ignore[attr-defined]
    print(f"{len(every_id)} images, {n_boxes} pseudo-boxes, {mebibytes:.1f} MiB: {options.out}")


def positives_of(name: str, dataset: Packed) -> dict[str, Boxes]:
    """The boxes that the detector `name` takes for true, each of weight 1."""
    ids = dataset.ids("train")
    if name == "center_box":
        return {image_id: _center_boxes(dataset, image_id) for image_id in ids}
    boxes = dataset.truth if name == "ground_truth" else dataset.pseudo
    return {
        image_id: Boxes(one.xyxy, np.ones(len(one), np.float32), one.labels, one.difficult)
        for image_id in ids
        if (one := boxes.get(image_id)) is not None
    }


def _center_boxes(dataset: Packed, image_id: str) -> Boxes:
    with Image.open(dataset.folder / "images" / f"{image_id}.webp") as image:
        w, h = image.size
    low, high = (1 - CENTER) / 2, (1 + CENTER) / 2
    labels = np.array(dataset.labels(image_id), np.int64)
    xyxy = np.tile(np.array([low * w, low * h, high * w, high * h], np.float32), (len(labels), 1))
    return Boxes(xyxy, np.ones(len(labels), np.float32), labels)


def train_one(name: str, positives: Mapping[str, Boxes], dataset: Packed, options: argparse.Namespace) -> Any:
    """Trains and measures one detector; writes `<out>/<name>.json` and returns the detector."""
    import torch

    from wsdet.detectors.neural.options import ModelOptions, TrainingOptions
    from wsdet.detectors.neural.training import train_detector
    from wsdet.networks.backbones import build_backbone

    torch.set_float32_matmul_precision("high")
    backbone = build_backbone(options.architecture, weights=options.weights)
    start = time.perf_counter()
    detector = train_detector(
        dataset,
        dataset.ids("train"),
        positives,
        backbone,
        options.work / name,
        model=ModelOptions(
            options.kind,
            strides=(16, 32, 64, 128) if options.kind == "ssdlite" else (8, 16, 32, 64),
            trainable_layers=options.trainable_layers,
            short_side=options.short_side,
            square=options.kind == "ssdlite",
        ),
        training=TrainingOptions(
            epochs=options.epochs,
            batch_size=options.batch,
            learning_rate=options.learning_rate,
            scale_jitter=options.scale_jitter,
            average=options.average,
        ),
        trainer_options={"accelerator": "auto", "devices": 1},
        workers=options.workers,
        seed=options.seed,
        name=name,
    )
    trained = time.perf_counter()
    detections = found_in(detector, dataset, dataset.ids("test"), options.batch)
    seconds = time.perf_counter() - trained
    figures = measured(detections, dataset) | {
        "seconds": round(trained - start, 1),
        "training": json.loads((options.work / name / "training.json").read_text(encoding="utf-8")),
        "detect_images_per_second": round(len(detections) / seconds, 1),
        "corloc": corloc(positives, dataset),
        "boxes": sum(len(one) for one in positives.values()),
    }
    (options.out / f"{name}.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    per_step = figures["training"]["seconds_per_step"]
    print(f"{name}: mAP {figures['map']:.4f}, {figures['seconds']} s; seconds per step: {per_step}", flush=True)
    return detector


def found_in(detector: Any, dataset: Packed, ids: Sequence[str], batch: int) -> dict[str, Boxes]:
    """The detections in each image."""
    from torch.utils.data import DataLoader

    samples: Iterator[Sample] = iter(
        DataLoader(
            _Samples(dataset, ids), batch_size=None, num_workers=min(8, os.cpu_count() or 1), collate_fn=_as_it_is
        )
    )
    return dict(zip(ids, detector.detect_all(samples, batch), strict=True))


class _Samples:
    def __init__(self, dataset: Packed, ids: Sequence[str]) -> None:
        self.dataset, self.ids = dataset, ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset.load(self.ids[index])


def _as_it_is(sample: Any) -> Any:
    return sample


def measured(detections: Mapping[str, Boxes], dataset: Packed) -> dict[str, Any]:
    """Mean average precision over the classes, and that of each."""
    from wsdet.metrics import average_precision as ap

    ids = list(detections)
    matches = ap.match(detections, {i: dataset.truth[i] for i in ids}, ids, len(dataset.classes))
    by_class = ap.average_precision(matches, "11")
    return {
        "map": float(np.nanmean(by_class)),
        "map_all_point": float(np.nanmean(ap.average_precision(matches, "all"))),
        "ap": {name: None if np.isnan(x) else float(x) for name, x in zip(dataset.classes, by_class, strict=True)},
        "images": len(ids),
    }


def corloc(boxes: Mapping[str, Boxes], dataset: Packed) -> float:
    """Of the training images, mean over the classes."""
    from wsdet.metrics import localization

    ids = [image_id for image_id in dataset.ids("train") if image_id in boxes]
    truth = {image_id: dataset.truth[image_id] for image_id in ids}
    return float(np.nanmean(localization.corloc(localization.top_boxes(boxes, truth, ids), len(dataset.classes))))


def relocated(detector: Any, dataset: Packed, before: Mapping[str, Boxes], options: argparse.Namespace) -> Any:
    """The pseudo-boxes of the next round: what the detector finds in the training images, filtered."""
    from wsdet.detectors.filtering import Filtering, filtered

    found = found_in(detector, dataset, dataset.ids("train"), options.batch)
    kept = {
        image_id: filtered(boxes, dataset.labels(image_id), Filtering(options.keep_share), before.get(image_id))
        for image_id, boxes in found.items()
    }
    return {i: Boxes(one.xyxy, np.ones(len(one), np.float32), one.labels) for i, one in kept.items()}


def train(options: argparse.Namespace) -> None:
    """Trains all, each first one in a process of its own; prints a table and writes `gpu_detectors.json`."""
    options.out.mkdir(parents=True, exist_ok=True)
    options.work = options.work or options.out / "work"
    dataset = Packed(options.pack, options.images, options.test_images)
    if options.only:
        train_one(options.only, positives_of(options.only, dataset), dataset, options)
        return
    names = options.names
    start, failed = time.perf_counter(), False
    if options.one_by_one:
        for name in names:
            train_one(name, positives_of(name, dataset), dataset, options)
    else:
        failed = not side_by_side(names, options)
    figures = {name: _figures(options, name) for name in names}
    if options.rounds and figures.get("pseudo"):
        figures |= self_train(dataset, options)
    print(table({name: one for name, one in figures.items() if one}))
    chosen = {key: str(value) for key, value in vars(options).items() if key != "run"}
    result = {"options": chosen, "device": device_name(), "detectors": figures}
    result["seconds"] = round(time.perf_counter() - start, 1)
    (options.out / "gpu_detectors.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    print(f"{result['seconds']} s in all on {result['device']}: {options.out / 'gpu_detectors.json'}")
    if failed:
        sys.exit(f"a training failed; see the logs in {options.out}")


def side_by_side(names: Sequence[str], options: argparse.Namespace) -> bool:
    """Trains each detector in a process of its own, which logs to `<out>/<name>.log`; whether all succeeded."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only"]
    n_threads = max(1, (os.cpu_count() or 1) // (2 * len(names)))
    # batches of many sizes would leave gaps in the memory of a GPU that several processes share
    environment = {"OMP_NUM_THREADS": str(n_threads), "PYTORCH_ALLOC_CONF": "expandable_segments:True"} | os.environ
    logs = {name: options.out / f"{name}.log" for name in names}
    running = {
        name: subprocess.Popen([*command, name], stdout=log.open("w"), stderr=subprocess.STDOUT, env=environment)
        for name, log in logs.items()
    }
    codes = {name: process.wait() for name, process in running.items()}
    for name, code in codes.items():
        if code:
            print(f"{name} failed:\n{logs[name].read_text(encoding='utf-8')[-2000:]}", flush=True)
    return not any(codes.values())


def self_train(dataset: Packed, options: argparse.Namespace) -> dict[str, Any]:
    """Each round's detector is trained on what the one before it finds; the figures by round."""
    from wsdet.detectors.neural.detector import NeuralDetector

    boxes: Mapping[str, Boxes] = positives_of("pseudo", dataset)
    detector, figures = NeuralDetector.load(options.work / "pseudo"), {}
    for name in [f"round_{number + 1}" for number in range(options.rounds)]:
        boxes = relocated(detector, dataset, boxes, options)
        detector = train_one(name, boxes, dataset, options)
        figures[name] = _figures(options, name)
    return figures


def _figures(options: argparse.Namespace, name: str) -> Any:
    path = options.out / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def device_name() -> str:
    """What the detectors were trained on."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"


def table(figures: Mapping[str, Any]) -> str:
    """One row per detector."""
    true = (figures.get("ground_truth") or {}).get("map")
    lines = [
        f"{'trained on':14} {'boxes':>6} {'CorLoc':>7} {'mAP':>7} {'all-pt':>7} {'ratio':>6} {'img/s':>7} {'s':>6}  "
        "s/step: waiting for data, computing (median)"
    ]
    for name, one in figures.items():
        ratio = f"{one['map'] / true:.3f}" if true else "-"
        lines.append(
            f"{name:14} {one['boxes']:6d} {one['corloc']:7.4f} {one['map']:7.4f} {one['map_all_point']:7.4f} "
            f"{ratio:>6} {one['training']['images_per_second']:7.1f} {one['seconds']:6.1f}  {_step(one['training'])}"
        )
    return "\n".join(lines)


def _step(training: Mapping[str, Any]) -> str:
    times = training["seconds_per_step"]
    if not times:  # it was finished before
        return "-"
    return f"{times['waiting_for_data']:.3f}, {times['computing']:.3f} ({times['computing_median']:.3f})"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("--voc", type=Path, required=True, help="the VOCdevkit folder")
    packing.add_argument("--pseudo", type=Path, required=True, help="a box store of the training images")
    packing.add_argument("--out", type=Path, required=True)
    packing.add_argument("--quality", type=int, default=75, help="of WebP")
    packing.add_argument("--keep-share", type=float, default=KEEP_SHARE, help="of an image's best score of a class")
    packing.set_defaults(run=pack)
    training = commands.add_parser("train")
    training.add_argument("--pack", type=Path, required=True)
    training.add_argument("--weights", type=Path, default=None, help="of the backbone; none: random")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--work", type=Path, default=None, help="folder of the trainings; default: OUT/work")
    training.add_argument("--names", nargs="+", choices=NAMES, default=list(NAMES))
    training.add_argument("--only", choices=NAMES, default=None, help="train this one in this process, and stop")
    training.add_argument("--one-by-one", action="store_true", help="no processes side by side")
    training.add_argument("--architecture", default="mobilenet_v2")
    training.add_argument("--kind", default="faster_rcnn")
    training.add_argument("--images", type=int, default=0, help="of the training; 0: all")
    training.add_argument("--test-images", type=int, default=0)
    training.add_argument("--epochs", type=int, default=12)
    training.add_argument("--batch", type=int, default=16)
    training.add_argument("--short-side", type=int, default=480)
    training.add_argument("--learning-rate", type=float, default=0.02)
    training.add_argument("--scale-jitter", type=float, default=0.25)
    training.add_argument("--average", type=float, default=0.99, help="decay of the moving average of the weights")
    training.add_argument("--trainable-layers", type=int, default=3)
    training.add_argument("--rounds", type=int, default=1)
    training.add_argument("--keep-share", type=float, default=0.2, help="of the relocated boxes")
    training.add_argument("--workers", type=int, default=4, help="processes that read images, of each training")
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--tiny", action="store_true", help="8 images, 64 pixels, one epoch: does it run?")
    training.set_defaults(run=train)
    options = parser.parse_args()
    if getattr(options, "tiny", False):
        for name, value in {"images": 8, "test_images": 4, "epochs": 1, "batch": 4, "short_side": 64}.items():
            setattr(options, name, value)
    options.run(options)


if __name__ == "__main__":
    main()
