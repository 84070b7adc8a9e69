"""Training of a `RegionClassifier` from class labels alone, by Lightning (Bilen and Vedaldi, CVPR 2016).

With more than one class, WSDDN's heads are trained first; refined heads (`wsdet.training.region_refinement`) follow.
A single label tells nothing of which regions show it: then there are refined heads alone, trained on the network's own
evidence, against the regions of the images that stand apart from the best ones.

Features are made from the images' maps once and lie on disk for all passes (`wsdet.training.kept_features`), so memory
holds those of one batch, whatever the number of images. The training's folder is that of `wsdet.training.resumable`,
with

    model.safetensors   the classifier
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsdet.data.loading import ids_with_known_classes
from wsdet.linear_models.region_classifier import RegionClassifier
from wsdet.progress import Bar
from wsdet.storage.fingerprints import Fingerprints
from wsdet.training.batches import Batches
from wsdet.training.kept_features import KeptFeatures
from wsdet.training.options import RegionClassifierTraining
from wsdet.training.region_refinement import ImageRegions, refine
from wsdet.training.resumable import fit, train_once
from wsdet.types import Dataset, Floats, InputError

log = logging.getLogger(__name__)

_LENGTH = 5.0  # mean length that features are scaled to, for which the learning rate is made
_MEASURED = 100  # images that the scale is measured on

TrainingExample = tuple[Tensor, Tensor]  # (n, d) float16 features of an image's regions, (k,) labels of 0 and 1


class RegionModule(pl.LightningModule):
    """The two maps of each head learning which classes an image has.

    Each head begins with weights of its own and sees other regions of an image in every step: with all of them it
    settles on the few that tell the labels best, which are parts of objects.

    Args:
        n_features: d.
        n_classes: k.
        options: how they learn.
        seed: of the weights to begin with and of the regions that are seen.
        mean: (d,) what is taken off the features before they are learned from.
        scale: what they are then divided by.
    """

    mean: Tensor

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        options: RegionClassifierTraining,
        seed: int,
        mean: Tensor,
        scale: float,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.scale = scale
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            begin = [nn.Linear(n_features, n_classes) for _ in range(options.heads)]
        self.class_weights = nn.Parameter(torch.stack([layer.weight.detach().T for layer in begin]))  # (h, d, k)
        self.class_biases = nn.Parameter(torch.stack([layer.bias.detach() for layer in begin]))  # (h, k)
        # every region counts alike to begin with
        self.region_weights = nn.Parameter(torch.zeros(options.heads, n_features, n_classes))  # (h, d, k)
        self.options = options
        self.seed = seed

    def training_step(self, batch: Sequence[TrainingExample], batch_idx: int) -> Tensor:
        """Binary cross-entropy of the images' labels, summed over the classes and the heads."""
        # drawn from the step's place, so that a training that was killed goes on as it would have
        draw = np.random.default_rng((self.seed, self.current_epoch, batch_idx, self.global_rank))
        # Both maps side by side, one product reads the regions once; transposed, as a product with few rows is faster
        # than one with few columns. They take features as they come: maps are standardized, which are fewer numbers.
        maps = torch.cat([self.class_weights.mT, self.region_weights.mT], dim=1) / self.scale  # (h, 2k, d)
        of_classes = maps[:, : self.class_biases.shape[1]]
        biases = self.class_biases - (of_classes * self.mean).sum(dim=2)  # (h, k); region weights need none
        loss = torch.stack([self._loss(features, labels, maps, biases, draw) for features, labels in batch]).mean()
        self.log("loss", loss / len(self.class_weights), batch_size=len(batch), sync_dist=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW at a constant rate."""
        return torch.optim.AdamW(
            self.parameters(), lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )

    def _loss(
        self, features: Tensor, labels: Tensor, maps: Tensor, biases: Tensor, draw: np.random.Generator
    ) -> Tensor:
        n, heads = len(features), len(maps)
        order = draw.random((heads, n)).argsort(axis=1)[:, : max(1, round(self.options.share * n))]
        rows = torch.from_numpy(order.ravel()).to(features.device)
        regions = features.index_select(0, rows).float().view(heads, -1, features.shape[1])  # (h, seen, d)
        of_classes, of_regions = (maps @ regions.mT).chunk(2, dim=1)  # (h, k, seen)
        seen = (of_classes + biases[:, :, None]).softmax(dim=1)
        counts = of_regions.softmax(dim=2)
        image = (seen * counts).sum(dim=2).clamp(1e-6, 1 - 1e-6)  # rounding can take a sum of shares past 1
        with torch.autocast(image.device.type, enabled=False):  # which refuses probabilities, as they may round to 1
            return F.binary_cross_entropy(image.float(), labels.expand_as(image), reduction="sum")


def train_region_classifier(
    dataset: Dataset,
    ids: Sequence[str],
    describe: Callable[[str], Tensor],
    out: Path,
    *,
    xyxy_of: Callable[[str], Floats],
    evidence: Callable[[str, Tensor], Floats],
    grid: int,
    network: str,
    depends_on: Mapping[str, Any],
    options: RegionClassifierTraining | None = None,
    trainer_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Trains the maps on the labels of images; goes on where an earlier call in `out` stopped.

    Args:
        dataset: gives the labels; its ground-truth boxes are never looked at.
        ids: images to learn from; those without a label are not trained on.
        describe: gives the (n, d) features of an image's regions; an `InputError` where it cannot be read. Where
            several processes train, each is sent a copy.
        out: folder of the training.
        xyxy_of: gives the (n, 4) corners of the same regions.
        evidence: gives the (n, k) prior weights of an image's regions by the network alone, from the id and features.
        grid: cells along a side of a region whose averages the features are.
        network: fingerprint of the network that they come from.
        depends_on: what the features depend on, as plain JSON values.
        options: how it learns; None: `RegionClassifierTraining()`.
        trainer_options: further arguments of `pytorch_lightning.Trainer`.
        seed: of the order, the weights to begin with and the sampling of background.

    Returns:
        The file of the classifier. It is returned at once when it is there.

    Raises:
        InputError: `out` holds a training with other settings, or no image can be learned from.
    """
    options = options or RegionClassifierTraining()
    ids = ids_with_known_classes(dataset, ids)
    if not ids:
        raise InputError(
            "a region classifier needs images with labels and proposals, and there is none; "
            "localizer=vote or localizer=stl_wl needs no labels"
        )
    settings = {
        **depends_on,
        **asdict(options),
        "seed": seed,
        "classes": list(dataset.classes),
        "images": Fingerprints(dataset, labels=True).digest(ids),
    }
    path = Path(out) / "model.safetensors"

    def train() -> dict[str, Any]:
        examples = _TrainingExamples(dataset, ids, KeptFeatures(describe, path.parent))
        module = RegionModule(len(examples.mean), len(dataset.classes), options, seed, examples.mean, examples.scale)
        if len(dataset.classes) > 1:
            log.info("region classifier: training on the labels of %d images, %d epochs", len(ids), options.epochs)
            batches = Batches(examples, batch_size=options.batch_size, collate=_readable, seed=seed)
            fit(module, batches, path.parent, options.epochs, "region classifier", trainer_options or {})
        else:
            log.info(
                "region classifier: one class: only refined heads, by what the network sees in %d images", len(ids)
            )
        class_weights, region_weights = (
            (weights.detach().numpy() / examples.scale).astype(np.float32)
            for weights in (module.class_weights, module.region_weights)
        )
        class_biases = module.class_biases.detach().numpy() - examples.mean.numpy() @ class_weights
        unrefined = RegionClassifier(class_weights, class_biases, region_weights, dataset.classes, grid, network)
        _refined(unrefined, examples, xyxy_of, evidence, options, path.parent, seed).save(path)
        return {"images": len(ids)}

    train_once("region classifier", path, settings, train)
    return path


def _refined(
    classifier: RegionClassifier,
    examples: _TrainingExamples,
    xyxy_of: Callable[[str], Floats],
    evidence: Callable[[str, Tensor], Floats],
    options: RegionClassifierTraining,
    folder: Path,
    seed: int,
) -> RegionClassifier:
    """The classifier with refined heads; as it is where there is no stage."""
    if not options.stages:
        return classifier

    weights_of: dict[str, Floats] = {}

    def read() -> Iterator[ImageRegions]:
        for image_id, features, labels in examples.images():
            plain = features.cpu().numpy()
            if image_id not in weights_of:
                weights_of[image_id] = evidence(image_id, features) * classifier.prior_weights(plain, image_id)
            yield ImageRegions(image_id, xyxy_of(image_id), plain, weights_of[image_id], labels)

    start = time.perf_counter()
    weights, biases = refine(read, len(classifier.classes), options, folder, seed)
    log.info("region classifier: %d stages of refinement, %.1f s", options.stages, time.perf_counter() - start)
    return replace(classifier, refined_weights=weights, refined_biases=biases)


class _TrainingExamples(torch.utils.data.Dataset[TrainingExample]):
    """What each image is trained with, and what makes its features of mean 0 and mean length `_LENGTH`.

    Attributes:
        mean: (d,) of the features of some images' regions.
        scale: what features are to be divided by after the mean is taken off.
    """

    def __init__(self, dataset: Dataset, ids: Sequence[str], describe: KeptFeatures) -> None:
        self._dataset = dataset
        self._ids = tuple(ids)
        self._describe = describe
        step = max(1, len(self._ids) // _MEASURED)
        read = [self._described(image_id) for image_id in self._ids[::step]]
        some = [features[::10].float().cpu() for features in read if features is not None]
        if not some:
            raise InputError("none of the images to learn regions from can be read; the log has the reasons")
        self.mean = torch.cat(some).mean(dim=0)
        self.scale = float((torch.cat(some) - self.mean).norm(dim=1).mean()) / _LENGTH or 1.0

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> TrainingExample:
        features = self._described(self._ids[index])
        features = self.mean.new_empty(0, len(self.mean), dtype=torch.float16) if features is None else features
        labels = torch.zeros(len(self._dataset.classes))
        labels[list(self._dataset.labels(self._ids[index]))] = 1
        return features, labels.to(features.device)

    def images(self) -> Iterator[tuple[str, Tensor, tuple[int, ...]]]:
        """(image id, (n, d) float32 features, labels) of every image that can be read."""
        for image_id in Bar(self._ids, desc="refining", unit="image", smoothing=0.1):
            features = self._described(image_id)
            if features is not None:
                yield image_id, features.float(), self._dataset.labels(image_id)

    def _described(self, image_id: str) -> Tensor | None:
        """(n, d) float16 features; None of an image that cannot be read."""
        try:
            return self._describe(image_id)
        except InputError as error:
            log.warning("%s is not trained on: %s", image_id, error)
            return None


def _readable(examples: list[TrainingExample]) -> list[TrainingExample]:
    """A batch without the images that could not be read; of none that could, one without a loss."""
    return [example for example in examples if len(example[0])] or [(examples[0][0], torch.zeros_like(examples[0][1]))]
