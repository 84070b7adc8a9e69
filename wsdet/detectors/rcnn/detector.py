"""`RcnnDetector`: proposals scored by linear SVMs on their features, and its files.

A saved detector is a folder without any code in it:

    model.json           classes, feature settings, network, proposals, calibration, and what else is worth knowing
    model.safetensors    one classifier per class, and how each class moves its boxes where they are regressed
    network.safetensors  the network's trunk
    head.safetensors     its fully connected layers, where the features are the last of them
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsdet import check
from wsdet.detectors.rcnn.box_regression import BoxShifts, moved
from wsdet.detectors.rcnn.features import BoxFeatures, build_features
from wsdet.detectors.rcnn.saved_detector import load_network, read_description
from wsdet.linear_models.calibration import Calibration
from wsdet.networks.torchvision_import import import_torchvision
from wsdet.storage import tensors
from wsdet.storage.files import write_json
from wsdet.tiles import Tiling
from wsdet.types import Boxes, Detector, Floats, InputError, Sample

log = logging.getLogger(__name__)

FORMAT = "wsdet R-CNN detector 1"
_CLASSIFIERS_FORMAT, _TRUNK_FORMAT = "wsdet linear classifiers 1", "wsdet trunk 1"  # those of earlier versions say none
_HEAD_FORMAT = "wsdet hidden layers 1"


class RcnnDetector:
    """A trained detector: one linear classifier per class over the features of proposals.

    Args:
        features: describes boxes.
        classes: names of the classes.
        weights: (n_classes, dim) weights of the classifiers.
        biases: (n_classes,) offsets; minus infinity for a class that is never found.
        proposals: the proposal source that this detector was made for, as its config says it: `{"_target_": ...}`.
        info: what else the file says about itself, as plain JSON values; nothing depends on it.
        nms_iou: of two boxes of a class that overlap more, the lower one is dropped.
        max_per_class: proposals of a class that reach non-maximum suppression, those of highest score.
        max_per_image: boxes given for an image, all classes together; 0: all.
        max_proposals: maximum number of proposals of an image, the first ones; 0: all.
        shifts: how each class moves the boxes that it scores; None: they stay where they are.
        calibration: how scores become probabilities; None: `Calibration.fixed`.
    """

    def __init__(
        self,
        features: BoxFeatures,
        classes: Sequence[str],
        weights: Floats,
        biases: Floats,
        proposals: Mapping[str, Any] | None = None,
        info: Mapping[str, Any] | None = None,
        nms_iou: float = 0.3,
        max_per_class: int = 100,
        max_per_image: int = 100,
        max_proposals: int = 0,
        shifts: BoxShifts | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        if weights.shape != (len(classes), features.dim) or biases.shape != (len(classes),):
            raise ValueError(
                f"weights and biases must have shapes ({len(classes)}, {features.dim}) and ({len(classes)},), "
                f"got {weights.shape} and {biases.shape}"
            )
        if shifts and (shifts.weights.shape, shifts.biases.shape) != (
            (len(classes), 4, features.dim),
            (len(classes), 4),
        ):
            raise ValueError(
                f"shifts must have shapes ({len(classes)}, 4, {features.dim}) and ({len(classes)}, 4), "
                f"got {shifts.weights.shape} and {shifts.biases.shape}"
            )
        check.share(nms_iou=nms_iou)
        check.at_least(1, max_per_class=max_per_class)
        check.at_least(0, max_per_image=max_per_image, max_proposals=max_proposals)
        self.features = features
        self.weights = torch.from_numpy(np.array(weights, np.float32)).to(features.network.device)
        self.biases = torch.from_numpy(np.array(biases, np.float32)).to(features.network.device)
        self.shifts = (
            (torch.from_numpy(shifts.weights).to(self.weights), torch.from_numpy(shifts.biases).to(self.weights))
            if shifts
            else None
        )
        self.calibration = calibration or Calibration.fixed(len(classes))
        self.proposals = dict(proposals or {})
        self.info = dict(info or {})
        self.nms_iou = nms_iou
        self.max_per_class = max_per_class
        self.max_per_image = max_per_image
        self.max_proposals = max_proposals
        self._classes = tuple(classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that `Boxes.labels` index."""
        return self._classes

    def detect(self, sample: Sample, proposals: Boxes) -> Boxes:
        """Labeled boxes of an image, best first; a score is the probability that the box is correct."""
        xyxy = proposals.xyxy[: self.max_proposals or None]
        return self.select(xyxy, self.features.features(self.features.maps(sample), xyxy), sample.size_hw)

    @torch.inference_mode()
    def select(self, xyxy: Floats, features: Tensor, size_hw: tuple[int, int]) -> Boxes:
        """The detections among (m, 4) boxes with (m, dim) features in an image of that size, best first."""
        import_torchvision()
        from torchvision.ops import batched_nms

        scores = features @ self.weights.T + self.biases  # (m, n_classes)
        scores, rows = scores.topk(min(self.max_per_class, len(scores)), dim=0)
        labels = torch.arange(len(self._classes), device=scores.device).expand_as(scores)
        found = scores.isfinite()
        scores, rows, labels = scores[found], rows[found], labels[found]
        probabilities = self.calibration.probabilities(scores.cpu().numpy(), labels.cpu().numpy())
        scores = torch.from_numpy(probabilities).to(scores)
        boxes = torch.from_numpy(np.array(xyxy)).to(scores.device)
        if self.shifts:
            weights, biases = self.shifts
            offsets = (features @ weights.flatten(0, 1).T).unflatten(1, biases.shape) + biases  # (m, n_classes, 4)
            boxes = moved(boxes[rows], offsets[rows, labels], size_hw)
        else:
            boxes = boxes[rows]
        # in float64, so that moving the classes apart, as batched_nms does, costs no precision
        kept = batched_nms(boxes.double(), scores.double(), labels, self.nms_iou)
        kept = kept[: self.max_per_image or None]
        return Boxes(boxes[kept].cpu().numpy(), scores[kept].cpu().numpy(), labels[kept].cpu().numpy())

    @property
    def needs_proposals(self) -> bool:
        """Whether `detect` looks at proposals."""
        return True

    @property
    def tiling(self) -> Tiling | None:
        """The tiles off whose maps it reads boxes."""
        settings = self.features.settings
        return Tiling.of(settings.get("tile"), settings.get("tile_overlap", Tiling.overlap))

    @property
    def device_type(self) -> str:
        """Where it runs, "cpu" or "cuda"."""
        return self.features.network.device.type

    @property
    def precision(self) -> str:
        """Of its network's forward passes."""
        return str(self.features.network.dtype).removeprefix("torch.")

    def save(self, folder: Path | str) -> None:
        """Writes the detector; `model.json` comes last, so a folder that has it is complete."""
        folder = Path(folder)
        backbone = self.features.network.backbone
        tensors.save(folder / "network.safetensors", backbone.trunk.state_dict(), {"format": _TRUNK_FORMAT})
        if self.features.settings.get("layer") == "hidden":
            tensors.save(folder / "head.safetensors", backbone.hidden_state, {"format": _HEAD_FORMAT})
        classifiers = {"weights": self.weights, "biases": self.biases}
        if self.shifts:
            classifiers |= {"shift_weights": self.shifts[0], "shift_biases": self.shifts[1]}
        tensors.save(folder / "model.safetensors", classifiers, {"format": _CLASSIFIERS_FORMAT}, infinite=("biases",))
        described = {
            "format": FORMAT,
            "classes": list(self._classes),
            "features": self.features.settings,
            "network": {
                "architecture": backbone.architecture,
                "input_size": backbone.input_size,
                "fingerprint": self.features.network.fingerprint,
            },
            "proposals": self.proposals,
            "nms_iou": self.nms_iou,
            "max_per_class": self.max_per_class,
            "max_per_image": self.max_per_image,
            "max_proposals": self.max_proposals,
            "box_regression": self.shifts is not None,
            "calibration": self.calibration.settings,
            "info": self.info,
        }
        write_json(folder / "model.json", described)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        device: str = "auto",
        precision: str = "auto",
        features: BoxFeatures | None = None,
    ) -> RcnnDetector:
        """A saved detector with its network.

        Args:
            folder: what `save` wrote. It may be untrusted: no code in it is run.
            device: see `Network`.
            precision: see `Network`.
            features: what it was trained with, to be shared with others; None makes it anew from the files.

        Raises:
            InputError: a file is missing, damaged, or does not fit the others; or the detector was trained with
                other features than these.
        """
        folder = Path(folder)
        metadata = read_description(folder / "model.json", FORMAT)
        classifiers, _ = tensors.load(folder / "model.safetensors", infinite=("biases",))
        if metadata["features"].get("kind") == "warp":
            metadata["features"].setdefault("layer", "map")  # of earlier versions
        network = features.network if features else load_network(folder, metadata, device, precision)
        if features and (network.fingerprint, features.settings) != (
            metadata["network"].get("fingerprint"),
            metadata["features"],
        ):
            raise InputError(f"{folder} was trained with another network or other features; give another out=")
        calibration = Calibration.of_settings(
            metadata.get("calibration"), len(metadata["classes"]), folder / "model.json"
        )
        try:
            return cls(
                features or build_features(network, **metadata["features"]),
                metadata["classes"],
                classifiers["weights"].astype(np.float32),
                classifiers["biases"].astype(np.float32),
                metadata["proposals"],
                metadata["info"],
                metadata["nms_iou"],
                metadata["max_per_class"],
                metadata["max_per_image"],
                metadata["max_proposals"],
                BoxShifts(
                    classifiers["shift_weights"].astype(np.float32), classifiers["shift_biases"].astype(np.float32)
                )
                if metadata["box_regression"]
                else None,
                calibration,
            )
        except KeyError as error:
            raise InputError(f"{folder} is no usable detector: {error} is missing in a file; train it again") from error
        except (ValueError, TypeError) as error:
            raise InputError(f"{folder} is no usable detector: {error}; train it again") from error


