"""What the benchmarks share: where photos and weights lie, the machine's name, times taken in turns, the report."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from wsdet.cli.allocator import keep_freed_memory
from wsdet.networks.classifier import PRECISIONS, Network

SHARED = Path(os.environ.get("WSDET_SHARED") or Path(__file__).resolve().parents[2] / "shared")
VOC = SHARED / "data" / "VOCdevkit"
SQUEEZENET = SHARED / "weights" / "squeezenet1_0_deepcompression.safetensors"


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: time of this process's threads, for a busy machine; set OMP_NUM_THREADS=1",
    )
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    return parser


def start(options: argparse.Namespace) -> dict[str, Any]:
    """Sets the process up as entry points do; returns what every report begins with."""
    keep_freed_memory()
    on_gpu = options.device.startswith("cuda")
    machine = {
        "processor": torch.cuda.get_device_name(options.device) if on_gpu else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print("{processor}, {threads} threads, torch {torch}".format(**machine))
    return machine


def precisions(device: str) -> tuple[str, ...]:
    """The working types worth measuring on a device, the fastest last: bfloat16 where products of it are faster."""
    seconds = seconds_in_turns(
        {name: _product(device, PRECISIONS[name]) for name in ("float32", "bfloat16")}, _clock_on(device)
    )
    return ("float32", "bfloat16") if seconds["bfloat16"] < seconds["float32"] else ("float32",)


def as_pytorch_has_it(network: Network) -> Network:
    """The network in PyTorch's own memory layout instead of ours: what the plain way to do a thing is given."""
    network.backbone.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.backbone.trunk.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    return network


def processor() -> str:
    """The processor's name where Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def clock_of(options: argparse.Namespace) -> Callable[[], float]:
    """The clock that `--clock` names; on a GPU it waits until all work is done."""
    return _clock_on(options.device, time.process_time if options.clock == "cpu" else time.perf_counter)


def seconds_in_turns(
    works: Mapping[str, Callable[[], object]], clock: Callable[[], float], rounds: int = 3
) -> dict[str, float]:
    """The best time of each of `works`; they take turns, so that a machine that slows down slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            begin = clock()
            work()
            times[name].append(clock() - begin)
    return {name: min(seconds) for name, seconds in times.items()}


def report(options: argparse.Namespace, machine: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Prints figures, one a line, and writes them to `--json`."""
    _print(figures)
    if options.json:
        options.json.write_text(json.dumps({**machine, **figures}, indent=2) + "\n", encoding="utf-8")


def _clock_on(device: str, tell: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    def now() -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return tell()

    return now


def _product(device: str, dtype: torch.dtype) -> Callable[[], object]:
    matrix = torch.randn(768, 768, device=device).to(dtype)
    return lambda: matrix @ matrix


def _print(figures: Mapping[str, Any], indent: str = "") -> None:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            print(f"{indent}{name}:")
            _print(value, indent + "  ")
        else:
            print(f"{indent}{name:42s}{' '.join(map(_plain, value)) if isinstance(value, list) else _plain(value)}")


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
