"""Training of the linear map from sensitivity maps to boxes: by Lightning, and in closed form as a reference.

Targets are the corners (x1, y1, x2, y2) in relative coordinates, y; inputs are the pixels of sensitivity maps,
shifted by their mean and divided by one number so that their mean squared length is 1, x. Both minimize the objective
of ridge regression,

    1/n sum_i |W x_i + b - y_i|^2 + r |W|^2,

so with loss="squared" they have the same optimum. What a class has of its own is nothing, a bias (x then tells the
class, too: 1 at its place, 0 at the others', so the bias is penalized as W is), or a map (fitted to its own examples
alone). That, and the penalty r, are the plainest whose closed form's overlap loss (below) on the validation examples is
at most a standard error above the least: few examples choose no more than they can tell. Lightning then takes ten
L-BFGS steps over all examples an epoch until the loss of the validation examples no longer falls, and keeps the weights
of its best epoch.

Squared error makes poor boxes where a map says little: the mean of the possible corners is a box too small for most
of the objects. loss="overlap" goes on from the closed form with what CorLoc counts, made smooth: in place of the
squared error it has sigmoid((0.5 - IoU) / 0.1), which is 1 of a box that is lost, 0 of one that is found.

An image mirrored left to right has a mirrored map and a mirrored box: `mirror` adds each example's image in the mirror.

The folder is that of `wsdet.training.resumable`: training.json says what was chosen, and how well both do on the
validation examples. The weights are

    regressor.safetensors   the map that Lightning found
    ridge.safetensors       the closed form
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor, nn

from wsdet.boxes import iou_of_pairs
from wsdet.linear_models.box_regressor import BoxRegressor, proper
from wsdet.training.batches import Batches
from wsdet.training.options import BoxRegressorTraining, PerClass, RegressionLoss
from wsdet.training.resumable import fit, train_once
from wsdet.training.ridge import RidgePath
from wsdet.training.selection import plainest_of_the_best
from wsdet.training.sensitivity_maps import Halves
from wsdet.types import Floats, InputError, Ints

log = logging.getLogger(__name__)

Group = tuple[Tensor, Tensor]  # (n, d) inputs and (n, 4) targets of the examples that share a map

_STEPS = 10  # of L-BFGS in an epoch
_FEWEST = 2  # examples of a class that can have a map of its own
_FOUND, _WIDTH = 0.5, 0.1  # IoU from which a box is found, and how smooth that is


@dataclass(frozen=True, eq=False)
class Examples:
    """What a box regressor learns from, or is chosen by.

    Attributes:
        maps: (n, side, side) float16 sensitivity maps.
        corners: (n, 4) boxes in relative coordinates.
        labels: (n,) their classes.
    """

    maps: Halves
    corners: Floats
    labels: Ints

    def __len__(self) -> int:
        return len(self.labels)

    def mirrored(self) -> Examples:
        """Each of them, and each of them in the mirror."""
        corners = self.corners.copy()
        corners[:, [0, 2]] = 1 - corners[:, [2, 0]]
        return Examples(
            np.concatenate([self.maps, self.maps[:, :, ::-1]]),
            np.concatenate([self.corners, corners]),
            np.tile(self.labels, 2),
        )


class BoxRegressorModule(pl.LightningModule):
    """Linear maps learning to be those of ridge regression.

    Args:
        weights: (k, 4, d) to begin with.
        biases: (k, 4) to begin with.
        penalty: r of the objective, which is summed over the k maps.
        counts: examples of each map, over all processes.
        loss: of an example; see this module.

    Attributes:
        best_weights: those of the epoch with the least validation error, as `best_biases`.
        best_error: mean loss of that epoch's validation examples.
    """

    best_weights: Tensor
    best_biases: Tensor
    best_error: Tensor

    def __init__(
        self, weights: Tensor, biases: Tensor, penalty: float, counts: Sequence[int], loss: RegressionLoss = "squared"
    ) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights.clone())
        self.biases = nn.Parameter(biases.clone())
        self.penalty = penalty
        self.counts = tuple(counts)
        self._loss_of = _squared_errors if loss == "squared" else _misses
        self.register_buffer("best_weights", weights.clone())
        self.register_buffer("best_biases", biases.clone())
        self.register_buffer("best_error", torch.tensor(torch.inf))

    def training_step(self, batch: Sequence[Group], batch_idx: int) -> Tensor:
        """The objective; of several processes, each sees a share of the examples, and the mean is the objective."""
        share = slice(self.global_rank, None, self.trainer.world_size)
        errors = [self._loss(index, (x[share], y[share])) / self.counts[index] for index, (x, y) in enumerate(batch)]
        loss = self.trainer.world_size * torch.stack(errors).sum() + self.penalty * self.weights.square().sum()
        self.log("loss", loss, batch_size=1, sync_dist=True)
        return loss

    def validation_step(self, batch: Sequence[Group], batch_idx: int) -> None:
        """Measures all validation examples, in every process alike."""
        self.log("validation", self.consider(batch), batch_size=1, sync_dist=True)

    @torch.no_grad()
    def consider(self, groups: Sequence[Group]) -> Tensor:
        """The mean loss of validation examples; the weights are kept if none before them did better."""
        n = sum(len(targets) for _, targets in groups)
        error = torch.stack([self._loss(index, group) for index, group in enumerate(groups)]).sum() / n
        if error < self.best_error:
            self.best_error.copy_(error)
            self.best_weights.copy_(self.weights)
            self.best_biases.copy_(self.biases)
        return error

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """L-BFGS without line search and tolerances, which would look at a process's own loss: all take equal steps."""
        return torch.optim.LBFGS(
            self.parameters(), max_iter=_STEPS, history_size=20, tolerance_grad=0, tolerance_change=0
        )

    def _loss(self, index: int, group: Group) -> Tensor:
        x, y = group
        return self._loss_of(x @ self.weights[index].T + self.biases[index], y).sum()