def detect_together(detectors: Mapping[str, RcnnDetector], sample: Sample, proposals: Boxes) -> dict[str, Boxes]:
    """The detections of several detectors in an image; features that they share are computed once."""
    found: dict[str, Boxes] = {}
    for features in {id(one.features): one.features for one in detectors.values()}.values():
        sharing = {name: one for name, one in detectors.items() if one.features is features}
        n_proposals = {one.max_proposals for one in sharing.values()}
        xyxy = proposals.xyxy[: None if 0 in n_proposals else max(n_proposals)]
        described = features.features(features.maps(sample), xyxy)
        found |= {name: one.select(xyxy, described, sample.size_hw) for name, one in sharing.items()}
    return found


def load_saved(folder: Path, device: str, precision: str, others: Mapping[str, Detector]) -> RcnnDetector:
    """See `wsdet.detectors.loading`; R-CNNs of one network and kind of features describe each region once."""
    loaded = RcnnDetector.load(folder, device, precision)
    # of a saved network only what features need is there, so its fingerprint is another than when it was trained
    key = (loaded.features.network.fingerprint, loaded.features.settings)
    for other in others.values():
        if isinstance(other, RcnnDetector) and key == (other.features.network.fingerprint, other.features.settings):
            loaded.features = other.features
            break
    return loaded
