"""What every kind of detector offers to a run: how it is trained, and whether it looks at proposals.

A kind is one module and one YAML in `conf/detector`, whose `_target_` is a `DetectorTrainer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from wsdet.types import Boxes, Dataset, Detector

if TYPE_CHECKING:
    from wsdet.detectors.self_training import MeanTeacher
    from wsdet.networks.classifier import Network
    from wsdet.runners.job import Runner


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """What detectors are trained on.

    Attributes:
        dataset: gives images and their labels.
        ids: the images to train on.
        positives: for each detector, by its name, labeled boxes by image id. A score is the weight of the box as a
            positive, 1 is the usual one; a box flagged difficult is ignored: neither positive nor background.
        network: the run's classifier.
        proposals: boxes by image id, for kinds that look at them.
        proposal_settings: what made the proposals.
        depends_on: what the boxes depend on, as plain JSON values.
        cache: folder for what later runs on the same images can use again.
        seed: of everything random.
        strict: the first bad image raises.
        trainer: further arguments of `pytorch_lightning.Trainer`.
        runner: several workers for what is done image by image; None: there are none.
    """

    dataset: Dataset
    ids: Sequence[str]
    positives: Mapping[str, Mapping[str, Boxes]]
    network: Network
    proposals: Mapping[str, Boxes] = field(default_factory=dict)
    proposal_settings: Mapping[str, Any] = field(default_factory=dict)
    depends_on: Mapping[str, Any] = field(default_factory=dict)
    cache: Path | None = None
    seed: int = 0
    strict: bool = False
    trainer: Mapping[str, Any] = field(default_factory=dict)
    runner: Runner | None = None


class DetectorTrainer(Protocol):
    """A kind of detector with its options."""

    @property
    def needs_proposals(self) -> bool:
        """Whether its detectors look at proposals, in training and afterwards."""

    def memory(self, n_images: int, n_detectors: int, network: Network) -> float:
        """Bytes that a training on that number of images holds for them, about."""

    def train(self, data: TrainingSet, folder: Path) -> Mapping[str, Detector]:
        """One trained detector for each entry of `data.positives`, in a sub-folder of its name; those there are loaded.

        All are trained alike: same seed, same schedule.

        Raises:
            InputError: `folder` holds detectors that depend on something else, or there is nothing to train on.
        """


@runtime_checkable
class StepwiseTrainer(DetectorTrainer, Protocol):
    """A kind that is trained in steps, so that a mean teacher can follow."""

    def teach(self, data: TrainingSet, start: Detector, options: MeanTeacher, folder: Path) -> Detector:
        """A detector that goes on from `start` under a mean teacher; `data` has one set of positives.

        Raises:
            InputError: see `train`.
        """
