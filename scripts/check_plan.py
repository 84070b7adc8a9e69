"""How near `wsdet.doctor plan` comes: plans runs, does them, and prints both, in all and stage by stage.

    python scripts/check_plan.py --localizers vote wsddn cam -- data=voc data.root=VOCdevkit limit=100 \
        network=squeezenet1_0 network.weights=FILE

Times are by the clock; on a machine that others use, `--clock cpu` counts the processor's, with `workers=0`, as a plan
and a run meet other work unequally. What is planned is what one would be told beforehand: plans are made one after the
other in processes of their own, before the run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from wsdet.cli.allocator import keep_freed_memory
from wsdet.cli.entry_point import compose
from wsdet.cli.factories import experiment_of, open_run
from wsdet.doctor import plan_of
from wsdet.report.text_tables import table
from wsdet.stages.experiment import run_experiment
from wsdet.stages.plan import Plan
from wsdet.storage import timings

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def planned(overrides: list[str], clock: str) -> Plan:
    """The plan of a run."""
    timings.clock = CLOCKS[clock]
    return plan_of(compose("train", overrides))


def done(overrides: list[str], clock: str) -> tuple[dict[str, dict[str, float]], float]:
    """What each stage took, and the megabytes that the run left."""
    timings.clock = CLOCKS[clock]
    with tempfile.TemporaryDirectory() as folder:
        cfg = compose("train", [*overrides, f"out={folder}/run"])
        run_experiment(open_run(cfg), experiment_of(cfg))
        costs = json.loads(Path(folder, "run", "timings.json").read_text(encoding="utf-8"))
        return costs, sum(path.stat().st_size for path in Path(folder, "run").rglob("*") if path.is_file()) / 1e6


def alone(work: Any, *arguments: Any) -> Any:
    """What a function gives in a process of its own, which has nothing loaded yet, and keeps memory as programs do."""
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), keep_freed_memory
    ) as pool:  # whose process may have its own
        return pool.submit(work, *arguments).result()


def check(localizer: str, overrides: list[str], clock: str) -> list[str]:
    """A row of the table; the stages are printed."""
    given = [*overrides, f"localizer={localizer}", "report=false"]
    plan: Plan = alone(planned, given, clock)
    costs, disk = alone(done, given, clock)
    rows = []
    for stage in plan.stages:
        cost = costs.get(stage.name, {"seconds": 0.0, "peak_mb": 0.0})
        took = cost["seconds"]
        ratio = f"{stage.seconds / took:.2f}" if took else "-"
        memory = [f"{stage.peak_bytes / 1e6:.0f}", f"{cost['peak_mb']:.0f}"]
        rows.append([stage.name, f"{stage.seconds:.1f}", f"{took:.1f}", ratio, *memory])
    print(f"{localizer}, planned in {plan.seconds:.0f} s by rehearsals of {', '.join(map(str, plan.rehearsed))} images")
    print(table(["stage", "planned s", "took s", "ratio", "planned MB", "took MB"], rows), flush=True)
    expected = (plan.seconds_expected, max(one.peak_bytes for one in plan.stages) / 1e6)
    expected = (*expected, sum(one.n_bytes for one in plan.stages) / 1e6)
    measured = (sum(one["seconds"] for one in costs.values()), max(one["peak_mb"] for one in costs.values()), disk)
    row = [localizer + ("" if plan.is_complete else " (not all stages were reached)")]
    for one, other in zip(expected, measured, strict=True):
        row += [f"{one:.0f}", f"{other:.0f}", f"{one / other:.2f}"]
    return row


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--localizers", nargs="+", default=["vote", "wsddn", "cam"])
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("overrides", nargs="*", help="as for python -m wsdet.train")
    options = parser.parse_args()
    rows = [check(localizer, options.overrides, options.clock) for localizer in options.localizers]
    headers = [
        f"{what} {kind}" for what in ("seconds", "memory MB", "disk MB") for kind in ("planned", "took", "ratio")
    ]
    print(table(["localizer", *headers], rows))


if __name__ == "__main__":
    main()
