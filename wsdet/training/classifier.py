"""Training of a classifier from class labels alone, by Lightning: all of a network, or its last layer.

Everything random in an epoch is sampled with (seed, epoch), so a training that was killed goes on at the epoch it was
in and ends with the weights that it would have had. Its folder is that of `wsdet.training.resumable`, with

    model.safetensors   the trained network
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor

from wsdet.data.loading import ids_with_known_classes
from wsdet.networks.backbones import Backbone
from wsdet.networks.weights import Activation, WeightsMetadata, digest_of_weights, save_weights
from wsdet.sampling import held_out
from wsdet.storage.fingerprints import Fingerprints
from wsdet.training.batches import Batches
from wsdet.training.labeled_images import Batch, LabeledImages, as_batch, augment, keep_in_memory, mask_boxes
from wsdet.training.optimization import parameter_groups, warm_up_and_cosine
from wsdet.training.options import ClassifierTraining
from wsdet.training.resumable import fit, train_once
from wsdet.types import Dataset, Floats, InputError

log = logging.getLogger(__name__)

_WARM_UP = 0.1  # share of the steps in which the learning rate rises


class ClassifierModule(pl.LightningModule):
    """A classifier learning which classes an image holds.

    Args:
        backbone: one output a class; trained in place.
        activation: "sigmoid" asks of each class whether it is there (binary cross-entropy); "softmax" which class the
            image shows (cross-entropy; several labels share the target evenly).
        options: how it learns.
        seed: of everything random.

    Attributes:
        metrics_: of the last validation: "map", mean over the classes of the average precision of ranking the images;
            "top1", share of images whose best class is one of theirs.
    """

    def __init__(
        self,
        backbone: Backbone,
        activation: Activation = "sigmoid",
        options: ClassifierTraining | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.activation = activation
        self.options = options or ClassifierTraining()
        self.seed = seed
        self.metrics_: dict[str, float] = {}
        self._validated: list[tuple[Tensor, Tensor]] = []
        self.backbone.requires_grad_(not self.options.head_only)
        self.backbone.last_layer.requires_grad_(True)
        self.train()  # Lightning trains in the mode that it finds

    def train(self, mode: bool = True) -> ClassifierModule:
        """Sets the mode; fixed layers keep their normalization statistics and drop nothing."""
        super().train(mode)
        if self.options.head_only:
            self.backbone.eval()
        return self

    def on_train_epoch_start(self) -> None:
        """Makes dropout a function of the epoch."""
        torch.manual_seed(self._seed_of(0))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch of (n, 3, s, s) uint8 images and (n, k) labels."""
        images, labels = batch
        if not len(labels):
            raise InputError("no image of a batch could be read; the log has the reasons")
        generator = torch.Generator().manual_seed(self._seed_of(1 + batch_idx))
        changed = self._normalized(augment(images.float() / 255, generator, self.options.min_crop, self.options.jitter))
        loss = self._loss(self.backbone(mask_boxes(changed, generator, self.options.masked)), labels)
        self.log("loss", loss, batch_size=len(labels), sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keeps the outputs for the end of the epoch."""
        images, labels = batch
        if len(labels):
            self._validated.append((self.backbone(self._normalized(images.float() / 255)).float(), labels))

    def on_validation_epoch_end(self) -> None:
        """Measures the ranking of all validation images, over all processes."""
        if not self._validated:
            return  # none could be read
        outputs, labels = (
            cast(Tensor, self.all_gather(torch.cat(parts))).reshape(-1, self.backbone.n_outputs).cpu().numpy()
            for parts in zip(*self._validated, strict=True)
        )
        self._validated = []
        scores = outputs if self.activation == "sigmoid" else np.asarray(torch.tensor(outputs).softmax(dim=1))
        self.metrics_ = {"map": mean_average_precision(scores, labels), "top1": top1(scores, labels)}
        self.log_dict(self.metrics_, rank_zero_only=True)

    def configure_optimizers(self) -> Any:
        """AdamW with a warm-up and a cosine."""
        optimizer = torch.optim.AdamW(parameter_groups(self, self.options.weight_decay), lr=self.options.learning_rate)
        return warm_up_and_cosine(optimizer, int(self.trainer.estimated_stepping_batches), _WARM_UP)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the metrics."""
        checkpoint["metrics"] = self.metrics_

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the metrics back."""
        self.metrics_ = checkpoint["metrics"]

    def _seed_of(self, what: int) -> int:
        key = [self.seed, self.current_epoch, self.global_rank, what]
        return int(np.random.SeedSequence(key).generate_state(1)[0])

    def _normalized(self, images: Tensor) -> Tensor:
        mean, std = (images.new_tensor(of)[:, None, None] for of in (self.backbone.mean, self.backbone.std))
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)

    def _loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if self.activation == "sigmoid":
            return F.binary_cross_entropy_with_logits(outputs, labels)
        return F.cross_entropy(outputs, labels / labels.sum(dim=1, keepdim=True))


def train_classifier(
    backbone: Backbone,
    dataset: Dataset,
    ids: Sequence[str],
    out: Path,
    *,
    options: ClassifierTraining | None = None,
    activation: Activation = "sigmoid",
    workers: int = 2,
    memory_gib: float = 2.0,
    trainer_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Trains a copy of `backbone` on the class labels of images; goes on where an earlier call in `out` stopped.

    Args:
        backbone: with one output a class of `dataset`.
        dataset: gives images and labels; its ground-truth boxes are never looked at.
        ids: images to learn from.
        out: folder of the training, see this module.
        options: how it learns; None: `ClassifierTraining()`.
        activation: see `ClassifierModule`.
        workers: processes that read images.
        memory_gib: inputs that need no more than this are read once and kept, others are read in every epoch.
        trainer_options: further arguments of `pytorch_lightning.Trainer`, such as accelerator and devices.
        seed: of the split, the order and everything random.

    Returns:
        The file of the trained weights. It is returned at once when it is there.

    Raises:
        InputError: `out` holds a training with other settings, too few images can be read, or `backbone` has another
            number of outputs.
    """
    options = options or ClassifierTraining()
    if backbone.n_outputs != len(dataset.classes):
        raise InputError(
            f"backbone must have one output for each of the {len(dataset.classes)} classes, got {backbone.n_outputs}; "
            "replace_head gives it"
        )
    ids = ids_with_known_classes(dataset, ids)
    if activation == "softmax":  # an image without a class shows a softmax nothing
        ids = [image_id for image_id in ids if dataset.labels(image_id)]
    settings = {
        "architecture": backbone.architecture,
        "input_size": backbone.input_size,
        "activation": activation,
        **asdict(options),
        "seed": seed,
        "classes": list(dataset.classes),
        "images": Fingerprints(dataset, labels=True).digest(ids),
        "initial_weights": digest_of_weights(backbone),
    }
    path = Path(out) / "model.safetensors"

    def train() -> dict[str, Any]:
        train_ids, validation_ids = held_out(ids, options.validation, seed)
        if len(train_ids) < 2:
            raise InputError(f"training needs at least 2 images with labels besides validation, got {len(ids)} in all")
        log.info(
            "classifier: training %s of %s on %d images, %d more for validation, %d epochs",
            "the last layer" if options.head_only else "all layers",
            backbone.architecture,
            len(train_ids),
            len(validation_ids),
            options.epochs,
        )
        trained = copy.deepcopy(backbone).to(memory_format=torch.channels_last)
        module = ClassifierModule(trained, activation, options, seed)
        images = [LabeledImages(dataset, part, backbone.input_size) for part in (train_ids, validation_ids)]
        batches = Batches(
            *images,
            batch_size=options.batch_size,
            collate=as_batch,
            seed=seed,
            workers=0 if keep_in_memory(images, memory_gib, workers) else workers,
            drop_last=True,  # a last batch of one image has no statistics to normalize by
        )
        trainer = fit(module, batches, path.parent, options.epochs, "classifier", trainer_options or {})
        # where several processes trained, this one has no more than what they logged
        logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name in ("map", "top1")}
        side = backbone.input_size
        metadata = WeightsMetadata(
            trained.architecture, trained.n_outputs, side, activation, tuple(dataset.classes), settings
        )
        save_weights(path, trained.state_dict(), metadata)
        return {"images": len(train_ids), "validation": module.metrics_ | logged}

    train_once("classifier", path, settings, train)
    return path


def mean_average_precision(scores: Floats, labels: Floats) -> float:
    """Mean over the classes that occur of the average precision of ranking images by their score.

    Args:
        scores: (n, k), higher is better.
        labels: (n, k) of 0 and 1.
    """
    occurring = labels.any(axis=0)
    if not occurring.any() or not np.isfinite(scores).all():  # of a training that diverges, which `fit` says
        return float("nan")
    return float(average_precision_score(labels[:, occurring], scores[:, occurring], average="macro"))


def top1(scores: Floats, labels: Floats) -> float:
    """Share of the images with labels whose best-scored class is one of them; shapes as `mean_average_precision`."""
    labeled = labels.any(axis=1)
    best = scores.argmax(axis=1)
    return float(labels[np.arange(len(labels)), best][labeled].mean()) if labeled.any() else float("nan")
