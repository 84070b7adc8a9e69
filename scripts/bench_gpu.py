"""What a GPU gives: the engine, the region classifier and a detector's step on one card, in under three minutes.

python scripts/bench_gpu.py                            # CUDA where there is one; a table, and bench_gpu.json in $OUT
python scripts/bench_gpu.py --device cpu --quick       # the same code in a minute on a CPU, with toy sizes

Needs torch, torchvision, timm, scipy, safetensors and Pillow; the region classifier pytorch-lightning too. What cannot
be measured is named with its reason. No Hydra, no OpenCV, no photos: inputs are noise of a photo's size and weights
are random, which costs the same.

- bare: inputs per second of the network alone, on ready batches of its best size.
- masks, crops: inputs per second of the engine, which paints masks or cuts crops of photos in memory; the share is of
  the bare network's.
- files: the same masks with each photo read from a JPEG file; near the figure for masks where reading is hidden.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from wsdet.data.image_files import ImageFiles
from wsdet.data.loading import load_samples
from wsdet.engine import localize_all
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.questions import Cropped, Masked, Question
from wsdet.types import Boxes, InputError, Sample

NETWORKS = ("squeezenet1_0", "resnet50", "timm:vit_small_patch16_224")
PRECISIONS = {"float32": ("float32", False), "tf32": ("float32", True), "bfloat16": ("bfloat16", True)}
PHOTO_HW = (375, 500)
N_CLASSES = 20


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        seconds: each figure's measurement goes on for at least so long.
        batches: sizes of batches that the bare network is tried with; the engine gets the best.
        photos: that the engine works on.
        windows: boxes of a photo that are masked, and that are cut out.
        regions: of an image, for the region classifier.
        dim: length of a region's features: SqueezeNet's.
        detector_side: pixels of the shorter side of what the detector is trained on.
        detector_batch: photos in one of its steps.
    """

    seconds: float = 1.0
    batches: tuple[int, ...] = (64, 256, 1024)
    photos: int = 32
    windows: int = 100
    regions: int = 400
    dim: int = 4608
    detector_side: int = 800
    detector_batch: int = 4


QUICK = Sizes(seconds=0.0, batches=(4,), photos=3, windows=4, regions=20, dim=72, detector_side=64, detector_batch=1)


class Windows:
    """A localizer that asks for boxes of one kind and finds nothing."""

    def __init__(self, kind: type[Masked] | type[Cropped], n: int) -> None:
        rng = np.random.default_rng(0)
        corner, side = rng.uniform(0, 0.5, (n, 2)), rng.uniform(0.1, 0.5, (n, 2))
        self.kind = kind
        self.relative = np.concatenate([corner, corner + side], axis=1).astype(np.float32)

    def localize(self, sample: Sample) -> Iterator[Sequence[Question]]:
        """Every window at once."""
        h, w = sample.size_hw
        yield [self.kind(self.relative * np.array([w, h, w, h], np.float32))]
        return Boxes.empty()


