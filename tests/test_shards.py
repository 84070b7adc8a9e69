"""`shard=i/n`: several processes fill the stores of one run, whose parts are those of a single process."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests import programs
from wsdet.detectors.neural.detector import NeuralDetector, build_detector
from wsdet.detectors.neural.options import ModelOptions
from wsdet.networks.backbones import build_backbone
from wsdet.stages.detect import detect
from wsdet.storage.box_store import BoxStore
from wsdet.storage.shard import Shard
from wsdet.types import Boxes, InputError, Sample, Split

N_IMAGES = 140  # three parts
BAD = ("a/005.png", "b/001.png")  # of the first part and the second


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of noise in a folder for each class; two cannot be read."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name in "ab":
        (folder / name).mkdir()
        for number in range(N_IMAGES // 2):
            pixels = rng.integers(0, 255, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")
    for name in BAD:
        (folder / name).write_bytes(b"no image")
    return folder


def start(program: str, root: Path, out: Path, *more: str) -> programs.Started:
    settings = ("data=folder", f"data.root={root}", f"out={out}", "workers=0", "device=cpu")
    fewer = ("limit=80", "verdict=4") if program == "localize" else ()  # two parts
    return programs.start(program, *settings, *fewer, *more)


def said(process: programs.Started) -> str:
    done = process.done()
    return done.stdout + done.stderr


def finish(*processes: programs.Started) -> list[str]:
    texts = [said(process) for process in processes]
    assert [process.poll() for process in processes] == [0] * len(processes), texts
    return texts


def content(store: Path) -> dict[str, object]:
    found: dict[str, object] = {
        str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()
    }
    if "failed.json" in found:  # in whatever order the shards came
        found["failed.json"] = json.loads((store / "failed.json").read_text())
    return found


@pytest.mark.slow
def test_a_killed_shard_and_one_beside_it_leave_the_bytes_of_one_run(root: Path, tmp_path: Path) -> None:
    whole, shards = (tmp_path / name for name in ("whole", "shards"))
    finish(start("propose", root, whole))
    first, second = (start("propose", root, shards, f"shard={number}/2") for number in range(2))
    pending = shards / "proposals" / "fast" / "pending"
    deadline = time.monotonic() + 120
    while not any(pending.glob("00006[4-9].parquet")):
        assert second.poll() is None, said(second)
        assert time.monotonic() < deadline
        time.sleep(0.005)
    second.kill()
    second.done()
    for more in ((), ("shard=0/2",)):  # a run without shards, and the same shard twice
        refused = start("propose", root, shards, *more)
        assert "is in use by process" in said(refused) or first.poll() is not None
    finish(first, start("propose", root, shards, "shard=1/2"))
    expected = content(whole / "proposals" / "fast")
    assert len(expected) == 5  # settings, failed images, three parts
    assert set(json.loads((shards / "proposals" / "fast" / "failed.json").read_text())) == {*BAD}
    assert content(shards / "proposals" / "fast") == expected
    assert "shard: null" in (shards / "config.yaml").read_text()


@pytest.mark.slow
def test_what_localizing_needs_is_trained_once(root: Path, tmp_path: Path) -> None:
    settings = ("localizer=wsddn", "network.input_size=32", "network.training.epochs=1", "region_classifier.epochs=1")
    whole, shards = (tmp_path / name for name in ("whole", "shards"))
    refused = start("localize", root, shards, *settings, "shard=0/2")
    assert "run `python -m wsdet.localize` once with the same settings and prepare=true" in said(refused)
    finish(start("localize", root, shards, *settings, "prepare=true"))
    assert not (shards / "localization").exists()
    finish(*(start("localize", root, shards, *settings, f"shard={number}/2") for number in range(2)))
    assert not (shards / "report").exists()
    finish(start("localize", root, shards, *settings), start("localize", root, whole, *settings))
    for name in ("localization/wsddn", "proposals/for_wsddn"):
        assert content(shards / name) == content(whole / name), name
    assert (shards / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()


@pytest.mark.slow
def test_the_shard_that_comes_first_trains_the_classifier(root: Path, tmp_path: Path) -> None:
    settings = ("localizer=cam", "network.head=finetune", "network.input_size=32", "network.training.epochs=1")
    whole, shards = (tmp_path / name for name in ("whole", "shards"))
    texts = finish(*(start("localize", root, shards, *settings, f"shard={number}/2") for number in range(2)))
    assert sum("classifier: trained already" in one for one in texts) == 1
    finish(start("localize", root, whole, *settings))
    assert content(shards / "localization" / "cam") == content(whole / "localization" / "cam")


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["2/2", "1", "half"])
def test_what_is_no_shard_is_refused(root: Path, tmp_path: Path, shard: str) -> None:
    assert "shard must be i/n with i from 0 to n - 1" in said(start("propose", root, tmp_path, f"shard={shard}"))


class _Noise:
    """Images of noise."""

    classes = ("square", "bar", "disc")
    truth: Mapping[str, Boxes] = {}

    def ids(self, split: Split) -> tuple[str, ...]:
        return tuple(f"{number:03d}" for number in range(N_IMAGES))

    def labels(self, image_id: str) -> tuple[int, ...]:
        return ()

    def load(self, image_id: str) -> Sample:
        if image_id in ("005", "100"):
            raise InputError(f"{image_id} is damaged")
        return Sample(image_id, np.random.default_rng(int(image_id)).integers(0, 255, (24, 24, 3), np.uint8), ())


@pytest.mark.slow
def test_shards_of_detections_leave_the_bytes_of_one(tmp_path: Path) -> None:
    dataset, options = _Noise(), ModelOptions("ssdlite", channels=64, short_side=32, square=True)
    torch.manual_seed(0)
    model = build_detector(options, build_backbone("tiny", input_size=32), 3)
    detector = NeuralDetector(model, dataset.classes, options, {}, "cpu", "float32")

    def run(folder: Path, shard: Shard | None) -> None:
        store = BoxStore(folder, {})
        detect(dataset, dataset.ids("test"), {"one": detector}, None, {"one": store}, shard=shard)

    run(tmp_path / "whole", None)
    for number in (1, 0):  # in any order
        run(tmp_path / "shards", Shard(number, 2, tmp_path / "beside"))
    expected = content(tmp_path / "whole")
    assert len(expected) == 5  # settings, failed images, three parts
    assert content(tmp_path / "shards") == expected


@pytest.mark.slow
def test_a_sweep_is_submitted(root: Path, tmp_path: Path) -> None:
    """hydra-submitit-launcher, by its launcher that starts processes here."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs hydra-submitit-launcher")
    sweep = ("-m", "hydra/launcher=submitit_local", "seed=0,1", f"out={tmp_path}")
    done = programs.run("propose", *sweep, "data=folder", f"data.root={root}", "limit=4", "workers=0")
    assert done.returncode == 0, done.stderr
    found = {path.parents[2].name: len(BoxStore(path.parent)) for path in tmp_path.rglob("fast/settings.json")}
    assert len(found) == 2
    assert all("seed=" in name for name in found)
    assert all(n >= 3 for n in found.values())