def _squared_errors(corners: Tensor, wanted: Tensor) -> Tensor:
    """(n,) squared errors, summed over the corners."""
    return (corners - wanted).square().sum(dim=1)


def _misses(corners: Tensor, wanted: Tensor) -> Tensor:
    """(n,) near 1 where a box is lost, near 0 where it is found; corners may be out of order."""
    low, high = torch.minimum(corners[:, :2], corners[:, 2:]), torch.maximum(corners[:, :2], corners[:, 2:])
    sides = torch.minimum(high, wanted[:, 2:]) - torch.maximum(low, wanted[:, :2])
    together = sides.clamp(min=0).prod(dim=1)
    areas = (high - low).prod(dim=1) + (wanted[:, 2:] - wanted[:, :2]).prod(dim=1)
    return torch.sigmoid((_FOUND - together / (areas - together)) / _WIDTH)


def train_box_regressor(
    train: Examples,
    validation: Examples,
    out: Path,
    classes: Sequence[str],
    network: str,
    input_size: int,
    options: BoxRegressorTraining | None = None,
    trainer_options: Mapping[str, Any] | None = None,
) -> tuple[BoxRegressor, BoxRegressor]:
    """The regressors that Lightning and the closed form make of the examples; read where they are there already.

    Memory: n x d x 4 bytes for n examples (twice as many when mirrored) of d pixels, some copies of them, and
    min(n, d)^2 x 8 bytes for the closed form.

    Args:
        train: what is learned from.
        validation: what is chosen by.
        out: folder of the training, see this module; a training that was stopped goes on.
        classes: names of the classes that labels index.
        network: fingerprint of the network whose maps these are.
        input_size: side of its input.
        options: how the maps were made, and what is trained; None: `BoxRegressorTraining()`.
        trainer_options: further arguments of `pytorch_lightning.Trainer`, such as accelerator and devices. Precision
            is always float32: a linear map gains nothing from less.

    Returns:
        Lightning's, then the closed form.

    Raises:
        InputError: `out` holds a training with other settings; there are too few examples, or of a class with
            `per_class`.
    """
    if len(train) < 2 or not len(validation):
        raise InputError(
            "a box regressor needs at least 2 boxes to learn from and 1 to choose by, "
            f"got {len(train)} and {len(validation)}; give more images (limit=) or more boxes (n_boxes=)"
        )
    options = options or BoxRegressorTraining()
    settings = {
        # the other two are in the examples
        **{key: value for key, value in asdict(options).items() if key not in ("budget", "map_side")},
        "network": network,
        "train": _digest(train),
        "validation": _digest(validation),
    }
    paths = {name: out / f"{name}.safetensors" for name in ("regressor", "ridge")}

    def fit_and_save() -> dict[str, Any]:
        log.info("box regressor: %d boxes to learn from, %d to choose by", len(train), len(validation))
        learned = train.mirrored() if options.mirror else train
        unit = _Unit.of(learned.maps, len(classes))
        chosen = _choose(learned, unit, validation, options)
        of_trainer = dict(trainer_options or {}) | {"precision": "32-true", "use_distributed_sampler": False}
        module = _fitted(learned, unit, validation, chosen, out, options, of_trainer)
        found = {
            "regressor": unit.undone(module.best_weights.numpy(), module.best_biases.numpy()),
            "ridge": unit.undone(chosen.weights, chosen.biases),
        }
        described = {"penalty": chosen.penalty, "train": len(train), "validation": len(validation)}
        for name, (weights, biases) in found.items():
            maps = weights.reshape(-1, 4, *train.maps.shape[1:])
            BoxRegressor(maps, biases, tuple(classes), options.channels, input_size, network, described).save(
                paths[name]
            )
        return {
            "boxes": {"train": len(train), "validation": len(validation)},
            "penalty": chosen.penalty,
            "per_class": chosen.per_class,
            "validation": {name: _measured(BoxRegressor.load(path), validation) for name, path in paths.items()},
        }

    train_once("box regressor", paths["regressor"], settings, fit_and_save)
    # as a later run reads them: arrays laid out in another way give other last digits
    return BoxRegressor.load(paths["regressor"]), BoxRegressor.load(paths["ridge"])