@dataclass
class Card:
    """The device and its clock."""

    device: str
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)

    def wait(self) -> None:
        """Until the device has done all work."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def per_second(self, work: Callable[[], int]) -> float:
        """What `work` counts a second, after one round to warm up."""
        work()
        self.wait()
        start, done = time.perf_counter(), 0
        while True:
            done += work()
            self.wait()
            if (elapsed := time.perf_counter() - start) >= self.seconds:
                return done / elapsed

    def peak(self) -> float:
        """GB that were held at most: on the device since `reset`, on a CPU by the process so far."""
        if self.device.startswith("cuda"):
            return torch.cuda.max_memory_allocated() / 1e9
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

    def reset(self) -> None:
        """Begins to measure memory anew."""
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 products and convolutions may round their factors to TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def matmul(card: Card, side: int, dtype: torch.dtype) -> float:
    """TFLOP/s of a square matrix product."""
    a, b = (torch.randn(side, side, device=card.device).to(dtype) for _ in range(2))

    def work() -> int:
        for _ in range(10):
            a @ b
        return 10

    return card.per_second(work) * 2 * side**3 / 1e12


def bare(card: Card, network: Network, batches: Sequence[int]) -> tuple[float, int]:
    """Inputs per second of the network alone, and the size of batches that it is reached with."""
    rates = {}
    for n in batches:
        inputs = torch.randn(n, 3, network.input_size, network.input_size, device=network.device)
        ready = inputs.to(network.dtype).contiguous(memory_format=torch.channels_last)
        rates[n] = card.per_second(lambda ready=ready: len(network.logits(ready)))  # type: ignore[misc]
    best = max(rates, key=rates.__getitem__)
    return rates[best], best


def engine(
    card: Card,
    network: Network,
    samples: Callable[[], Iterable[tuple[str, Sample | InputError]]],
    windows: Windows,
    batch_size: int,
) -> float:
    """Inputs per second of the engine."""

    def work() -> int:
        n = 0
        for _, outcome in localize_all(samples(), windows, network, batch_size, in_flight=32):
            if not isinstance(outcome, Boxes):
                raise outcome
            n += len(windows.relative)
        return n

    return card.per_second(work)


def network_row(
    card: Card, name: str, precision: str, sizes: Sizes, photos: ImageFiles, samples: list[tuple[str, Sample]]
) -> dict[str, Any]:
    """The figures of one network in one precision."""
    card.reset()
    number_type, allowed = PRECISIONS[precision]
    with tf32(allowed):
        backbone = build_backbone(name, model_name=name.partition(":")[2] or None)
        network = Network(backbone, [(c,) for c in range(N_CLASSES)], device=card.device, precision=number_type)
        rate, batch = bare(card, network, sizes.batches)
        masks, crops = (Windows(kind, sizes.windows) for kind in (Masked, Cropped))
        row = {"network": name, "precision": precision, "bare": rate, "batch": batch}
        row["masks"] = engine(card, network, lambda: samples, masks, batch)
        row["crops"] = engine(card, network, lambda: samples, crops, batch)
        row["files"] = engine(card, network, lambda: load_samples(photos, photos.ids("test")), masks, batch)
    return row | {"peak_gb": card.peak()}


def region_classifier_step(card: Card, sizes: Sizes) -> dict[str, Any]:
    """Milliseconds per step of the region classifier's training: the difference of a long and a short one."""
    from wsdet.training.region_classifier import RegionClassifierTraining, train_region_classifier

    card.reset()
    n_images, batch, short, long = 16, 8, 1, 5
    features = torch.randn(n_images, sizes.regions, sizes.dim, device=card.device)
    number = {str(i): i for i in range(n_images)}
    dataset = _Labels(tuple(number))
    seconds = {}
    for epochs in (short, short, long):  # the first one warms up
        with tempfile.TemporaryDirectory() as out:
            begin = time.perf_counter()
            train_region_classifier(
                dataset,  # type: ignore[arg-type]
                list(number),
                lambda image_id: features[number[image_id]],
                Path(out),
                grid=3,
                network="none",
                depends_on={},
                xyxy_of=lambda image_id: np.tile(np.array([0, 0, 100, 100], np.float32), (sizes.regions, 1)),
                evidence=lambda image_id, described: np.ones((len(described), N_CLASSES), np.float32),
                options=RegionClassifierTraining(epochs=epochs, batch_size=batch, stages=0),  # the maps alone
                trainer_options={"accelerator": "gpu" if card.device.startswith("cuda") else "cpu", "devices": 1},
            )
            card.wait()
            seconds[epochs] = time.perf_counter() - begin
    steps = (long - short) * n_images // batch
    return {"milliseconds": 1e3 * (seconds[long] - seconds[short]) / steps, "images": batch, "peak_gb": card.peak()}


class _Labels:
    """A data set of labels alone."""

    classes = tuple(f"class {c}" for c in range(N_CLASSES))

    def __init__(self, ids: tuple[str, ...]) -> None:
        self._ids = ids

    def ids(self, split: str) -> tuple[str, ...]:
        """All are for training."""
        return self._ids if split == "train" else ()

    def labels(self, image_id: str) -> tuple[int, ...]:
        """One class."""
        return (int(image_id) % N_CLASSES,)


