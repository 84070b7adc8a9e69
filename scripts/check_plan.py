"""How near `wsdet.doctor plan` comes: plans runs, does them, and prints both.

    python scripts/check_plan.py --localizers vote wsddn cam -- data=voc data.root=../shared/data/VOCdevkit limit=100 \
        network=squeezenet network.weights=../shared/weights/squeezenet1_0_deepcompression.safetensors

Both are timed by the clock and one after the other, so other work on the machine hits both, though not always equally.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from wsdet.cli.entry_point import compose
from wsdet.cli.factories import experiment_of, open_run
from wsdet.doctor import plan_of
from wsdet.report.text_tables import table
from wsdet.stages.experiment import run_experiment


def check(localizer: str, overrides: list[str]) -> list[str | float]:
    """A row: seconds, megabytes of memory and of disk, planned and measured, and the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = compose("train", [*overrides, f"localizer={localizer}", "report=false", f"out={folder}/run"])
        planned = plan_of(cfg)
        run_experiment(open_run(cfg), experiment_of(cfg))
        metrics = json.loads(Path(folder, "run", "metrics.json").read_text(encoding="utf-8"))
        disk = sum(path.stat().st_size for path in Path(folder, "run").rglob("*") if path.is_file()) / 1e6
    measured = (sum(metrics["seconds"].values()), max(metrics["peak_mb"].values()), disk)
    stages = planned.stages
    expected = (
        sum(stage.seconds for stage in stages),
        max(stage.peak_bytes for stage in stages) / 1e6,
        sum(stage.n_bytes for stage in stages) / 1e6,
    )
    row: list[str | float] = [localizer + ("" if planned.is_complete else " (not all stages were reached)")]
    for one, other in zip(expected, measured, strict=True):
        row += [f"{one:.0f}", f"{other:.0f}", one / other]
    return row


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--localizers", nargs="+", default=["vote", "wsddn", "cam"])
    parser.add_argument("overrides", nargs="*", help="as for python -m wsdet.train")
    options = parser.parse_args()
    rows = []
    for localizer in options.localizers:
        rows.append(check(localizer, options.overrides))
        print(rows[-1], flush=True)
    headers = [
        f"{what} {kind}" for what in ("seconds", "memory MB", "disk MB") for kind in ("planned", "done", "ratio")
    ]
    print(table(["localizer", *headers], rows))


if __name__ == "__main__":
    main()
