"""Rehearses the localizers and writes what they cost into `wsdet/stages/costs.json`, which the package brings along.

    OMP_NUM_THREADS=1 python scripts/ship_costs.py --place "one thread of an AMD EPYC" \
        --photos data=voc data.root=VOCdevkit network=squeezenet1_0 network.weights=FILE

Programs say at their start what they will take by these figures until the user has runs of his own. The times are of
the processor, so that other work on the machine does not count. Localizers that need files of their own are left out.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsdet.cli.entry_point import compose
from wsdet.cli.factories import experiment_of, open_run
from wsdet.cli.planned import kind_of
from wsdet.stages.costs import Record
from wsdet.stages.rehearsal import BUDGET, plans
from wsdet.storage import timings
from wsdet.storage.files import write_json
from wsdet.types import InputError

CONF = Path(__file__).resolve().parents[1] / "conf"
COSTS = Path(__file__).resolve().parents[1] / "wsdet" / "stages" / "costs.json"
SIZES = ((100, 100), (1000, 1000))  # training and test images: two, for a line
NEED_FILES = {"stored", "fuse_stored", "sensitivity"}


def records(overrides: list[str], place: str, budget: float) -> list[dict[str, Any]]:
    """What a run costs at both sizes; nothing where a rehearsal does not get to its end."""
    cfg = compose("train", [*overrides, "workers=0", "device=cpu"])
    found = plans(open_run(cfg), experiment_of(cfg), SIZES, budget)
    if not found[0].is_complete:
        return []
    return [
        asdict(
            Record(
                kind_of(cfg, "train"),
                plan.images,
                {one.name: round(one.seconds, 2) for one in plan.stages},
                {one.name: round(one.peak_bytes / 1e6) for one in plan.stages},
                place,
            )
        )
        for plan in found
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", required=True, help="where it is measured")
    parser.add_argument("--photos", nargs="+", required=True, help="data and network, as for python -m wsdet.train")
    parser.add_argument("--localizers", nargs="+", help="those that are measured anew; all where it is not given")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of each rehearsal")
    options = parser.parse_args()
    timings.clock = time.process_time
    names = options.localizers or sorted({path.stem for path in (CONF / "localizer").glob("*.yaml")} - NEED_FILES)
    runs = json.loads(COSTS.read_text(encoding="utf-8"))["runs"] if COSTS.exists() else []
    for overrides in ([*options.photos], []):
        for name in names:
            try:
                new = records([*overrides, f"localizer={name}"], options.place, options.budget)
            except InputError as error:
                print(f"{name}: left out: {error}")
                continue
            kinds = [one["kind"] for one in new]
            runs = [*(one for one in runs if one["kind"] not in kinds), *new]
            write_json(COSTS, {"runs": runs})
            print(name, [sum(one["seconds"].values()) for one in new], flush=True)


if __name__ == "__main__":
    main()
