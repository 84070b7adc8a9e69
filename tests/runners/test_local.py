"""Images are localized and searched by detectors in several processes as in one: the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsdet.data.synthetic import Synthetic
from wsdet.localizers.cam import Cam
from wsdet.localizers.stl import Stl
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.questions import Localizer, NetworkInput, Whole
from wsdet.runners.local import Local
from wsdet.stages.localize import localize
from wsdet.storage.box_store import BoxStore
from wsdet.types import InputError, Sample


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(build_backbone("tiny", 8, 64), [(label,) for label in range(8)], device="cpu")


@pytest.mark.slow
def test_two_workers_leave_the_bytes_of_one(tmp_path: Path, network: Network) -> None:
    check_two_workers(tmp_path, network, Cam())


@pytest.mark.slow
def test_two_workers_leave_the_bytes_of_one_of_many_questions(
    tmp_path: Path, network: Network, forked_workers: None
) -> None:
    check_two_workers(tmp_path, network, Stl(size=64))


def check_two_workers(tmp_path: Path, network: Network, localizer: Localizer) -> None:
    dataset, runners = Synthetic(n_train=4, n_test=0, size=64), [Local(1), Local(2)]
    for place, runner in enumerate(runners):
        store = BoxStore(tmp_path / str(place), {})
        localize(dataset, dataset.ids("train"), localizer, network, store, runner=runner)
    parts = [(tmp_path / place / "parts" / "000000.parquet").read_bytes() for place in ("0", "1")]
    assert parts[0] == parts[1]
    assert runners[0].n_forward_passes == runners[1].n_forward_passes > 0


def test_the_number_of_workers_is_checked() -> None:
    with pytest.raises(InputError, match="workers must be"):
        Local(-1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_that_travels_is_the_same_network(precision: str) -> None:
    network = Network(
        build_backbone("tiny", 8, 64), [(label,) for label in range(8)], device="cpu", precision=precision
    )
    arrived = network.parts.network()
    assert arrived.settings == network.settings
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    answers = []
    for one in (network, arrived):
        (row,) = one.answer([NetworkInput(one.prepare(Sample("a", pixels)), Whole(), 0)])
        answers.append(one.assemble(Whole(), [row]).logits)
    np.testing.assert_array_equal(*answers)
