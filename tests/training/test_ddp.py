"""Two processes (DDP, gloo) learn what one learns from batches twice as large.

trainer=ddp spawns its processes, each of which loads the libraries: the classifier does, the others are forked.
"""

from __future__ import annotations

import csv
import socket
from dataclasses import dataclass, field
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from tests import programs
from wsdet.detectors.neural.options import ModelOptions, TrainingOptions
from wsdet.detectors.neural.training import train_detector
from wsdet.linear_models.region_classifier import RegionClassifier
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.stages.region_features import ProposalFeatures
from wsdet.storage.untrusted import read_json
from wsdet.training.box_regressor import Examples, train_box_regressor
from wsdet.training.classifier import train_classifier
from wsdet.training.options import BoxRegressorTraining, ClassifierTraining, RegionClassifierTraining
from wsdet.training.region_classifier import train_region_classifier
from wsdet.types import Boxes, Sample, Split

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Lightning's about DDP on a CPU


class Forked(DDPStrategy):
    """Forks processes, and fails where spawning them would: on what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__(start_method="fork")

    def connect(self, model: pl.LightningModule) -> None:
        ForkingPickler.dumps(model)
        super().connect(model)


def trainers(strategy: str | DDPStrategy) -> dict[int, dict[str, Any]]:
    """Options of Lightning's Trainer for one process and for two."""
    of_one: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "logger": "csv", "log_every_n_steps": 1}
    return {1: of_one, 2: of_one | {"devices": 2, "strategy": strategy}}


@dataclass
class Mirrors:
    """Images of one size that look the same in a mirror, so that whether they are mirrored changes nothing."""

    n: int = 16
    classes: tuple[str, ...] = ("red", "blue")
    truth: dict[str, Boxes] = field(default_factory=dict)

    def ids(self, split: Split) -> tuple[str, ...]:
        return tuple(f"{i:03d}" for i in range(self.n))

    def labels(self, image_id: str) -> tuple[int, ...]:
        return (int(image_id) % 2,)

    def load(self, image_id: str) -> Sample:
        rng = np.random.default_rng(int(image_id))
        half = rng.integers(60, 120, (64, 32, 3)).astype(np.uint8)
        top = rng.integers(0, 30)
        half[top : top + 24, 12:] = (220, 30, 30) if self.labels(image_id)[0] == 0 else (30, 30, 220)
        self.truth[image_id] = Boxes(
            np.array([[12, top, 52, top + 24]], np.float32), np.ones(1, np.float32), np.array(self.labels(image_id))
        )
        return Sample(image_id, np.concatenate([half, half[:, ::-1]], axis=1), self.labels(image_id))


def assert_alike(one: dict[str, Tensor], other: dict[str, Tensor], rtol: float = 1e-3, atol: float = 1e-5) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        off = (value - other[name]).abs() - rtol * other[name].abs()
        assert off.max() <= atol, f"{name}: {off.max()}"


