"""Training of neural detectors by Lightning, on boxes that may be wrong.

A run folder holds

    settings.json              what the weights depend on; training there with other settings refuses
    checkpoints/               the last epoch's state, while the training is under way
    log/*/metrics.csv          losses by step
    model.json, .safetensors   the trained detector
    training.json              how long it took; written last

Everything random is drawn from the seed, the epoch and the step, so a training that was killed goes on at the epoch
it was in and ends with the weights that it would have had.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, WeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader

from wsdet.detectors.neural.detector import NeuralDetector, build_detector, fastest_layout
from wsdet.detectors.neural.examples import Batch, BatchOrder, Examples, in_lists, in_one_thread
from wsdet.detectors.neural.mean_teacher import StrongChanges, Teacher, Teaching
from wsdet.detectors.neural.options import ModelOptions, TrainingOptions, WeakLosses
from wsdet.detectors.self_training import MeanTeacher
from wsdet.networks.backbones import Backbone
from wsdet.networks.weights import digest_of_weights
from wsdet.sampling import held_out
from wsdet.storage.fingerprints import Fingerprints
from wsdet.training.averages import MovingAverage
from wsdet.training.optimization import parameter_groups, warm_up_and_cosine
from wsdet.training.resumable import fit, train_once
from wsdet.training.step_times import StepTimes
from wsdet.types import Boxes, Dataset, InputError

log = logging.getLogger(__name__)


class DetectorModule(pl.LightningModule):
    """A detector of torchvision learning.

    Args:
        model: what `build_detector` built; trained in place.
        options: how.
        drop_after: share of the steps after which RoI drop is under way, where it is on.
        seed: of everything random.
    """

    def __init__(self, model: nn.Module, options: TrainingOptions, drop_after: float = 0.3, seed: int = 0) -> None:
        super().__init__()
        self.model = model
        self.options = options
        self.drop_after = drop_after
        self.seed = seed
        self.train()  # Lightning trains in the mode that it finds

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The sum of the losses of a batch of uint8 images with targets."""
        # what torchvision samples of anchors and proposals is a function of the step
        torch.manual_seed(int(np.random.SeedSequence([self.seed, self.global_step]).generate_state(1)[0]))
        done = self.global_step / max(1, int(self.trainer.estimated_stepping_batches))
        self.model.rules.is_warm = done >= self.drop_after  # type: ignore[union-attr]
        losses = self._losses(self.to_learn(batch))
        total = cast(Tensor, sum(losses.values()))
        logged = {"loss": total} | losses
        self.log_dict(logged, batch_size=len(batch[0]), on_step=True, on_epoch=False, sync_dist=True)
        return total

    def to_learn(self, batch: Batch) -> Batch:
        """The batch that a training step learns from."""
        return batch

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measures the loss; the heads do nothing else in training mode, and the backbone never leaves evaluation."""
        with torch.random.fork_rng(devices=[]):
            self.model.train()
            total = cast(Tensor, sum(self._losses(batch).values()))
        self.log("validation_loss", total, batch_size=len(batch[0]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """SGD with a warm-up and a cosine."""
        groups = parameter_groups(self, self.options.weight_decay)
        optimizer = torch.optim.SGD(groups, lr=self.options.learning_rate, momentum=self.options.momentum)
        return warm_up_and_cosine(optimizer, int(self.trainer.estimated_stepping_batches), self.options.warm_up)

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        images, targets = batch
        losses: dict[str, Tensor] = self.model(_as_floats(images), targets)
        return losses


class TaughtModule(DetectorModule):
    """The same with a mean teacher.

    Args:
        model: the student, trained in place.
        options: how.
        teaching: the teacher's options.
        drop_after: see `DetectorModule`, as for `seed`.
        seed: of everything random.
    """

    def __init__(
        self, model: nn.Module, options: TrainingOptions, teaching: MeanTeacher, drop_after: float = 0.3, seed: int = 0
    ) -> None:
        super().__init__(model, options, drop_after, seed)
        self.teacher = Teacher(model, teaching)
        self._changes = StrongChanges()

    def to_learn(self, batch: Batch) -> Batch:
        """The images changed, with what the teacher finds in the unchanged ones."""
        images, targets = batch
        return self._changes(images), self.teacher.targets(_as_floats(images), targets)

    def on_train_batch_end(self, *_: Any) -> None:
        """The teacher follows."""
        self.teacher.follow(self.model, self.global_step)


def _as_floats(images: Sequence[Tensor]) -> list[Tensor]:
    return [image.float() / 255 for image in images]


class _Loaders(pl.LightningDataModule):
    def __init__(
        self,
        train: Examples,
        validation: Examples | None,
        options: TrainingOptions,
        seed: int,
        workers: int,
    ) -> None:
        super().__init__()
        self.train_examples = train
        self.validation_examples = validation
        self.options = options
        self.seed = seed
        self.workers = workers

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = cast(pl.Trainer, self.trainer)
        return self._loader(
            self.train_examples,
            BatchOrder(
                self.train_examples.sizes_hw,
                self.options.batch_size,
                self.options.scale_jitter,
                self.seed,
                lambda: trainer.current_epoch,
                trainer.global_rank,
                trainer.world_size,
            ),
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        if self.validation_examples is None:
            return []
        sizes = self.validation_examples.sizes_hw
        return self._loader(
            self.validation_examples, BatchOrder(sizes, self.options.batch_size, 0.0, self.seed, lambda: 0)
        )

    def _loader(self, examples: Examples, order: BatchOrder) -> DataLoader[Any]:
        return DataLoader(
            examples,
            batch_sampler=order,
            collate_fn=in_lists,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=in_one_thread,
        )


def train_detector(
    dataset: Dataset,
    ids: Sequence[str],
    positives: Mapping[str, Boxes],
    backbone: Backbone,
    out: Path,
    *,
    model: ModelOptions,
    training: TrainingOptions | None = None,
    losses: WeakLosses | None = None,
    trainer_options: Mapping[str, Any] | None = None,
    workers: int = 0,
    memory_gib: float = 4.0,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
    name: str = "detector",
    teaching: Teaching | None = None,
) -> NeuralDetector:
    """Trains a detector, or goes on where an earlier call in `out` stopped, or loads what that one finished.

    Args:
        dataset: gives images and labels; its ground-truth boxes are never looked at.
        ids: the images to learn from.
        positives: labeled boxes by image id, each scored by its weight as a positive: 1 is the usual one. A box
            flagged difficult is ignored: nothing mostly inside it is background. An image without boxes shows
            background.
        backbone: a classifier, whose trunk is where the features start from.
        out: folder of the training, see this module.
        model: the detector.
        training: how it is trained.
        losses: what weak labels change in the losses.
        trainer_options: further arguments of `pytorch_lightning.Trainer`, such as accelerator and devices.
        workers: processes that read and change images.
        memory_gib: see `Examples`.
        device: of the trained detector, as for `precision`; see `NeuralDetector`.
        precision: of detecting.
        seed: of all that is random.
        name: what is trained, for the bar and the log.
        teaching: goes on from a trained detector under a mean teacher, which is what comes out.

    Raises:
        InputError: `out` holds a training with other settings, no image can be read, or none has a box.
    """
    training, losses, out = training or TrainingOptions(), losses or WeakLosses(), Path(out)
    model = model.fitted_to(backbone.input_size)
    settings = {
        "model": asdict(model),
        "training": asdict(training),
        "losses": asdict(losses),
        "network": {"architecture": backbone.architecture, "weights": digest_of_weights(backbone.trunk)},
        "classes": list(dataset.classes),
        "images": Fingerprints(dataset, labels=True).digest(ids),
        "boxes": _digest_of_boxes(dataset, ids, positives),
        "seed": seed,
    }
    if teaching:
        settings["teaching"] = {"start": teaching.start.fingerprint, **asdict(teaching.options)}
    if not any((~boxes.difficult & (boxes.labels >= 0)).any() for boxes in positives.values()):
        raise InputError(f"{name}: no image has a box to train on; look at the failed.json of the boxes' store")

    def train() -> dict[str, Any]:
        return _train(
            dataset, ids, positives, backbone, out, model, training, losses, trainer_options or {}, workers, memory_gib,
            seed, name, teaching,
        )  # fmt: skip

    train_once(name, out / "model.safetensors", settings, train)
    return NeuralDetector.load(out, device, precision)


def _train(
    dataset: Dataset,
    ids: Sequence[str],
    positives: Mapping[str, Boxes],
    backbone: Backbone,
    out: Path,
    model: ModelOptions,
    training: TrainingOptions,
    losses: WeakLosses,
    trainer_options: Mapping[str, Any],
    workers: int,
    memory_gib: float,
    seed: int,
    name: str,
    teaching: Teaching | None,
) -> dict[str, Any]:
    train_ids, validation_ids = held_out(ids, training.validation, seed)
    train = Examples(dataset, train_ids, positives, model, training, memory_gib, workers)
    validation = None
    if validation_ids:
        unchanged = TrainingOptions(flip=0, scale_jitter=0, color_jitter=0)
        try:
            validation = Examples(dataset, validation_ids, positives, model, unchanged, memory_gib, workers)
        except InputError as error:
            log.warning("%s: validation is left out: %s", name, error)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = build_detector(model, backbone, len(dataset.classes), losses)
    options = dict(trainer_options) | {"use_distributed_sampler": False, "log_every_n_steps": 1}
    device_type = "cuda" if _on_gpu(options) else "cpu"
    detector.to(memory_format=fastest_layout(detector, device_type))
    module = _module(detector, training, losses, seed, teaching)
    if training.logger != "csv" or "logger" not in options:
        options["logger"] = training.logger
    options["precision"] = training_precision(training.precision, options)
    if training.gradient_clip:
        options["gradient_clip_val"] = training.gradient_clip
    step_times = StepTimes()
    callbacks: list[pl.Callback] = []
    if training.average and teaching is None:  # a teacher is an average itself
        # by default the average would stay on the CPU, where the model is when Lightning copies it
        callbacks.append(WeightAveraging(device_type, multi_avg_fn=MovingAverage(training.average)))
    if validation is not None:
        callbacks.append(EarlyStopping("validation_loss", patience=training.patience))
    callbacks.append(step_times)  # behind those that compute
    log.info("%s: %s on %d images, %d more for validation, at most %d epochs, %s", name, model.kind, len(train),
             len(validation_ids), training.epochs, options["precision"])  # fmt: skip
    start = time.perf_counter()
    loaders = _Loaders(train, validation, training, seed, workers)
    trainer = fit(module, loaders, out, training.epochs, name, options, callbacks)
    seconds = time.perf_counter() - start
    network = {"architecture": backbone.architecture, "input_size": backbone.input_size}
    learned = module.teacher.model if isinstance(module, TaughtModule) else detector
    NeuralDetector(learned, dataset.classes, model, network, "cpu", "float32", {"trained_on": name}).save(out)
    measured = {key: float(value) for key, value in trainer.callback_metrics.items()}
    looks = len(train) * training.epochs
    return {
        "images": len(train),
        **measured,
        "images_per_second": round(looks / seconds, 2),
        "seconds_per_step": step_times.measured(),
    }


def _module(
    detector: nn.Module, training: TrainingOptions, losses: WeakLosses, seed: int, teaching: Teaching | None
) -> DetectorModule:
    if teaching is None:
        return DetectorModule(detector, training, losses.drop_after, seed)
    try:
        detector.load_state_dict(teaching.start.model.state_dict())
    except RuntimeError as error:
        raise InputError("a mean teacher starts from a detector of the same kind, network and classes") from error
    return TaughtModule(detector, training, teaching.options, losses.drop_after, seed)


def training_precision(wanted: str, options: Mapping[str, Any]) -> str:
    """The precision of Lightning's Trainer: bfloat16 autocast under "auto" where the hardware has units for it."""
    if wanted != "auto":
        return wanted
    given = str(options.get("precision", "32-true"))
    has_units = torch.cuda.is_bf16_supported(including_emulation=False) if _on_gpu(options) else _cpu_has_bfloat16()
    return "bf16-mixed" if has_units and given == "32-true" else given


def _on_gpu(options: Mapping[str, Any]) -> bool:
    return options.get("accelerator", "auto") in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _cpu_has_bfloat16() -> bool:
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check is not None)


def _digest_of_boxes(dataset: Dataset, ids: Sequence[str], positives: Mapping[str, Boxes]) -> str:
    digest = hashlib.sha256()
    for image_id in ids:
        boxes = positives.get(image_id, Boxes.empty())
        digest.update(repr((image_id, dataset.labels(image_id), len(boxes))).encode())
        for column in (boxes.xyxy, boxes.scores, boxes.labels, boxes.difficult):
            digest.update(column.tobytes())
    return digest.hexdigest()[:16]
