"""What several workers bring, what Ray costs, what memory does, and what that means for a million images.

    OMP_NUM_THREADS=1 python scripts/bench_runners.py speed --images 300 --repeats 3
    OMP_NUM_THREADS=1 python scripts/bench_runners.py overhead --images 1000
    OMP_NUM_THREADS=1 python scripts/bench_runners.py memory --images 10000 --runner ray
    python scripts/bench_runners.py simulate --seconds-per-image 0.35 --driver-ms 3.0

`speed` and `overhead` run the ways one after the other, again and again, so that other work on the machine hits all of
them; ratios are of medians. On a machine without free cores the clock does not tell what two workers bring, and the
processor time of this process and its workers does: what they take in all, divided by their number, is what free cores
would need. Ray's nodes are simulated on this machine (`ray.cluster_utils`), and their time is not ours to see.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from wsdet.data.synthetic import Synthetic
from wsdet.localizers.cam import Cam
from wsdet.localizers.constant_boxes import CenterBox
from wsdet.localizers.stl import Stl
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.report.text_tables import table
from wsdet.runners.job import Runner
from wsdet.runners.local import Local
from wsdet.runners.ray import Ray
from wsdet.stages.localize import localize
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Sample, Split

LOCALIZERS: dict[str, Callable[[], Any]] = {"cam": Cam, "stl": partial(Stl, size=64), "center_box": CenterBox}


@dataclass
class Noise:
    """Images of noise, made when they are asked for."""

    n: int
    side: int = 16
    classes: tuple[str, ...] = ("thing",)

    def __post_init__(self) -> None:
        self.truth: dict[str, Boxes] = {}

    def ids(self, split: Split) -> tuple[str, ...]:
        """Numbers."""
        return tuple(f"{i:07d}" for i in range(self.n))

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The one class."""
        return (0,)

    def load(self, image_id: str) -> Sample:
        """The image."""
        rng = np.random.default_rng(int(image_id))
        return Sample(image_id, rng.integers(0, 255, (self.side, self.side, 3), np.uint8), (0,))


def network(side: int, n_classes: int) -> Network:
    """The built-in one with random weights."""
    return Network(build_backbone("tiny", n_classes, side), [(i,) for i in range(n_classes)], device="cpu")


@contextmanager
def two_nodes() -> Iterator[None]:
    """A Ray cluster of two nodes of one processor."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    warnings.simplefilter("ignore")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000})
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def seconds_of(dataset: Any, localizer: Any, net: Network, runner: Runner) -> tuple[float, float]:
    """Of localizing all images, workers' start included: by the clock, and of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        start, used = time.perf_counter(), sum(os.times()[:4])
        localize(dataset, dataset.ids("train"), localizer, net, BoxStore(Path(folder) / "store", {}), runner=runner)
        return time.perf_counter() - start, sum(os.times()[:4]) - used


def compare(options: argparse.Namespace, ways: dict[str, Callable[[], Runner]], localizer: str) -> None:
    """Times each way `repeats` times, in turn, and prints medians and what each is of the first."""
    dataset = Synthetic(n_train=options.images, n_test=0, size=64)
    method, net = LOCALIZERS[localizer](), network(64, len(dataset.classes))
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with two_nodes():
        for _ in range(options.repeats):
            for name, runner in ways.items():
                taken[name].append(seconds_of(dataset, method, net, runner()))
    clocks, processors = ({name: median(one[i] for one in of) for name, of in taken.items()} for i in (0, 1))
    first = next(iter(clocks.values()))
    rows = [
        [name, f"{clock:.1f}", f"{options.images / clock:.1f}", f"{first / clock:.2f}", f"{processors[name]:.1f}"]
        for name, clock in clocks.items()
    ]
    print(f"{options.images} images of 64 pixels, network tiny, localizer {localizer}, {options.repeats} repeats")
    print(table(["runner", "s", "images/s", "times as fast", "processor s"], rows))


