"""What this machine has, and what a run would cost: `python -m wsdet.doctor`, `python -m wsdet.doctor plan ...`.

`plan` takes the overrides of `python -m wsdet.train`, rehearses the run on a few images for half a minute and leaves
nothing behind. `python -m wsdet.doctor runner=ray` also shows the nodes of the cluster.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.build import build
from wsdet.cli.entry_point import compose
from wsdet.cli.factories import experiment_of, open_run
from wsdet.cli.planned import kind_of
from wsdet.report.text_tables import table
from wsdet.runners.job import Runner
from wsdet.runners.ray import Ray
from wsdet.stages.costs import keep
from wsdet.stages.plan import Plan, plan_table, workers_of
from wsdet.stages.rehearsal import plan
from wsdet.storage.amounts import amount
from wsdet.types import InputError
from wsdet.vision import opencv

if TYPE_CHECKING:
    from omegaconf import DictConfig


_PACKAGES = (
    *("wsdet", "torch", "torchvision", "pytorch-lightning", "numpy", "scipy", "scikit-learn", "hotcoco", "pyarrow"),
    *("opencv-contrib-python-headless", "pillow", "hydra-core", "timm", "captum"),
)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m wsdet.doctor", description=__doc__.split("\n\n")[0])
    parser.add_argument("what", nargs="?", metavar="plan", help="plan: what a run of wsdet.train would cost")
    parser.add_argument("overrides", nargs="*", help="as for python -m wsdet.train: data=... network=... runner=ray")
    arguments = parser.parse_args()
    overrides = list(arguments.overrides)
    if arguments.what is not None and "=" in arguments.what:
        overrides.insert(0, arguments.what)
    elif arguments.what not in (None, "plan"):
        parser.error(f"must be plan, or settings as runner=ray, got {arguments.what}")
    try:
        if arguments.what != "plan":
            sys.exit(_report(overrides))
        cfg = compose("train", overrides)
        print(plan_table(plan_of(cfg), shutil.disk_usage(_existing(Path(cfg.out))).free))
    except (InputError, OSError) as error:
        sys.exit(str(error))


def plan_of(cfg: DictConfig) -> Plan:
    """The cost of each stage of the run that `cfg` describes.

    Raises:
        InputError: the configuration is not possible, or none of its images can be read.
    """
    if cfg.task not in ("experiment", "classifier"):
        raise InputError(f"plan knows task=experiment and task=classifier, got task={cfg.task}")
    run = open_run(cfg)
    found = plan(run, experiment_of(cfg) if cfg.task == "experiment" else None)
    program = "train" if cfg.task == "experiment" else "train task=classifier"
    if found.is_complete:  # `python -m wsdet.train` says at its start what was found here
        keep(kind_of(cfg, program), found.images, found.stages, partial(workers_of, run=run))
    return found


# --- the machine


def _report(overrides: list[str]) -> int:
    wrong = report_machine()
    if overrides:
        runner: Runner = build(compose("train", overrides).runner, "runner")
        if isinstance(runner, Ray):
            print(cluster_table(runner.nodes()))
    return wrong


def cluster_table(nodes: Sequence[Mapping[str, Any]]) -> str:
    """What `Ray.nodes` gives, a row for each node and one for all."""
    rows = [[one["address"], f"{one['cpus']:g}", f"{one['gpus']:g}", amount(one["memory"])] for one in nodes]
    cpus, gpus, memory = (sum(one[key] for one in nodes) for key in ("cpus", "gpus", "memory"))
    rows.append([f"{len(nodes)} nodes", f"{cpus:g}", f"{gpus:g}", amount(memory)])
    return table(["cluster", "CPUs", "GPUs", "memory"], rows)


def report_machine() -> int:
    """Prints a table of checks; 1 if something that wsdet needs is not there."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("Python", lambda: f"{platform.python_version()}, {platform.platform()}"),
        *((package, lambda package=package: _version_of(package)) for package in _PACKAGES),
        ("torchvision's operators", check_operators),
        ("OpenCV's functions", check_opencv),
        ("GPU", _gpu),
        ("processor", lambda: f"{os.cpu_count()} cores"),
        ("free disk here", lambda: f"{shutil.disk_usage('.').free / 1e9:.1f} GB"),
    ]
    rows, wrong = [], 0
    for name, check in checks:
        try:
            rows.append([name, check(), ""])
        except Exception as error:  # a broken installation may raise anything; that it does is the finding
            wrong += 1
            rows.append([name, str(error) or type(error).__name__, "MISSING"])
    print(table(["what", "found", ""], rows))
    print("something that wsdet needs is missing" if wrong else "all that wsdet needs is there")
    return int(wrong > 0)


def check_operators() -> str:
    """Runs torchvision's compiled operators on the CPU, and on the GPU where there is one.

    Raises:
        Exception: one does not load: torch and torchvision are of different builds.
    """
    import torch
    from torchvision.ops import nms, roi_align

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        box = torch.tensor([[0.0, 0.0, 4.0, 4.0]], device=device)
        nms(box, torch.ones(1, device=device), 0.5)
        roi_align(torch.ones(1, 1, 8, 8, device=device), [box], 2)
    return f"nms and roi_align run on {' and '.join(devices)}"


def check_opencv() -> str:
    """Whether every function that wsdet uses is there.

    Raises:
        InputError: one is not.
    """
    opencv.require()
    return ", ".join(name.rsplit(".", 1)[-1] for name in opencv.NEEDED)


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none; the processor does the work"
    names = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{one.name} ({one.total_memory / 2**30:.0f} GiB)" for one in names)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        if package in ("wsdet", "timm", "captum", "opencv-contrib-python-headless"):
            return "not installed as a package"  # run from a checkout; optional; or another build, checked below
        raise


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())


if __name__ == "__main__":
    main()
