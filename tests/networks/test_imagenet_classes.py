"""The mapping of data set classes to ImageNet outputs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from torchvision.models import SqueezeNet1_0_Weights

from wsdet.networks import imagenet_classes as imagenet
from wsdet.networks.imagenet_classes import class_outputs
from wsdet.storage.untrusted import read_json
from wsdet.types import InputError

VOC = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]
NAMES = SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"]


def test_outputs_are_in_the_order_of_torchvision() -> None:
    outputs = read_json(Path(imagenet.__file__).with_name("imagenet_outputs.json"))["outputs"]
    wnids = [wnid for wnid, _ in outputs]
    assert wnids == sorted(set(wnids))
    assert [name for _, name in outputs] == NAMES


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("person", ()),
        ("bird", (*range(7, 25), *range(80, 101), *range(127, 147))),
        ("dog", tuple(range(151, 269))),
        ("cat", tuple(range(281, 286))),
        ("horse", (339,)),  # a zebra is no hyponym of horse
        ("cow", (345,)),
        ("sheep", (348,)),
        ("motorbike", (665, 670)),
        ("tvmonitor", (664, 782, 851)),
        ("dining table", (532,)),  # COCO's spelling
        ("Potted_Plant", (738,)),
        ("airplane", (404, 895)),
        ("kite", ()),  # COCO's is the toy, not output 21, the bird
        ("king penguin", (145,)),
        ("crane (n02012849)", (134,)),  # the bird
        ("crane (n03126707)", (517,)),  # the machine
        ("n02084071", tuple(range(151, 269))),  # an inner synset: dog
        ("cardigan", (474,)),
        ("Cardigan", (264,)),
    ],
)
def test_outputs_of_a_class(name: str, expected: tuple[int, ...]) -> None:
    assert class_outputs([name, "teapot"]) == (expected, (849,))


def test_voc_outputs_are_disjoint_and_only_person_has_none(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        outputs = class_outputs(VOC)
    assert [name for name, found in zip(VOC, outputs, strict=True) if not found] == ["person"]
    assert "person" in caplog.text
    flat = [index for found in outputs for index in found]
    assert len(flat) == len(set(flat))


def test_wordnet_ids_come_before_names() -> None:
    assert class_outputs(["crane", "tabby"], ["n02012849", "n02123045"]) == ((134,), (281,))


def test_no_counterpart_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="head=finetune"):
        class_outputs(["person", "unicorn"])


def test_wnids_must_match_classes() -> None:
    with pytest.raises(ValueError, match="as many as classes"):
        class_outputs(["dog"], [])


@pytest.mark.shared
def test_tiny_imagenet_ids_agree_with_their_words(shared: Path) -> None:
    lines = (shared / "data/tiny-imagenet-20/words.txt").read_text().splitlines()
    wnids, words = zip(*(line.split("\t") for line in lines), strict=True)
    outputs = class_outputs([""] * len(wnids), wnids)
    assert all(NAMES[found[0]] in word.split(", ") for found, word in zip(outputs, words, strict=True))
