"""What every localizer keeps, whichever it is: found by listing conf/localizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wsdet.cli.build import build
from wsdet.cli.entry_point import CONF
from wsdet.engine import localize_all
from wsdet.linear_models.box_regressor import BoxRegressor
from wsdet.linear_models.region_classifier import RegionClassifier
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.questions import Localizer
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Dataset, InputError, Sample

NAMES = sorted(path.stem for path in (CONF / "localizer").glob("*.yaml"))
SIDE = 48
IMAGES = ("train_1", "train_4", "train_5")  # of one label, of two, of none


@pytest.fixture(scope="module")
def network() -> Network:
    """A tiny network of random weights that knows all classes but the last."""
    backbone = build_backbone("tiny", n_outputs=8, input_size=SIDE, seed=1)
    with torch.inference_mode():
        inputs = torch.randn(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        # logits of different inputs differ by whole units, far above what rounding does to them
        backbone.last_layer.weight.mul_(float(1 / backbone(inputs).std(dim=0).mean()))
    return Network(backbone, [(0, 3), (1,), ()], device="cpu", precision="float32")


@pytest.fixture(params=NAMES, scope="module")
def localizer(request: pytest.FixtureRequest, regressor: Path, region_classifier: Path, store: Path) -> Localizer:
    """Each localizer of conf/localizer, at its defaults."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("localize", [f"localizer={request.param}", f"network.input_size={SIDE}"])
        if OmegaConf.is_missing(cfg.localizer, "weights"):
            cfg.localizer.weights = str(regressor)
        elif cfg.localizer.get("weights") == "labels":
            cfg.localizer.weights = str(region_classifier)
        for node in (cfg.localizer, *cfg.localizer.get("members", {}).values()):
            if "boxes" in node:
                node.boxes.folder = str(store)
        return build(cfg.localizer, "localizer")


@pytest.fixture(scope="module")
def regressor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the sensitivity localizer has no default for."""
    path = tmp_path_factory.mktemp("regressor") / "regressor.safetensors"
    weights = np.random.default_rng(0).normal(0, 0.01, (1, 4, SIDE, SIDE)).astype(np.float32)
    BoxRegressor(weights, np.array([[0.2, 0.2, 0.8, 0.8]], np.float32), ("a",), input_size=SIDE).save(path)
    return path


@pytest.fixture(scope="module")
def region_classifier(tmp_path_factory: pytest.TempPathFactory, network: Network) -> Path:
    """What is trained on the labels for those that ask for it."""
    path = tmp_path_factory.mktemp("regions") / "model.safetensors"
    a, b = np.random.default_rng(0).normal(0, 0.1, (2, 1, 9 * 128, 3)).astype(np.float32)
    RegionClassifier(a, np.zeros((1, 3), np.float32), b, ("a", "b", "c"), 3, network.fingerprint).save(path)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, samples: list[Sample]) -> Path:
    """Boxes of an earlier run."""
    folder = tmp_path_factory.mktemp("store")
    xyxy = np.array([[2, 3, 20, 21], [5, 1, 30, 18]], np.float32)
    boxes = {
        sample.image_id: Boxes.concatenate(
            Boxes(xyxy, np.array([0.9, 0.2], np.float32), np.full(2, label)) for label in sample.labels or (-1,)
        )
        for sample in samples
    }
    BoxStore(folder, {}).fill(list(boxes), lambda ids: ((image_id, boxes[image_id]) for image_id in ids), "boxes")
    return folder


def found(
    localizer: Localizer, network: Network, samples: list[Sample], batch_size: int = 32, in_flight: int = 16
) -> dict[str, Boxes]:
    given = [(sample.image_id, sample) for sample in samples]
    outcomes = dict(localize_all(given, localizer, network, batch_size, in_flight))
    assert not any(isinstance(outcome, InputError) for outcome in outcomes.values())
    return outcomes  # type: ignore[return-value]


@pytest.fixture(scope="module")
def samples(tiny_dataset: Dataset) -> list[Sample]:
    return [tiny_dataset.load(image_id) for image_id in IMAGES]


@pytest.fixture(scope="module")
def outcomes(localizer: Localizer, network: Network, samples: list[Sample]) -> dict[str, Boxes]:
    return found(localizer, network, samples)


def test_boxes_lie_in_the_image_and_have_an_area(outcomes: dict[str, Boxes], samples: list[Sample]) -> None:
    for sample in samples:
        xyxy, (h, w) = outcomes[sample.image_id].xyxy, sample.size_hw
        assert (xyxy >= 0).all()
        assert (xyxy[:, 2:] <= [w, h]).all()
        assert (xyxy[:, 2:] > xyxy[:, :2]).all()


def test_labels_are_the_image_s_or_none(
    outcomes: dict[str, Boxes], samples: list[Sample], request: pytest.FixtureRequest
) -> None:
    """A class-aware method has boxes for every label, a class-agnostic one has boxes without.

    dam_multi looks for every class of the data, whatever the labels.
    """
    for sample in samples:
        labels = set(outcomes[sample.image_id].labels.tolist())
        if "[dam_multi]" in request.node.name:
            assert labels
            assert -1 not in labels
        else:
            assert labels in (set(sample.labels), {-1})


def test_each_label_s_boxes_come_best_first(outcomes: dict[str, Boxes]) -> None:
    for boxes in outcomes.values():
        assert np.isfinite(boxes.scores).all()
        for label in np.unique(boxes.labels):
            assert (np.diff(boxes.scores[boxes.labels == label]) <= 0).all()


def test_boxes_depend_on_neither_batch_size_nor_company(
    localizer: Localizer, network: Network, samples: list[Sample], outcomes: dict[str, Boxes]
) -> None:
    before = [sample.pixels.copy() for sample in samples]
    alone = found(localizer, network, samples[::-1], batch_size=7, in_flight=1)
    for sample, pixels in zip(samples, before, strict=True):
        assert np.array_equal(sample.pixels, pixels)
        expected, boxes = outcomes[sample.image_id], alone[sample.image_id]
        assert np.array_equal(boxes.labels, expected.labels)
        np.testing.assert_allclose(boxes.xyxy, expected.xyxy, atol=1e-3)
        np.testing.assert_allclose(boxes.scores, expected.scores, atol=1e-4)


def test_the_same_image_twice_gives_exactly_the_same_boxes(
    localizer: Localizer, network: Network, samples: list[Sample]
) -> None:
    (once,), (again,) = (found(localizer, network, samples[1:2]).values() for _ in range(2))
    assert np.array_equal(again.xyxy, once.xyxy)
    assert np.array_equal(again.scores, once.scores)
    assert np.array_equal(again.labels, once.labels)
