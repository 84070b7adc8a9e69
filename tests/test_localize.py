"""The localize stage: masks and evidence beside the boxes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsdet.cli.entry_point import compose
from wsdet.cli.factories import recipe
from wsdet.localize import run as run_localize
from wsdet.localizers.constant_boxes import CenterBox
from wsdet.localizers.dam import Dam
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.stages.localize import localize, visualize
from wsdet.stages.pseudo_label import Exports, pseudo_label
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Execution, Run
from wsdet.storage.box_store import BoxStore
from wsdet.storage.provenance import read_settings
from wsdet.types import Boxes, Dataset, InputError, Sample

SIDE = 32


@pytest.fixture(scope="module")
def network() -> Network:
    """A tiny network of random weights."""
    backbone = build_backbone("tiny", n_outputs=3, input_size=SIDE, seed=1)
    return Network(backbone, [(0,), (1,), (2,)], device="cpu", precision="float32")


def test_masks_lie_beside_the_boxes_and_fit_them(tmp_path: Path, tiny_dataset: Dataset, network: Network) -> None:
    ids, store, masks = tiny_dataset.ids("train"), BoxStore(tmp_path / "dam", {}), tmp_path / "masks" / "dam"
    localize(tiny_dataset, ids[:3], Dam(), network, store, masks=masks)
    localize(tiny_dataset, ids, Dam(), network, store, masks=masks)  # goes on, and lists all of them
    listed = json.loads((tmp_path / "masks" / "dam.json").read_text())
    assert [image["file_name"] for image in listed["images"]] == list(ids)
    for image_id in ids:
        for box in store[image_id]:
            name = tiny_dataset.classes[int(box.labels[0])] if box.labels[0] >= 0 else "any"
            ys, xs = np.nonzero(np.asarray(Image.open(masks / name / f"{image_id}.png")))
            corners = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            np.testing.assert_allclose(box.xyxy[0], corners, atol=2.5)  # the box comes from the network's input


@pytest.mark.slow
def test_evidence_is_drawn_once_an_image(tmp_path: Path, tiny_dataset: Dataset, network: Network) -> None:
    ids = tiny_dataset.ids("train")
    visualize(tiny_dataset, ids[:2], Dam(), network, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    visualize(tiny_dataset, ids[:3], Dam(), network, tmp_path)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert sorted(path.stem for path in after) == list(ids[:3])
    assert before.items() <= after.items()


def test_a_bad_image_has_no_picture_and_a_bad_annotation_no_true_box(
    tmp_path: Path, tiny_dataset: Dataset, network: Network
) -> None:
    class BadTruth(dict):  # type: ignore[type-arg]
        def get(self, image_id: str, default: object = None) -> object:
            raise InputError("malformed")

    class Broken:
        classes = tiny_dataset.classes
        truth = BadTruth()

        def load(self, image_id: str) -> Sample:
            if image_id == "train_1":
                raise InputError("truncated")
            return tiny_dataset.load(image_id)

    visualize(Broken(), ["train_0", "train_1"], Dam(), network, tmp_path)  # type: ignore[arg-type]
    assert [path.stem for path in tmp_path.rglob("*.png")] == ["train_0"]


def test_a_center_box_learns_the_average_size_where_its_config_leaves_it_open(tmp_path: Path, network: Network) -> None:
    class Two:
        classes = ("cat",)
        truth = {  # noqa: RUF012 - never changed
            "a": Boxes(np.array([[0, 0, 10, 5], [5, 5, 10, 10]])),
            "b": Boxes(np.array([[0, 0, 10, 40]])),
            "bad": Boxes(np.array([[0, 0, 1, 1]])),
        }

        def load(self, image_id: str) -> Sample:
            if image_id == "bad":
                raise InputError("truncated")
            return Sample(image_id, np.zeros((10, 20, 3) if image_id == "a" else (40, 40, 3), np.uint8))

    def learned(settings: dict[str, Any], ids: list[str]) -> dict[str, Any]:
        run = Run(Two(), {}, {"train": ids}, tmp_path, network, Execution())  # type: ignore[arg-type]
        run.localize(Recipe("box", settings, "localizer", lambda *_: CenterBox()), [])
        return dict(read_settings(tmp_path / "localization" / "box")["localizer"])

    def shares(width: float | None, ids: list[str]) -> list[float]:
        shutil.rmtree(tmp_path / "localization", ignore_errors=True)
        return list(learned({"width": width, "height": width}, ids).values())

    assert shares(None, ["a", "b", "bad", "no truth"]) == [round(1 / 3, 3), round(2 / 3, 3)]
    assert shares(None, ["no truth"]) == [0.7, 0.7]
    assert shares(0.5, ["a", "b"]) == [0.5, 0.5]
    shutil.rmtree(tmp_path / "localization")
    assert learned({"k": 3}, ["a"]) == {"k": 3}


def test_proposals_of_a_member_are_made_first(tmp_path: Path, tiny_dataset: Dataset, network: Network) -> None:
    chosen = ["localizer=fuse", "localizer.members.vote.n_proposals=7", "workers=0", f"out={tmp_path}"]
    ids = tiny_dataset.ids("train")[:2]
    run = Run(tiny_dataset, {}, {"train": ids}, tmp_path, network, Execution(workers=0))
    _, localizer = run.localize(recipe(compose("localize", chosen), "localizer"), ids)
    made = BoxStore(tmp_path / "proposals" / "for_fuse_vote")
    assert sorted(made) == sorted(ids)
    vote = localizer.members["vote"]  # type: ignore[attr-defined]
    assert vote.n_proposals == 7
    sample = tiny_dataset.load(ids[0])
    np.testing.assert_array_equal(vote.source.propose(sample).xyxy, made[ids[0]].xyxy)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["export=[pascal]"], "format must be one of coco, voc"),
        (["export=[coco]", "images=move"], "images must be one of none, link, copy, got 'move'"),
        (["localizer=stl_cl", "localizer.drop=sideways"], r"localizer\.drop must be class or top, got 'sideways'"),
    ],
)
def test_what_is_not_possible_is_said_before_any_work(tmp_path: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(InputError, match=f"(?s){says}"):
        run_localize(compose("localize", [*overrides, f"out={tmp_path}"]))
    assert not list(tmp_path.iterdir())


def test_an_export_is_what_training_takes(tmp_path: Path, tiny_dataset: Dataset, network: Network) -> None:
    scores = [0.9, 0.8, 0.1]  # the second has more than 0.8 of the best, the third less

    class ThreeBoxes:
        def localize(self, sample: Sample) -> Any:
            yield from ()
            corners = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [0, 30, 10, 40]], np.float32)
            return Boxes(corners, np.array(scores), np.full(3, sample.labels[0]))

    run = Run(tiny_dataset, {}, {"train": ["train_0", "train_1"]}, tmp_path, network, Execution())
    three = Recipe("three", {"_target_": "three"}, "localizer", lambda *_: ThreeBoxes())
    store = pseudo_label(run, three, Exports(("coco",), images="none"))
    assert [len(boxes) for boxes in store.values()] == [3, 3]
    exported = [json.loads(path.read_text()) for path in (tmp_path / "export" / "coco").rglob("*.json")]
    found = [round(one["score"], 3) for content in exported for one in content.get("annotations", ())]
    assert found == [0.9, 0.8, 0.9, 0.8]


def test_background_gets_no_box_and_no_work(tmp_path: Path, tiny_dataset: Dataset, network: Network) -> None:
    class WithBackground:
        """The images without a label show none of the classes."""

        def __getattr__(self, name: str) -> Any:
            return getattr(tiny_dataset, name)

        def is_background(self, image_id: str) -> bool:
            return not tiny_dataset.labels(image_id)

    class OneBox:
        """Finds one in every image, whatever its labels."""

        def localize(self, sample: Sample) -> Any:
            yield from ()
            return Boxes(np.array([[0, 0, 9, 9]], np.float32))

    store, ids = BoxStore(tmp_path / "store", {}), [f"train_{n}" for n in (0, 5, 1)]
    localize(WithBackground(), ids, OneBox(), network, store)
    assert [len(store[image_id]) for image_id in ids] == [1, 0, 1]