@dataclass(frozen=True, eq=False)
class _Unit:
    """What inputs are shifted by, (d,), and divided by: then they have mean 0 and mean squared length 1."""

    mean: Floats
    scale: float
    n_classes: int

    @classmethod
    def of(cls, maps: Halves, n_classes: int) -> _Unit:
        """What does so to `maps`."""
        x = maps.reshape(len(maps), -1).astype(np.float32)
        mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
        x -= mean
        return cls(mean, float(np.sqrt(np.einsum("nd,nd->", x, x, dtype=np.float64) / len(x))) or 1.0, n_classes)

    def inputs(self, examples: Examples, per_class: PerClass) -> Floats:
        """(n, d) inputs, with "bias" (n, d + n_classes)."""
        x = examples.maps.reshape(len(examples), self.mean.size).astype(np.float32)
        x -= self.mean
        x /= np.float32(self.scale)
        if per_class != "bias":
            return x
        return np.concatenate([x, np.eye(self.n_classes, dtype=np.float32)[examples.labels]], axis=1)

    def undone(self, weights: Floats, biases: Floats) -> tuple[Floats, Floats]:
        """The linear maps (k, 4, d) of maps as they are, and the biases (k or n_classes, 4), of those of inputs."""
        of_maps, of_classes = np.split(weights, [self.mean.size], axis=2)
        of_maps = of_maps / np.float32(self.scale)
        biases = biases - of_maps @ self.mean
        if of_classes.size:  # one map
            biases = biases + of_classes[0].T
        return of_maps, biases.astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Choice:
    """The closed form that does best on the validation examples."""

    penalty: float
    per_class: PerClass
    weights: Floats
    biases: Floats


