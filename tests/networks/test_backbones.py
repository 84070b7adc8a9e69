"""Networks cut into trunk and head, and the files of their weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from wsdet.networks.backbones import Backbone, build_backbone, replace_head
from wsdet.networks.imagenet_classes import class_outputs
from wsdet.networks.weights import WeightsMetadata, load_weights, read_metadata, save_weights
from wsdet.types import InputError

REAL = {
    "squeezenet1_0": "squeezenet1_0_deepcompression.safetensors",
    "mobilenet_v2": "mobilenet_v2_tf_quant.safetensors",
}


@pytest.mark.parametrize(
    ("architecture", "channels", "stride"),
    [
        ("tiny", 128, 8),
        ("squeezenet1_0", 512, 16),
        ("mobilenet_v2", 1280, 32),
        ("alexnet", 256, 32),
        ("resnet50", 2048, 32),
        ("timm:resnet18", 512, 32),
    ],
)
def test_trunk_makes_a_map_and_head_makes_outputs(architecture: str, channels: int, stride: int) -> None:
    if architecture.startswith("timm"):
        pytest.importorskip("timm")
    backbone = build_backbone(architecture, n_outputs=5)
    input = torch.zeros(1, 3, backbone.input_size, backbone.input_size)
    with torch.no_grad():
        feature_map = backbone.trunk(input)
        outputs = backbone(input)
    assert feature_map.shape[1] == channels
    assert feature_map.shape[2] == pytest.approx(backbone.input_size / stride, abs=1.5)
    assert outputs.shape == (1, 5)
    assert torch.equal(outputs, backbone.head(feature_map))


def test_vgg16_keeps_the_names_that_papers_use() -> None:
    with torch.device("meta"):  # 138 million weights
        backbone = build_backbone("vgg16")
        assert backbone(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    convolutions = [name for name, layer in backbone.trunk.named_modules() if isinstance(layer, nn.Conv2d)]
    assert convolutions[10] == "features.24"  # conv5_1


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["squeezenet1_0", "mobilenet_v2", "alexnet", "resnet50"])
def test_network_computes_what_torchvision_computes(architecture: str) -> None:
    backbone = build_backbone(architecture)
    published = models.get_model(architecture, weights=None).eval()
    own = {name.split(".", 1)[1]: value for name, value in backbone.state_dict().items()}
    published.load_state_dict(own, strict=True)
    inputs = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(backbone(inputs), published(inputs))


def test_timm_network_computes_what_timm_computes() -> None:
    timm = pytest.importorskip("timm")
    backbone = build_backbone("timm", model_name="mobilenetv3_small_050", input_size=64)
    published = timm.create_model("mobilenetv3_small_050").eval()
    own = {name.split(".", 2)[2]: value for name, value in backbone.state_dict().items()}
    published.load_state_dict(own, strict=True)
    inputs = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(backbone(inputs), published(inputs))


def test_seed_decides_the_random_weights_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, same, other = (build_backbone("tiny", 3, seed=seed).last_layer.weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_new_head_shares_the_trunk_and_can_be_negative() -> None:
    backbone = build_backbone("squeezenet1_0")
    finetuned = replace_head(backbone, 4)
    inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        finetuned.last_layer.bias.fill_(-1.0)  # type: ignore[union-attr]
        assert (backbone(inputs) >= 0).all()  # SqueezeNet clips its 1000 outputs
        assert (finetuned(inputs) < 0).all()
    assert finetuned.trunk is backbone.trunk
    assert backbone.n_outputs == 1000


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"architecture": "lenet"}, InputError, "must be one of tiny, squeezenet1_0"),
        ({"architecture": "tiny", "weights": "imagenet"}, InputError, "no published weights"),
        ({"architecture": "tiny", "n_outputs": 0}, InputError, "n_outputs must be a whole number of at least 1"),
        ({"architecture": "tiny", "input_size": 8}, InputError, "input_size must be a whole number of at least 32"),
        (
            {"architecture": "tiny", "weights": "nowhere.safetensors"},
            InputError,
            "nowhere.safetensors does not exist",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_impossible_networks(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build_backbone(**arguments)  # type: ignore[arg-type]


@pytest.fixture
def tiny() -> Backbone:
    return build_backbone("tiny", 3, 64, seed=1)


def test_saved_weights_come_back_with_their_description(tiny: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model.safetensors"
    save_weights(path, tiny.state_dict(), WeightsMetadata("tiny", 3, 64, "sigmoid", ("a", "b", "ç"), {"seed": 1}))
    metadata = read_metadata(path)
    assert metadata is not None
    assert (metadata.architecture, metadata.n_outputs, metadata.input_size) == ("tiny", 3, 64)
    assert (metadata.activation, metadata.classes, metadata.settings) == ("sigmoid", ("a", "b", "ç"), {"seed": 1})
    assert _same(build_backbone("tiny", 3, 64, weights=path, seed=2), tiny)
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("form", ["plain", "wrapped", "data_parallel", "lightning", "half", "safetensors", "uncounted"])
def test_weights_of_others_load(form: str, tiny: Backbone, tmp_path: Path) -> None:
    own = tiny.state_dict()
    plain = {name.split(".", 1)[1]: value for name, value in own.items()}
    path = tmp_path / "weights"
    if form == "safetensors":
        save_file(plain, path)
    else:
        contents: dict[str, object] = {
            "plain": plain,
            "wrapped": {"state_dict": plain, "epoch": 3},
            "data_parallel": {f"module.{name}": value for name, value in plain.items()},
            "lightning": {"state_dict": {f"backbone.{name}": value for name, value in own.items()}, "hparams": {}},
            "half": {name: value.half() if value.is_floating_point() else value for name, value in plain.items()},
            "uncounted": {name: value for name, value in plain.items() if "num_batches" not in name},
        }
        torch.save(contents[form], path)
    loaded = build_backbone("tiny", 3, 64, seed=2, weights=path)
    assert _same(loaded, tiny, tolerance=1e-3 if form == "half" else 0)
    assert loaded.last_layer.weight.dtype == torch.float32


def test_other_networks_weights_are_refused_and_change_nothing(tiny: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    save_file(build_backbone("tiny", 7).state_dict(), path)
    with pytest.raises(InputError, match=r"other.safetensors have 'fc.weight' of shape \(7, 128\), tiny .* \(3, 128\)"):
        load_weights(path, "tiny", tiny.state_dict())
    save_file(build_backbone("alexnet", 3).state_dict(), path)
    with pytest.raises(InputError, match=r"'features.0.weight' of shape .* instead of tiny"):
        load_weights(path, "tiny", tiny.state_dict())
    save_file(before | {"extra": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="'extra', which tiny does not"):
        load_weights(path, "tiny", tiny.state_dict())
    save_file({name: value for name, value in before.items() if not name.endswith("fc.bias")}, path)
    with pytest.raises(InputError, match=r"lack 'fc.bias' of tiny"):
        load_weights(path, "tiny", tiny.state_dict())
    save_file(before | {"head.fc.bias": torch.tensor([0.0, float("nan"), 0.0])}, path)
    with pytest.raises(InputError, match="not finite"):
        load_weights(path, "tiny", tiny.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_not_run(zipped: bool, tiny: Backbone, tmp_path: Path) -> None:
    path, target = tmp_path / "bomb.ckpt", tmp_path / "exploded"
    torch.save({"state_dict": Bomb(target)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"bomb.ckpt cannot be read.*never run"):
        load_weights(path, "tiny", tiny.state_dict())
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("keep", [0, 5, 200, -100])
def test_truncated_files(suffix: str, keep: int, tiny: Backbone, tmp_path: Path) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(tiny.state_dict(), path)
    else:
        save_file(tiny.state_dict(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"cannot be read as weights|no readable file of tensors"):
        load_weights(path, "tiny", tiny.state_dict())


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" * 20, b"GIF89a", b"\xff" * 8 + b"{" + b"x" * 50])
def test_files_that_are_no_weights(content: bytes, tiny: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read as weights|no readable file of tensors"):
        load_weights(path, "tiny", tiny.state_dict())


def test_checkpoint_without_tensors(tiny: Backbone, tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.ckpt")
    with pytest.raises(InputError, match="holds no state dict"):
        load_weights(tmp_path / "empty.ckpt", "tiny", tiny.state_dict())


def test_damaged_description(tiny: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(tiny.state_dict(), path, metadata={"wsdet": '{"architecture": "tiny"}'})
    with pytest.raises(InputError, match="damaged description"):
        read_metadata(path)
    save_file(tiny.state_dict(), path)
    assert read_metadata(path) is None


@pytest.mark.parametrize("architecture", list(REAL))
@pytest.mark.parametrize("name", ["dog", "bird"])
def test_real_weights_recognize_photos(architecture: str, name: str, shared: Path) -> None:
    backbone = build_backbone(architecture, weights=shared / "weights" / REAL[architecture])
    photos = _voc_images(shared, name)[:6]
    with torch.no_grad():
        outputs = torch.cat([backbone(_input_of(path, backbone)) for path in photos])
    of_class = outputs[:, list(class_outputs([name])[0])].amax(dim=1)
    assert (of_class >= outputs.topk(5, dim=1).values[:, -1]).all()


def _same(a: Backbone, b: Backbone, tolerance: float = 0) -> bool:
    other = b.state_dict()
    return all(torch.allclose(v.float(), other[k].float(), tolerance, tolerance) for k, v in a.state_dict().items())


def _voc_images(shared: Path, name: str) -> list[Path]:
    root = shared / "data/VOCdevkit/VOC2007"
    lines = (root / f"ImageSets/Main/{name}_test.txt").read_text().splitlines()
    return [root / f"JPEGImages/{line.split()[0]}.jpg" for line in lines if line.split()[1] == "1"]


def _input_of(path: Path, backbone: Backbone) -> torch.Tensor:
    with Image.open(path) as image:
        square = image.convert("RGB").resize((backbone.input_size, backbone.input_size))
    pixels = (np.asarray(square, np.float32) / 255 - backbone.mean) / backbone.std
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
