"""The rows that `reproduce_stl_tables.sh` ran, beside the paper's: `print_stl_tables.py OUT TOP_K PUBLISHED`.

Prints a Markdown table and leaves it in OUT/tables.md, with all numbers in OUT/tables.json. The paper's mAPs are over
200 classes of ILSVRC: what compares is the order of the rows and the ratio to true boxes.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

from wsdet.report.text_tables import table
from wsdet.stages.compare import read_runs
from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_json

# (positives, negatives and test), the published column with the three best boxes as positives and with the best one
ROWS = {
    ("bing", "bing"): ("bing_positive_and_negative", None),
    ("edge_boxes", "edge_boxes"): ("edge_boxes_positive_and_negative", None),
    ("selective_search", "selective_search"): ("selective_search_fast", "selective_search_fast_top1"),
    ("stl_cl", "stl_wl"): ("stl_cl_positive_stl_wl_negative", None),
    ("bing", "selective_search"): ("bing_maxbgr", "bing_maxbgr_top1"),
    ("edge_boxes", "selective_search"): (None, None),
    ("stl_cl", "selective_search"): ("stl_cl", "stl_cl_top1"),
    ("ground_truth", "selective_search"): ("ground_truth", "ground_truth"),
}


def main(out: Path, top_k: int, published: Path) -> None:
    """Prints and writes the table."""
    figures = read_json(published)["detection_average_precision_200_classes"] if published.is_file() else {}
    rows: list[dict[str, Any]] = []
    for (positives, negatives), columns in ROWS.items():
        folder = out / "rows" / f"{positives}-{negatives}"
        column = columns[0] if top_k == 3 else columns[1] if top_k == 1 else None
        # a run trains one detector: on the row's positives, or on true boxes
        of_seeds = [one.figures[key] for one in _runs(folder) for key in _map_keys(one.figures)]
        rows.append(
            {
                "positives": positives,
                "negatives_and_test": negatives,
                "map": statistics.fmean(of_seeds) if of_seeds else None,
                "sd": statistics.stdev(of_seeds) if len(of_seeds) > 1 else None,
                "seeds": len(of_seeds),
                "paper_map": statistics.fmean(figures[column]) if column in figures else None,
            }
        )
    for prefix in ("", "paper_"):
        best = rows[-1][f"{prefix}map"]
        for row in rows:
            row[f"{prefix}ratio"] = row[f"{prefix}map"] / best if best and row[f"{prefix}map"] is not None else None
    text = table(
        ["positives", "negatives, test", "mAP", "sd", "seeds", "of truth", "paper: mAP", "paper: of truth"],
        [
            [
                row["positives"],
                row["negatives_and_test"],
                row["map"],
                row["sd"],
                row["seeds"],
                row["ratio"],
                row["paper_map"],
                row["paper_ratio"],
            ]
            for row in rows
        ],
    )
    write_json(out / "tables.json", {"top_k": top_k, "rows": rows})
    (out / "tables.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def _runs(folder: Path) -> list[Any]:
    return read_runs(folder) if any(folder.glob("*/metrics.json")) else []


def _map_keys(figures: Any) -> list[str]:
    return [key for key in ("detectors.pseudo.map", "detectors.ground_truth.map") if key in figures]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
