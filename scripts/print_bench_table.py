"""One table of what `scripts/bench_all.sh` measured: table.md and table.json in its folder.

python scripts/print_bench_table.py bench
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from wsdet.report.text_tables import table

# benchmark, figure, what it is, what it should be
_ROWS = (
    ("stl", "speedup", "STL-CL by the engine: times as fast as one input at a time", ">= 10"),
    ("stl", "speedup_float32", "... in float32", ""),
    ("stl", "speedup_without_crops", "... with appearance from the pyramid: other boxes", ""),
    ("stl", "same_boxes", "... with the same boxes in float32", "True"),
    ("stl", "passes_per_image", "... inputs through the network, per photo", ""),
    ("stl", "passes_avoided", "... share of the plain way's passes that were the same input again", ""),
    ("stl", "share_of_network_throughput", "... inputs per second, as a share of the bare network's", ">= 0.8"),
    ("stl", "share_of_network_throughput_full_passes", "... the same without incremental passes", ">= 0.8"),
    *(
        ("incremental", f"{name}.{precision}.speedup", f"Masks of 6 to 100 % of the side, {name}, {precision}", "")
        for name in ("squeezenet1_0", "mobilenet_v2")
        for precision in ("float32", "bfloat16")
    ),
    *(
        row
        for precision in ("float32", "bfloat16")
        for row in (
            ("localizers", f"{precision}.eiss_speedup", f"EISS in {precision}: times as fast as one by one", ">= 2"),
            (
                "localizers",
                f"{precision}.dam_speedup",
                f"DAM's guided maps in {precision}: times as fast as captum",
                ">= 2",
            ),
            ("localizers", f"{precision}.cam_speedup", f"CAM in {precision}: times as fast as captum", ">= 2"),
            (
                "localizers",
                f"{precision}.regions_speedup",
                f"1,000 boxes read off a pyramid in {precision}: times as fast as crops",
                "",
            ),
            (
                "localizers",
                f"{precision}.sensitivity_speedup",
                f"Pixel gradients in {precision}: times as fast as captum",
                ">= 2",
            ),
            (
                "localizers",
                f"{precision}.sensitivity_share_of_bare_pass",
                "... share of a bare pass there and back",
                ">= 0.8",
            ),
        )
    ),
    ("detector", "roi_speedup", "Features of 2,000 boxes: RoI against warped crops, times as fast", ">= 100"),
    ("detector", "svm_speedup", "20 SVMs on 20,000 x 4,096: times as fast as LinearSVC", ">= 10"),
    ("detector", "svm_objective_above", "... how far the objective is above LinearSVC's", "<= 0.001"),
    ("detector", "proposals_speedup", "Selective Search in a process for each core: times as fast as in one", "cores"),
    ("startup", "help_seconds", "--help of the slowest command, seconds", "<= 1.5"),
    ("startup", "finished_run_again_seconds", "A finished experiment run again, seconds", "<= 5"),
    ("growth", "images.exponent", "Growth of time with the number of images, exponent", "1"),
    ("growth", "images.megabytes", "... most memory held, MB", "flat"),
)


def main() -> None:
    """Writes and prints the table."""
    folder = Path(sys.argv[1])
    measured = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    machine = measured["stl"]
    rows = [
        {"figure": what, "measured": figure, "wanted": wanted}
        for name, key, what, wanted in _ROWS
        if (figure := _figure(measured.get(name), key)) is not None
    ]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}, {machine['precision']}\n",
        table(
            ["figure", "measured", "wanted"], [[row["figure"], _plain(row["measured"]), row["wanted"]] for row in rows]
        ),
    ]
    (folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    whole = {"processor": machine["processor"], "threads": machine["threads"], "rows": rows}
    (folder / "table.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _figure(figures: Any, key: str) -> Any:
    """None where it was not measured: a benchmark that did not run, a precision that is no faster here."""
    for part in key.split("."):
        figures = figures.get(part) if figures else None
    return figures


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