def speed(options: argparse.Namespace) -> None:
    """One and two workers of one thread."""
    ways: dict[str, Callable[[], Runner]] = {
        "local, 1": lambda: Local(1),
        "local, 2": lambda: Local(2),
        "ray, 2 nodes": lambda: Ray(workers=2),
    }
    compare(options, ways, options.localizer)


def overhead(options: argparse.Namespace) -> None:
    """One worker, here and on the cluster, where images cost little."""
    compare(options, {"local, 1": lambda: Local(1), "ray, 1": lambda: Ray(workers=1)}, "cam")


def memory(options: argparse.Namespace) -> None:
    """Resident memory of this process, of two workers and of Ray's own processes, as images go by."""
    dataset, net = Noise(options.images), network(32, 1)
    on_ray = options.runner == "ray"
    seen: list[tuple[int, float, float, float]] = []

    def look(number: int) -> None:
        workers = _named("ray::_Worker") if on_ray else _children(os.getpid())
        others = sum(map(_resident, [*_named("raylet/raylet"), *_named("gcs/gcs_server")])) if on_ray else 0.0
        seen.append((number, _resident(os.getpid()), max(map(_resident, workers)), others))

    class Watched(Ray if on_ray else Local):  # type: ignore[misc]
        def run(self, job: Any, ids: Any) -> Iterator[Any]:
            for number, outcome in enumerate(super().run(job, ids)):
                if number % max(1, options.images // 10) == options.images // 20:
                    look(number)
                yield outcome

    with two_nodes() if on_ray else nullcontext():
        seconds, _ = seconds_of(dataset, CenterBox(), net, Watched(workers=2))
    rows = [[f"{n:,}", *(f"{megabytes:.0f}" for megabytes in of)] for n, *of in seen]
    print(f"{options.images} images of 16 pixels, two workers of runner={options.runner}, {seconds:.0f} s")
    print(table(["images", "this process, MB", "largest worker, MB", "Ray's own, MB"], rows))
    grown = (f"{last - first:+.0f} MB" for first, last in zip(seen[0][1:], seen[-1][1:], strict=True))
    print(f"growth from the first line to the last: {', '.join(grown)}")


def _named(part: str) -> list[int]:
    """Processes of this machine whose command has that part; simulated nodes are processes of it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if part in path.read_text(encoding="utf-8", errors="replace"):
                found.append(int(path.parent.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def _resident(pid: int) -> float:
    """Megabytes; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS")), 0.0)


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text(encoding="utf-8").split()]


def simulate(options: argparse.Namespace) -> None:
    """A million images on 1, 10 and 100 nodes, from what an image costs a worker and the driver."""
    rows = []
    for nodes in (1, 10, 100):
        workers = nodes * options.workers_per_node
        of_workers = options.images * options.seconds_per_image / workers
        of_driver = options.images * options.driver_ms / 1e3
        for writers, how in ((1, "one driver"), (nodes, "a shard for each node")):
            hours = max(of_workers, of_driver / writers) / 3600
            limit = "workers" if of_workers >= of_driver / writers else "driver"
            rows.append([str(nodes), how, f"{hours:.2f}", limit, f"{options.images / (3600 * hours):,.0f}"])
    cost = f"{options.seconds_per_image} s of a worker and {options.driver_ms} ms of the driver"
    print(f"{options.images:,} images of {cost}, {options.workers_per_node} workers a node")
    print(f"{options.images // 64:,} files in the store's folder")
    print(table(["nodes", "how", "hours", "limit", "images/s"], rows))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for run, images in ((speed, 300), (overhead, 1000), (memory, 10_000), (simulate, 1_000_000)):
        command = commands.add_parser(run.__name__, help=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument("--images", type=int, default=images)
        command.add_argument("--repeats", type=int, default=3)
        command.add_argument("--localizer", choices=sorted(LOCALIZERS), default="stl")
        command.add_argument("--runner", choices=["local", "ray"], default="ray", help="of memory")
        command.add_argument("--seconds-per-image", type=float, default=0.35)
        command.add_argument("--driver-ms", type=float, default=3.0)
        command.add_argument("--workers-per-node", type=int, default=16)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
