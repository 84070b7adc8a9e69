"""Learning from labels alone which regions show what, on images whose regions are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.linear_models.region_classifier import RegionClassifier
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.training.options import RegionClassifierTraining
from wsdet.training.region_classifier import RegionModule, train_region_classifier
from wsdet.types import InputError, Sample

CPU = {"accelerator": "cpu"}
COLORS = ((230, 40, 40), (40, 60, 230))


class Patches:
    """Gray images with a patch of the color of each of their classes; regions are a 4 x 4 grid of places."""

    classes: tuple[str, ...] = ("red", "blue")

    def __init__(self, n_images: int = 24) -> None:
        self.places: dict[str, dict[int, int]] = {}
        rng = np.random.default_rng(0)
        for index in range(n_images):
            labels = [(0,), (1,), (0, 1)][index % 3]
            self.places[f"i{index}"] = dict(zip(labels, rng.permutation(16)[:2].tolist(), strict=False))

    def xyxy(self, places: Any) -> np.ndarray:
        corners = np.array([[place % 4, place // 4] for place in places], np.float32) * 16
        return np.concatenate([corners, corners + 16], axis=1)

    def labels(self, image_id: str) -> tuple[int, ...]:
        return tuple(self.places[image_id])

    def load(self, image_id: str) -> Sample:
        if image_id == "i3":
            raise InputError("i3 cannot be read")
        rng = np.random.default_rng(int(image_id[1:]))
        pixels = rng.integers(100, 150, (64, 64, 3)).astype(np.uint8)
        for label, place in self.places[image_id].items():
            x, y = place % 4 * 16, place // 4 * 16
            pixels[y : y + 16, x : x + 16] = COLORS[label]
        return Sample(image_id, pixels, self.labels(image_id))


@pytest.fixture(scope="module")
def features() -> RoiFeatures:
    network = Network(build_backbone("tiny", 2, 64, seed=0), [(0,), (1,)], device="cpu", precision="float32")
    return RoiFeatures(network, grid=1)


def no_evidence(image_id: str, described: Tensor) -> np.ndarray:
    return np.ones((len(described), 2), np.float32)


def train(
    features: RoiFeatures,
    folder: Path,
    epochs: int = 6,
    patches: Patches | None = None,
    evidence: Callable[[str, Tensor], np.ndarray] = no_evidence,
) -> Path:
    patches = patches or Patches()
    maps = {}

    def describe(image_id: str) -> Tensor:
        if image_id not in maps:
            maps[image_id] = features.maps(patches.load(image_id))
        return features.features(maps[image_id], patches.xyxy(range(16)))

    return train_region_classifier(
        patches,  # type: ignore[arg-type]
        [*patches.places],
        describe,
        folder,
        xyxy_of=lambda _: patches.xyxy(range(16)),
        evidence=evidence,
        grid=1,
        network=features.network.fingerprint,
        depends_on={},
        options=RegionClassifierTraining(epochs=epochs),
        trainer_options=CPU,
    )


def test_training_on_labels_finds_where_each_class_is(features: RoiFeatures, tmp_path: Path) -> None:
    patches = Patches()
    classifier = RegionClassifier.load(train(features, tmp_path))
    right = total = 0
    for image_id, places in patches.places.items():
        if image_id == "i3":
            continue
        maps = features.maps(patches.load(image_id))
        scores = classifier.scores(features.features(maps, patches.xyxy(range(16))).numpy())
        right += sum(int(scores[:, label].argmax() == place) for label, place in places.items())
        total += len(places)
    assert right / total > 0.8  # by chance 1 / 16
    assert classifier.network == features.network.fingerprint
    assert len(classifier.class_weights) == 5
    for head in classifier.region_weights[1:]:  # which begin alike, and learn from other regions
        assert not np.allclose(head, classifier.region_weights[0], rtol=0.1)


@pytest.mark.slow
def test_refined_heads_label_what_they_did_not_learn_from(features: RoiFeatures, tmp_path: Path) -> None:
    patches = Patches(60)
    classifier = RegionClassifier.load(train(features, tmp_path, patches=patches))
    assert len(classifier.refined_weights) == 3
    right = []
    for image_id, places in patches.places.items():
        if image_id != "i3":
            described = features.features(features.maps(patches.load(image_id)), patches.xyxy(range(16))).numpy()
            refined = classifier.refined(described, image_id)
            assert ((refined >= 0) & (refined.sum(axis=1, keepdims=True) <= 1)).all()  # the rest is background
            right += [int(refined[:, label].argmax() == place) for label, place in places.items()]
    assert np.mean(right) > 0.9
    assert not (tmp_path / "regions.npy").exists()


@pytest.mark.slow
def test_images_of_background_teach_one_class_what_it_is_not(features: RoiFeatures, tmp_path: Path) -> None:
    """Blue is in every image of red, where it is as likely the object; and in the background, where red is not."""

    class OneClass(Patches):
        classes = ("red",)

        def __init__(self) -> None:
            super().__init__(60)
            rng = np.random.default_rng(1)
            self.places = {
                f"i{n}": dict(zip((0, 1) if n < 30 else (1,), rng.permutation(16)[:2].tolist(), strict=False))
                for n in range(60)
                if n != 3
            }

        def labels(self, image_id: str) -> tuple[int, ...]:
            return (0,) if 0 in self.places[image_id] else ()

        def is_background(self, image_id: str) -> bool:
            return known and not self.labels(image_id)

    def patches_stand_out(image_id: str, described: Tensor) -> np.ndarray:
        weights = np.full((len(described), 1), 0.1, np.float32)
        weights[list(patches.places[image_id].values())] = 1
        return weights

    right = {}
    for known in (False, True):
        patches = OneClass()
        path = train(features, tmp_path / str(known), patches=patches, evidence=patches_stand_out)
        classifier = RegionClassifier.load(path)
        found = []
        for image_id, places in list(patches.places.items())[:29]:
            described = features.features(features.maps(patches.load(image_id)), patches.xyxy(range(16))).numpy()
            refined = classifier.refined(described, image_id)[:, 0]
            found.append(refined[places[0]] > refined[places[1]])
        right[known] = np.mean(found)
    assert right[True] > 0.9
    assert right[True] > right[False]


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_classifier(
    features: RoiFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(features, tmp_path / "whole", epochs=3)
    step = RegionModule.training_step

    def dying_step(self: RegionModule, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 1 and batch_idx == 1:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(RegionModule, "training_step", dying_step)
        with pytest.raises(RuntimeError, match="killed"):
            train(features, tmp_path / "killed", epochs=3)
    assert train(features, tmp_path / "killed", epochs=3).read_bytes() == whole.read_bytes()
    assert not (whole.parent / "checkpoints").exists()


def test_a_finished_training_is_kept_and_one_with_other_settings_refused(
    features: RoiFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = train(features, tmp_path, epochs=1)
    monkeypatch.setattr(RegionModule, "training_step", lambda *_: pytest.fail("trained again"))
    assert train(features, tmp_path, epochs=1) == path
    with pytest.raises(InputError, match="epochs was 1, is 2"):
        train(features, tmp_path, epochs=2)


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs images with labels and proposals"):
        train_region_classifier(
            Patches(),  # type: ignore[arg-type]
            [],
            lambda _: Tensor(),
            tmp_path,
            xyxy_of=lambda _: np.zeros((0, 4), np.float32),
            evidence=no_evidence,
            grid=1,
            network="",
            depends_on={},
        )
