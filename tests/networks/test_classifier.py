"""The frozen classifier: what its inputs show, that answers do not depend on the batch, where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from wsdet.engine import localize_all
from wsdet.localizers.dialogue import Dialogue
from wsdet.networks.backbones import Backbone, build_backbone
from wsdet.networks.classifier import Network, load_network, resolve_device, resolve_precision
from wsdet.networks.weights import WeightsMetadata, save_weights
from wsdet.questions import (
    Cropped,
    FeatureMap,
    Fill,
    Kept,
    Masked,
    NetworkInput,
    Outputs,
    Question,
    RegionFeatures,
    Regions,
    Whole,
)
from wsdet.tiles import Tiling
from wsdet.types import Boxes, InputError, Sample

SIDE = 64
CLASSES = ("cat", "dog", "bird")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    backbone = build_backbone("tiny", n_outputs=4, input_size=SIDE, seed=1)
    with torch.inference_mode():
        spread = backbone(torch.randn(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))).std(dim=0).mean()
        backbone.last_layer.weight.mul_(float(0.5 / spread))  # so that different inputs get different logits
    return backbone


@pytest.fixture(scope="module")
def network(backbone: Backbone) -> Network:
    return Network(backbone, [(0,), (1, 3), ()], device="cpu")


def sample(size_hw: tuple[int, int] = (SIDE, SIDE), seed: int = 0) -> Sample:
    return Sample(f"s{seed}", np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8))


def ask(network: Network, question: Question, about: Sample) -> Any:
    view, rows = network.prepare(about), range(len(question.keys()))
    return network.assemble(question, network.answer([NetworkInput(view, question, row) for row in rows]))


def test_a_masked_picture_is_the_picture_with_its_pixels_at_the_mean(network: Network) -> None:
    image = sample()
    painted = image.pixels.copy()
    painted[10:30, 5:25] = np.rint(255 * np.array(network.backbone.mean))
    masked = ask(network, Masked(np.array([[5, 10, 25, 30]], np.float32)), image)
    whole = ask(network, Whole(), Sample("painted", painted))
    np.testing.assert_allclose(masked.logits, whole.logits, atol=0.02)  # the mean is rounded to whole values above
    assert np.abs(masked.logits - ask(network, Whole(), image).logits).max() > 0.05
    painted[10:30, 5:25] = 0
    black = ask(network, Masked(np.array([[5, 10, 25, 30]], np.float32), "black"), image)
    np.testing.assert_allclose(black.logits, ask(network, Whole(), Sample("painted", painted)).logits, atol=1e-4)


def test_regions_of_a_tile_are_those_of_the_tile_as_an_image(network: Network) -> None:
    image, tiling = sample((SIDE, 5 * SIDE)), Tiling(2 * SIDE, 0.25)
    x1 = tiling.windows(image.size_hw)[2, 0]
    tile = Sample("tile", np.ascontiguousarray(image.pixels[:, x1 : x1 + 2 * SIDE]))
    box = np.array([[50, 10, 90, 40]], np.float32)
    there = box + np.array([x1, 0, x1, 0], np.float32)
    for question in (Regions, RegionFeatures):
        of_tile, tiled, plain = (
            ask(network, question(box), tile),
            ask(network, question(there, tiling=tiling), image),
            ask(network, question(there), image),
        )
        a, b, c = (one if isinstance(one, np.ndarray) else one.logits for one in (of_tile, tiled, plain))
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert np.abs(a - c).max() > 1e-3


def test_boxes_are_painted_in_pixels_of_their_own_image(network: Network) -> None:
    wide, high = network.prepare(sample((128, 256))), network.prepare(sample((200, 100)))
    views = [wide, high, wide]
    fills: list[Fill] = ["mean", "black", "black"]
    boxes = np.array([[128, 0, 256, 64], [0, 100, 50, 200], [0, 0, 256, 128]], np.float32)
    xyxy = network.preprocessor.in_input(boxes, [view.size_hw for view in views])
    assert xyxy.tolist() == [[SIDE // 2, 0, SIDE, SIDE // 2], [0, SIDE // 2, SIDE // 2, SIDE], [0, 0, SIDE, SIDE]]
    painted = network.preprocessor.masked(views, xyxy, fills)
    for one, view, (x1, y1, x2, y2), fill in zip(painted, views, xyxy, fills, strict=True):
        inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        inside[y1:y2, x1:x2] = True
        assert (one[:, inside] == network.preprocessor.color(fill)[:, 0]).all()
        assert (one[:, ~inside] == view.input[:, ~inside]).all()


def test_a_crop_of_the_whole_image_is_the_whole_image(network: Network) -> None:
    image = sample()
    crop = ask(network, Cropped(np.array([[0, 0, SIDE, SIDE]], np.float32)), image)
    np.testing.assert_allclose(crop.logits, ask(network, Whole(), image).logits, atol=1e-4)


def test_a_crop_is_the_inside_of_its_box(network: Network) -> None:
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[20:60, 30:80] = (10, 200, 90)
    plain = np.full((50, 50, 3), (10, 200, 90), np.uint8)
    crop = ask(network, Cropped(np.array([[30, 20, 80, 60]], np.float32)), Sample("a", pixels))
    whole = ask(network, Whole(), Sample("b", plain))
    np.testing.assert_allclose(crop.logits, whole.logits, rtol=0.1)  # the crop's last row blends with the outside


def test_context_around_a_crop_shows_the_image_and_the_mean_outside(network: Network) -> None:
    image = torch.full((3, 40, 40), 200.0)
    crops = network.preprocessor.crops(image, torch.tensor([[0.0, 10.0, 20.0, 30.0]]), context=8)
    color = network.preprocessor.normalized(torch.full((1, 3, 1, 1), 200.0))[0, :, 0, 0]
    assert (crops[0, :, :, :8] == 0).all()
    torch.testing.assert_close(crops[0, :, SIDE // 2, 12], color)
    torch.testing.assert_close(crops[0, :, 2, SIDE // 2], color)


def test_kept_paints_everything_else(network: Network) -> None:
    image = sample()
    masks = np.ones((2, SIDE, SIDE), bool)
    masks[1] = False
    answer = ask(network, Kept(masks), image)
    np.testing.assert_allclose(answer.logits[0], ask(network, Whole(), image).logits[0], atol=1e-5)
    everything = ask(network, Masked(np.array([[0, 0, SIDE, SIDE]], np.float32)), image)
    np.testing.assert_allclose(answer.logits[1], everything.logits[0], atol=1e-5)


def test_an_answer_does_not_depend_on_what_shares_its_batch(network: Network) -> None:
    rng = np.random.default_rng(3)
    views = [network.prepare(sample((50 + 10 * i, 90), seed=i)) for i in range(3)]
    plain, masked = [NetworkInput(view, Whole(), 0) for view in views], []
    for view in views:
        h, w = view.size_hw
        corners = rng.uniform(0, 0.5, (4, 2)) * [w, h]
        xyxy = np.concatenate([corners, corners + rng.uniform(5, 25, (4, 2))], axis=1).astype(np.float32)
        plain += [NetworkInput(view, Cropped(xyxy), row) for row in range(4)]
        masked += [NetworkInput(view, Masked(xyxy), row) for row in range(4)]
    for inputs in (plain, masked):
        together = network.answer(inputs)
        shuffled = rng.permutation(len(inputs))
        again = network.answer([inputs[i] for i in shuffled])
        for i, row in zip(shuffled, again, strict=True):
            np.testing.assert_allclose(row, together[i], atol=1e-5)
        for i in (0, 4, 11):
            np.testing.assert_allclose(network.answer([inputs[i]])[0], together[i], atol=1e-5)


def test_a_region_is_nearly_its_crop_and_depends_on_nothing_else(network: Network) -> None:
    pixels = np.full((2 * SIDE, 3 * SIDE, 3), 90, np.uint8)
    pixels[:SIDE, :SIDE] = np.random.default_rng(0).integers(0, 256, 3)
    image = Sample("a", pixels)
    xyxy = np.array([[4, 4, SIDE - 4, SIDE - 4], [SIDE + 9, SIDE + 9, 3 * SIDE, 2 * SIDE]], np.float32)
    regions, crops = ask(network, Regions(xyxy), image), ask(network, Cropped(xyxy), image)
    # plain colors: what the network sees around the boxes' borders is all that differs
    np.testing.assert_allclose(regions.scores, crops.scores, atol=0.15)
    assert (np.abs(regions.logits - regions.logits[::-1]) > np.abs(regions.logits - crops.logits)).mean() > 0.5
    for row in (0, 1):
        alone = ask(network, Regions(xyxy[row : row + 1]), image)
        np.testing.assert_allclose(alone.logits[0], regions.logits[row], atol=1e-5)
    assert ask(network, Regions(xyxy[:0]), image).scores.shape == (0, network.backbone.n_outputs)


def test_a_feature_map_is_the_trunks(network: Network) -> None:
    image = sample()
    answer = ask(network, FeatureMap(), image)
    expected = network.trunk(
        network.preprocessor.resized(network.preprocessor.image(image.pixels)[None].float(), (SIDE, SIDE))
    )[0]
    np.testing.assert_allclose(answer, expected.numpy(), atol=1e-6)


def test_class_scores_are_the_maximum_over_a_classs_outputs(network: Network) -> None:
    outputs: Outputs = network.outputs(np.log(np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)))
    np.testing.assert_allclose(outputs.scores, [[0.1, 0.2, 0.3, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(outputs.class_scores[0, :2], [0.1, 0.4], rtol=1e-6)
    assert np.isnan(outputs.class_scores[0, 2])


def test_sigmoid_scores_stand_alone(backbone: Backbone) -> None:
    network = Network(backbone, [(0,)], activation="sigmoid", device="cpu")
    np.testing.assert_allclose(network.outputs(np.zeros((1, 4), np.float32)).scores, 0.5)


def test_half_precision_gives_nearly_the_same_scores(backbone: Backbone) -> None:
    import copy

    half = Network(copy.deepcopy(backbone), [(0,)], device="cpu", precision="bfloat16")
    full = Network(backbone, [(0,)], device="cpu")
    question = Masked(np.array([[0, 0, 20, 20]], np.float32))
    np.testing.assert_allclose(ask(half, question, sample()).scores, ask(full, question, sample()).scores, atol=0.02)


def test_a_trained_file_says_its_classes_and_activation(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    metadata = WeightsMetadata("tiny", 2, SIDE, "sigmoid", ("dog", "cat"))
    save_weights(path, build_backbone("tiny", 2, input_size=SIDE).state_dict(), metadata)
    network = load_network("tiny", CLASSES, weights=path, device="cpu")
    assert network.scores.class_outputs == ((1,), (0,), ())
    assert network.scores.activation == "sigmoid"
    assert network.input_size == SIDE
    with pytest.raises(InputError, match="trained for the classes dog, cat"):
        load_network("tiny", ("ship",), weights=path, device="cpu")


def test_the_fingerprint_follows_the_weights() -> None:
    a, b, c = (Network(build_backbone("tiny", 2, SIDE, seed=seed), [(0,)], device="cpu") for seed in (0, 0, 1))
    assert a.fingerprint == b.fingerprint != c.fingerprint


@pytest.mark.parametrize(("device", "message"), [("tpu9", "device must be"), ("cuda", "no CUDA device")])
def test_devices_that_are_not_there_are_refused(device: str, message: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(InputError, match=message):
        resolve_device(device)


def test_unknown_precisions_are_refused() -> None:
    with pytest.raises(InputError, match="precision must be"):
        resolve_precision("int3", torch.device("cpu"))


def test_squeezenet_knows_photos(shared: Path) -> None:
    from wsdet.data.voc import Voc

    dataset = Voc(shared / "data" / "VOCdevkit")
    weights = shared / "weights" / "squeezenet1_0_deepcompression.safetensors"
    network = load_network("squeezenet1_0", dataset.classes, weights=weights, device="cpu")
    ids = [i for i in dataset.ids("test") if len(dataset.labels(i)) == 1 and dataset.labels(i)[0] != 14][:24]
    right = [
        int(np.nanargmax(ask(network, Whole(), dataset.load(image_id)).class_scores[0])) == dataset.labels(image_id)[0]
        for image_id in ids
    ]
    assert np.mean(right) > 0.5


def test_a_new_question_is_one_class_and_one_handler(backbone: Backbone) -> None:
    @dataclass(frozen=True, eq=False)
    class Brightness:
        batch_key: ClassVar[str] = "brightness"

        def keys(self) -> list[bytes]:
            return [b"Brightness"]

    class Brightnesses:
        n_forward_passes = 0

        def answer(self, inputs: Sequence[NetworkInput]) -> list[Any]:
            return [float(one.view.copy.mean()) for one in inputs]

        def assemble(self, question: Any, rows: Sequence[Any]) -> Any:
            return rows[0]

    class Asker:
        def localize(self, sample: Sample) -> Dialogue[Boxes]:
            (answer,) = yield [Brightness()]
            return Boxes(np.array([[0, 0, 1, 1]]), np.array([answer]))

    network = Network(backbone, [(0,)], device="cpu")
    network.handlers[Brightness] = Brightnesses()
    image = sample()
    ((_, boxes),) = localize_all([("a", image)], Asker(), network)
    assert isinstance(boxes, Boxes)
    assert boxes.scores[0] == pytest.approx(image.pixels.mean(), rel=1e-5)