def losses_in(folder: Path) -> list[float]:
    """What was logged of a training, step by step."""
    (path,) = folder.glob("log/*/metrics.csv")
    with path.open(encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def test_the_classifier(tmp_path: Path) -> None:
    dataset, weights, reports = Mirrors(), {}, {}
    for n, trainer in trainers("ddp_spawn").items():
        options = ClassifierTraining(
            head_only=True, epochs=3, batch_size=8 // n, min_crop=1.0, jitter=0.0, masked=0.0, validation=0.0
        )
        backbone = build_backbone("tiny", 2, 64)
        path = train_classifier(
            backbone, dataset, dataset.ids("train"), tmp_path / str(n), options=options, workers=0,
            trainer_options=trainer,
        )  # fmt: skip
        weights[n] = build_backbone("tiny", 2, 64, weights=path).state_dict()
        reports[n] = read_json(tmp_path / str(n) / "training.json")
    assert_alike(weights[1], weights[2])
    assert losses_in(tmp_path / "1") == pytest.approx(losses_in(tmp_path / "2"), rel=1e-3)
    assert reports[1]["images"] == reports[2]["images"] == 16
    start = build_backbone("tiny", 2, 64).last_layer.weight
    assert not torch.allclose(weights[2]["head.fc.weight"], start, rtol=1e-2)  # it has learned


def test_the_box_regressor(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.01, (4, 64))

    def examples(n: int) -> Examples:
        maps = rng.uniform(0, 2, (n, 8, 8)).astype(np.float16)
        corners = (maps.reshape(n, -1) - 1) @ truth.T + [0.2, 0.25, 0.7, 0.8]
        return Examples(maps, corners.astype(np.float32), np.arange(n) % 2)

    learned, chosen_by, weights = examples(200), examples(40), {}
    for n, trainer in trainers(Forked()).items():
        options = BoxRegressorTraining(per_class="nothing", mirror=False, epochs=3, penalties=[1e-4])
        regressor, _ = train_box_regressor(
            learned, chosen_by, tmp_path / str(n), ("one", "two"), "0123", 16, options, trainer
        )
        weights[n] = {"weights": torch.from_numpy(regressor.weights), "biases": torch.from_numpy(regressor.biases)}
    assert_alike(weights[1], weights[2], rtol=1e-2, atol=1e-4)
    assert losses_in(tmp_path / "1") == pytest.approx(losses_in(tmp_path / "2"), rel=1e-2)


def test_the_region_classifier(tmp_path: Path) -> None:
    dataset, grid = Mirrors(), np.arange(0, 64, 16, dtype=np.float32)
    corners = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    regions = Boxes(np.concatenate([corners, corners + 24], axis=1).clip(0, 64))
    proposals = dict.fromkeys(dataset.ids("train"), regions)
    network = Network(build_backbone("tiny", 2, 64, seed=0), [(0,), (1,)], device="cpu", precision="float32")
    weights = {}
    for n, trainer in trainers(Forked()).items():
        folder = tmp_path / str(n)
        describe = ProposalFeatures(dataset, proposals, 0, network, folder / "maps")
        path = train_region_classifier(
            dataset, dataset.ids("train"), describe, folder,
            xyxy_of=describe.xyxy_of,
            evidence=lambda _, features: np.ones((len(features), 2), np.float32),
            grid=describe.grid, network=network.fingerprint, depends_on={},
            # each head sees all regions: which ones it sees otherwise, each process samples for itself
            options=RegionClassifierTraining(heads=2, share=1.0, epochs=4, batch_size=8 // n),
            trainer_options=trainer,
        )  # fmt: skip
        trained = RegionClassifier.load(path)
        parts = ("class_weights", "class_biases", "region_weights")
        weights[n] = {name: torch.from_numpy(getattr(trained, name)) for name in parts}
    assert_alike(weights[1], weights[2], rtol=1e-2, atol=1e-4)
    losses = losses_in(tmp_path / "1")
    assert losses == pytest.approx(losses_in(tmp_path / "2"), rel=1e-3)
    assert losses[-1] < 0.9 * losses[0]


def test_a_detector(tmp_path: Path) -> None:
    """RetinaNet, whose loss is a mean over images; the others divide by the number of positives in a batch."""
    dataset, losses, weights = Mirrors(), {}, {}
    for image_id in dataset.ids("train"):
        dataset.load(image_id)
    for n, trainer in trainers(Forked()).items():
        detector = train_detector(
            dataset,
            dataset.ids("train"),
            dataset.truth,
            build_backbone("tiny", input_size=64),
            tmp_path / str(n),
            model=ModelOptions("retinanet", channels=64, short_side=64),
            training=TrainingOptions(
                epochs=2, batch_size=8 // n, precision="32-true", average=0.5, scale_jitter=0.1, color_jitter=0.1
            ),
            trainer_options=trainer,
            device="cpu",
        )
        weights[n] = {name: value for name, value in detector.model.state_dict().items() if value.is_floating_point()}
        losses[n] = read_json(tmp_path / str(n) / "training.json")["loss"]
    assert_alike(weights[1], weights[2], atol=1e-4)
    assert losses_in(tmp_path / "1") == pytest.approx(losses_in(tmp_path / "2"), rel=5e-3)  # that weights differ by
    name = "backbone.body.features.4.weight"
    moved = (weights[1][name] - build_backbone("tiny", input_size=64).trunk.state_dict()["features.4.weight"]).abs()
    assert moved.max() > 1e-3  # much more than the two differ by
    assert losses[2] > 0


def test_a_whole_experiment_under_torchrun_on_two_nodes(tmp_path: Path) -> None:
    """Two agents of torchrun on this machine, a process each: both train, and the first does the rest alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = (
        *("data.n_train=12", "data.n_test=4", "data.size=48", "network.input_size=48", f"out={tmp_path}", "device=cpu"),
        *("network.training.epochs=2", "region_classifier.epochs=2", "detector=retinanet", "workers=0"),
        *("detector.training.epochs=1", "detector.model.short_side=48", "detector.train_on=[pseudo]", "verdict=0"),
    )
    place = ("--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}")
    program = ("-m", "wsdet.train", "trainer=torchrun", "trainer.accelerator=cpu", "trainer.precision=32-true")

    def start(node: int) -> programs.Started:
        torchrun = ("from torch.distributed.run import main; main()", "--nnodes=2", f"--node-rank={node}", *place)
        return programs.start(*torchrun, *program, *settings)

    agents = [agent.done() for agent in [start(node) for node in (0, 1)]]
    said = [done.stdout + done.stderr for done in agents]
    assert [done.returncode for done in agents] == [0, 0], said
    for name in ("classifier", "region classifier", "pseudo"):
        assert f"{name}: trained by 2 processes on 2 nodes" in said[0], said[0]
    assert "INFO" not in said[1], said[1]
    assert (tmp_path / "finished.json").exists()
    assert "ground_truth" not in read_json(tmp_path / "metrics.json")["detectors"]
    done = programs.run("train", "task=classifier", "trainer=cpu", *settings)
    assert "classifier: trained already" in done.stdout + done.stderr


def test_under_torchrun_another_trainer_is_refused(tmp_path: Path) -> None:
    started = "import os\nos.environ.update(TORCHELASTIC_RUN_ID='one', RANK='0')\n"
    done = programs.run(f"{started}from wsdet.train import main\nmain()", "trainer=cpu", f"out={tmp_path}")
    assert done.returncode == 1
    assert "give trainer=torchrun" in done.stdout + done.stderr
