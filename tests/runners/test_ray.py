"""A Ray cluster does what one process does, whatever dies on the way."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from wsdet.doctor import cluster_table
from wsdet.runners.local import Local
from wsdet.runners.ray import Ray
from wsdet.stages.propose import propose
from wsdet.storage.box_store import BoxStore
from wsdet.types import InputError

ROOT = Path(__file__).resolve().parents[2]
LATE = 120  # seconds after which a test has hung


@pytest.fixture(scope="module")
def sources() -> Iterator[ModuleType]:
    """The module of images and sources that go wrong, on the path that workers inherit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tests" / "proposals"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests" / "proposals"), str(ROOT)]))
        yield importlib.import_module("deadly_sources")


@pytest.fixture(scope="module")
def cluster(sources: ModuleType) -> Iterator[Any]:
    """Two nodes of one processor each, on this machine."""
    ray = pytest.importorskip("ray", reason="needs the package ray: pip install wsdet[ray]")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONWARNINGS", "ignore")
        one = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False},
        )
        one.add_node(num_cpus=1, object_store_memory=80_000_000)
        ray.init(address=one.address, log_to_driver=False, logging_level="ERROR")
        yield one
        ray.shutdown()
        one.shutdown()


pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the warnings are Ray's own


def test_two_nodes_leave_the_bytes_of_one_process(tmp_path: Path, cluster: Any, sources: ModuleType) -> None:
    dataset = sources.Images(40, unreadable=(3,))
    source = sources.Brightness(refuses=(7,))
    for name, runner in (("one", Local()), ("cluster", Ray())):
        report = propose(dataset, dataset.ids("train"), source, BoxStore(tmp_path / name, {}), runner)
        assert report.failed == {"image3": "image3 cannot be read", "image7": "image7 is refused"}
    one, other = tmp_path / "one", tmp_path / "cluster"
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in (one, other)]
    assert files[0] == files[1]
    for path in files[0]:
        if (one / path).is_file():
            assert (one / path).read_bytes() == (other / path).read_bytes()


def test_the_doctor_shows_the_nodes(cluster: Any) -> None:
    nodes = Ray().nodes()
    assert [(one["cpus"], one["gpus"]) for one in nodes] == [(1, 0), (1, 0)]
    assert all(one["memory"] > 1e6 for one in nodes)
    assert re.search(r"\| 2 nodes +\| 2 +\| 0 +\|", cluster_table(nodes))


def test_an_image_that_kills_workers_costs_itself(tmp_path: Path, cluster: Any, sources: ModuleType) -> None:
    dataset, store = sources.Images(6), BoxStore(tmp_path, {})
    report = propose(dataset, dataset.ids("train"), sources.Brightness(dies_at=(2,)), store, Ray())
    assert list(report.failed) == ["image2"]
    assert "worker process died over 'image2'" in report.failed["image2"]
    assert list(store) == [f"image{i}" for i in (0, 1, 3, 4, 5)]


def test_workers_that_cannot_start_end_the_run(tmp_path: Path, cluster: Any, sources: ModuleType) -> None:
    dataset = sources.Images(4)
    with pytest.raises(InputError, match="no worker can start on the cluster"):
        propose(dataset, dataset.ids("train"), sources.CannotArrive(), BoxStore(tmp_path, {}), Ray())


def test_more_than_the_cluster_has_is_refused(tmp_path: Path, cluster: Any, sources: ModuleType) -> None:
    dataset = sources.Images(2)
    with pytest.raises(InputError, match="no worker of 64 processors"):
        propose(dataset, dataset.ids("train"), sources.Brightness(), BoxStore(tmp_path, {}), Ray(cpus_per_worker=64))


def test_a_killed_driver_goes_on_where_it_was(tmp_path: Path, cluster: Any, sources: ModuleType) -> None:
    """On the cluster, and then, after it was killed, on one that it starts for itself."""
    program = (
        "import sys; import deadly_sources as d\n"
        "from wsdet.runners.ray import Ray\nfrom wsdet.storage.box_store import BoxStore\n"
        "data, store = d.Images(40), BoxStore(sys.argv[1], {})\n"
        "job = d.SlowJob(data, seconds=0.05)\n"
        "run = lambda missing: Ray(address=sys.argv[2], workers=2).run(job, missing)\n"
        "store.fill(data.ids('train'), run, 'test')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "killed")]
    with subprocess.Popen(
        [*command, cluster.address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as run:
        end = time.monotonic() + LATE
        while len(list((tmp_path / "killed" / "pending").glob("*.parquet"))) < 8:
            assert time.monotonic() < end, "the run did not begin"
            time.sleep(0.05)
        os.kill(run.pid, signal.SIGKILL)
    before = len(BoxStore(tmp_path / "killed"))
    assert 0 < before < 40
    subprocess.run([*command, "local"], check=True, timeout=LATE, cwd=ROOT, capture_output=True)
    dataset = sources.Images(40)
    job = sources.SlowJob(dataset, seconds=0)
    BoxStore(tmp_path / "whole", {}).fill(dataset.ids("train"), lambda missing: Local().run(job, missing), "test")
    for part in (tmp_path / "whole" / "parts").iterdir():
        assert part.read_bytes() == (tmp_path / "killed" / "parts" / part.name).read_bytes()
    assert np.allclose([b.scores[0] for b in BoxStore(tmp_path / "killed").values()], range(40))


def test_a_lost_node_costs_nothing(cluster: Any, sources: ModuleType) -> None:
    """The last test: one of the cluster's two nodes is gone after it."""
    dataset = sources.Images(40)
    node = cluster.list_all_nodes()[-1]
    runner, removed = Ray(), False
    job = sources.SlowJob(dataset, seconds=0.1)
    found: dict[str, Any] = {}
    start = time.monotonic()
    for image_id, outcome in runner.run(job, dataset.ids("train")):
        found[image_id] = outcome
        if len(found) == 12 and not removed:
            cluster.remove_node(node, allow_graceful=False)
            removed = True
        assert time.monotonic() - start < LATE
    assert removed
    assert list(found) == list(dataset.ids("train"))
    assert [int(boxes.scores[0]) for boxes in found.values()] == list(range(40))