def detector_step(card: Card, sizes: Sizes) -> dict[str, Any]:
    """Photos per second of Faster R-CNN's training step, ResNet-50 with a feature pyramid, in bfloat16 autocast."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    card.reset()
    side = sizes.detector_side
    model = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=N_CLASSES + 1, min_size=side, max_size=2 * side
    )
    model.to(card.device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    images = [torch.rand(3, *PHOTO_HW, device=card.device) for _ in range(sizes.detector_batch)]
    boxes = torch.tensor([[50.0, 50.0, 250.0, 300.0], [200.0, 100.0, 480.0, 350.0]], device=card.device)
    targets = [{"boxes": boxes, "labels": torch.tensor([1, 2], device=card.device)} for _ in images]

    def work() -> int:
        with torch.autocast(card.device.partition(":")[0], dtype=torch.bfloat16):
            loss = sum(model(images, targets).values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return len(images)

    rate = card.per_second(work)
    return {"images_per_second": rate, "milliseconds": 1e3 * len(images) / rate, "peak_gb": card.peak()}


def write_photos(folder: Path, n: int) -> ImageFiles:
    """A data set of `n` JPEG files of noise as smooth as photos are."""
    rng = np.random.default_rng(0)
    h, w = PHOTO_HW
    for i in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (h // 8, w // 8, 3), dtype=np.uint8))
        coarse.resize((w, h), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=90)
    ids = [f"{i}.jpg" for i in range(n)]
    return ImageFiles("photos", [], (), ids, lambda image_id: folder / image_id, {}, {}, 10**8)


def measured(what: str, work: Callable[[], dict[str, Any]], missing: dict[str, str]) -> dict[str, Any] | None:
    """The figures, or None and the reason in `missing`."""
    try:
        return work()
    except Exception as error:  # of a machine that nobody has seen: one failure must not cost the other figures
        missing[what] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        return None


def main() -> None:
    """Measures, prints a table and writes `bench_gpu.json`."""
    options = _options()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    sizes = QUICK if options.quick else Sizes()
    card = Card(device, sizes.seconds)
    on_gpu = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}", flush=True)
    begin = time.perf_counter()
    figures: dict[str, Any] = {"device": name, "torch": torch.__version__, "networks": []}
    missing: dict[str, str] = {}
    with tf32(False):
        side = 256 if options.quick else 8192
        products = {"float32": matmul(card, side, torch.float32), "bfloat16": matmul(card, side, torch.bfloat16)}
    if on_gpu:
        with tf32(True):
            products["tf32"] = matmul(card, side, torch.float32)
    figures["matmul_tflops"] = products
    print("matrix products, TFLOP/s:", ", ".join(f"{name} {rate:.3g}" for name, rate in products.items()), flush=True)
    print(_line(["network", "precision", "bare/s", "batch", "masks/s", "crops/s", "files/s", "share", "share", "GB"]))
    with tempfile.TemporaryDirectory() as folder:
        photos = write_photos(Path(folder), sizes.photos)
        samples = [(image_id, photos.load(image_id)) for image_id in photos.ids("test")]
        for network in options.networks:
            for precision in PRECISIONS:
                if precision == "tf32" and not on_gpu:
                    continue
                row = measured(
                    f"{network} in {precision}",
                    lambda network=network, precision=precision: network_row(  # type: ignore[misc]
                        card, network, precision, sizes, photos, samples
                    ),
                    missing,
                )
                if row:
                    figures["networks"].append(row)
                    print(_row(row), flush=True)
    for what, work in (("region_classifier", region_classifier_step), ("faster_rcnn_resnet50_fpn", detector_step)):
        figures[what] = measured(what, lambda work=work: work(card, sizes), missing)  # type: ignore[misc]
        print(what, figures[what], flush=True)
    for what, why in missing.items():
        print(f"not measured: {what}: {why}")
    figures |= {"missing": missing, "seconds": time.perf_counter() - begin}
    path = Path(options.out) / "bench_gpu.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"{figures['seconds']:.0f} s -> {path}")
    sys.exit(0 if figures["networks"] else 1)


def _row(row: dict[str, Any]) -> str:
    cells = [row["network"], row["precision"], *(f"{row['bare']:.0f} {row['batch']}".split())]
    cells += [f"{row[key]:.0f}" for key in ("masks", "crops", "files")]
    cells += [f"{row[key] / row['bare']:.2f}" for key in ("masks", "crops")]
    return _line([*cells, f"{row['peak_gb']:.2f}"])


def _line(cells: Sequence[str]) -> str:
    return f"{cells[0]:28s}" + "".join(f"{cell:>10s}" for cell in cells[1:])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cpu or cuda; CUDA where there is one")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--out", default=os.environ.get("OUT", "outputs/bench"), help="folder of bench_gpu.json")
    parser.add_argument("--quick", action="store_true", help="toy sizes: does it run?")
    return parser.parse_args()


if __name__ == "__main__":
    main()