def _choose(
    learned: Examples,
    unit: _Unit,
    validation: Examples,
    options: BoxRegressorTraining,
) -> _Choice:
    fewest = min(int((learned.labels == label).sum()) for label in range(unit.n_classes))
    if fewest < _FEWEST and options.per_class == "map":
        raise InputError(
            f"per_class=map needs {_FEWEST} examples of every class, mirrored ones counted, one class has {fewest}; "
            "set it to auto, bias or nothing, or give more boxes (n_boxes=)"
        )
    candidates: Sequence[PerClass] = get_args(PerClass) if options.per_class == "auto" else [options.per_class]
    choices: list[_Choice] = []  # the plainest first
    losses: list[Floats] = []
    wanted = torch.from_numpy(validation.corners)
    for candidate in candidates:
        if candidate == "map" and fewest < _FEWEST:
            continue
        x, inputs = unit.inputs(learned, candidate), unit.inputs(validation, candidate)
        rows = _rows(learned.labels, unit.n_classes, candidate)
        paths = [RidgePath(x[of_one], learned.corners[of_one]) for of_one in rows]
        at = validation.labels if candidate == "map" else np.zeros(len(validation), np.int64)
        for penalty in sorted(options.penalties, reverse=True):
            weights, biases = (np.stack(parts) for parts in zip(*(path.solve(penalty) for path in paths), strict=True))
            corners = proper(_applied(weights, biases, inputs, at), 1 / learned.maps.shape[-1])
            choices.append(_Choice(penalty, candidate, weights, biases))
            losses.append(_misses(torch.from_numpy(corners), wanted).numpy())
    return choices[plainest_of_the_best(np.stack(losses))]


def _applied(weights: Floats, biases: Floats, inputs: Floats, at: Ints) -> Floats:
    """(n, 4) corners of (n, d) inputs by the linear maps (k, 4, d) and (k, 4) that (n,) `at` names."""
    corners = np.empty((len(inputs), 4), np.float32)
    for index in np.unique(at):
        corners[at == index] = inputs[at == index] @ weights[index].T + biases[index]
    return corners


def _fitted(
    learned: Examples,
    unit: _Unit,
    validation: Examples,
    chosen: _Choice,
    out: Path,
    options: BoxRegressorTraining,
    trainer_options: Mapping[str, Any],
) -> BoxRegressorModule:
    """What Lightning makes of the chosen objective.

    It starts from maps that give each example the mean box; for the overlap, which knows no way from afar, from the
    closed form.
    """
    train_groups, validation_groups = (
        _groups(unit.inputs(examples, chosen.per_class), examples, unit.n_classes, chosen.per_class)
        for examples in (learned, validation)
    )
    if options.loss == "squared":
        weights = torch.zeros(len(train_groups), 4, train_groups[0][0].shape[1])
        biases = torch.from_numpy(np.stack([y.numpy().mean(axis=0) for _, y in train_groups]))
    else:
        weights, biases = torch.from_numpy(np.ascontiguousarray(chosen.weights)), torch.from_numpy(chosen.biases)
    module = BoxRegressorModule(weights, biases, chosen.penalty, [len(y) for _, y in train_groups], options.loss)
    module.consider(validation_groups)
    batches = Batches([train_groups], [validation_groups], batch_size=None)
    stopping = EarlyStopping("validation", 0.0, options.patience)
    fit(module, batches, out, options.epochs, "box regressor", trainer_options, [stopping])
    return module


def _groups(inputs: Floats, examples: Examples, n_classes: int, per_class: PerClass) -> list[Group]:
    """The examples that share a map: all examples are one batch."""
    return [
        (torch.from_numpy(inputs[rows]), torch.from_numpy(examples.corners[rows]))
        for rows in _rows(examples.labels, n_classes, per_class)
    ]


def _rows(labels: Ints, n_classes: int, per_class: PerClass) -> list[Ints]:
    """The rows of the examples that share a map."""
    if per_class == "map":
        return [np.flatnonzero(labels == label) for label in range(n_classes)]
    return [np.arange(len(labels))]


def _measured(regressor: BoxRegressor, examples: Examples) -> dict[str, float]:
    corners = regressor.predict(examples.maps.astype(np.float32), examples.labels)
    return {
        "squared_error": _error(corners, examples.corners),
        "mean_iou": float(iou_of_pairs(corners, examples.corners).mean()),
        "found": _found(corners, examples.corners),
    }


def _error(corners: Floats, wanted: Floats) -> float:
    return float(np.square(corners - wanted).sum(axis=1).mean())


def _found(corners: Floats, wanted: Floats) -> float:
    """Share of the boxes with IoU > 0.5."""
    return float((iou_of_pairs(corners, wanted) > 0.5).mean())


def _digest(examples: Examples) -> str:
    digest = hashlib.sha256()
    for part in (examples.maps, examples.corners, examples.labels):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]
