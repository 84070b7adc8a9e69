"""The rows that `reproduce_stl_tables.sh` ran, beside the paper's: `print_stl_tables.py OUT TOP_K PUBLISHED`.

Prints Markdown and leaves it in OUT/tables.md, with all numbers in OUT/tables.json: Tables 1 and 2, the best and worst
classes of Table 2's columns, how many classes lie above the diagonal of Figure 6, and what STL loses without its drop
term. The paper's mAPs are over 200 classes of ILSVRC: what compares is the order of the rows and the ratio to ground
truth.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
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
    ("mcg", "mcg"): ("mcg_positive_and_negative", None),
    ("selective_search", "selective_search"): ("selective_search_fast", "selective_search_fast_top1"),
    ("stl_cl", "stl_wl"): ("stl_cl_positive_stl_wl_negative", None),
    ("bing", "selective_search"): ("bing_maxbgr", "bing_maxbgr_top1"),
    ("edge_boxes", "selective_search"): (None, None),
    ("stl_cl_no_drop", "selective_search"): (None, None),
    ("stl_cl", "selective_search"): ("stl_cl", "stl_cl_top1"),
    ("ground_truth", "selective_search"): ("ground_truth", "ground_truth"),
}
TRUTH, STL, NO_DROP = (
    (name, "selective_search") for name in ("ground_truth", "stl_cl", "stl_cl_no_drop")
)  # rows of their own meaning
COLUMNS = [(name, "selective_search") for name in ("bing", "selective_search", "stl_cl", "ground_truth")]  # of Table 2
BEST, WORST = 10, 5

AveragePrecisions = dict[str, float]


def main(out: Path, top_k: int, published: Path) -> None:
    """Prints and writes the tables."""
    figures = read_json(published) if published.is_file() else {}
    ours: dict[tuple[str, str], AveragePrecisions] = {}
    theirs: dict[tuple[str, str], AveragePrecisions] = {}
    rows: list[dict[str, Any]] = []
    for row, columns in ROWS.items():
        runs = _runs(out / "rows" / "-".join(row))
        # a run trains one detector: on the row's positives, or on ground truth
        of_seeds = [one.figures[key] for one in runs for key in _map_keys(one.figures)]
        column = columns[0] if top_k == 3 else columns[1] if top_k == 1 else None
        ours[row], theirs[row] = _mean_by_class(runs), _published(figures, column)
        rows.append(
            {
                "positives": row[0],
                "negatives_and_test": row[1],
                "map": statistics.fmean(of_seeds) if of_seeds else None,
                "sd": statistics.stdev(of_seeds) if len(of_seeds) > 1 else None,
                "seeds": len(of_seeds),
                "paper_map": statistics.fmean(theirs[row].values()) if theirs[row] else None,
                "ap": ours[row],
            }
        )
    for prefix in ("", "paper_"):
        best = rows[-1][f"{prefix}map"]
        for one in rows:
            one[f"{prefix}ratio"] = one[f"{prefix}map"] / best if best and one[f"{prefix}map"] is not None else None
    ablation = _ablation(out)
    above = {"ours": _above(ours), "paper": _above(theirs)}
    parts = [_rows_table(rows), _classes_table("This run", ours), _classes_table("The paper", theirs)]
    parts += [
        f"Figure 6, {name}: STL-CL is better than ground truth in {count['above']} of {count['classes']} classes."
        for name, count in above.items()
        if count["classes"]
    ]
    parts.append(_ablation_table(ablation))
    text = "\n\n".join(part for part in parts if part)
    write_json(out / "tables.json", {"top_k": top_k, "rows": rows, "figure_6": above, "no_drop": ablation})
    (out / "tables.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def _rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    headers = ["positives", "negatives, test", "mAP", "sd", "seeds", "of truth", "paper: mAP", "paper: of truth"]
    keys = ["positives", "negatives_and_test", "map", "sd", "seeds", "ratio", "paper_map", "paper_ratio"]
    return table(headers, [[row[key] for key in keys] for row in rows])


def _classes_table(title: str, by_row: Mapping[tuple[str, str], AveragePrecisions]) -> str:
    """Table 2's lists: the classes of highest and of lowest average precision; with few classes they overlap."""
    there = [row for row in COLUMNS if by_row[row]]
    ranked = [sorted(by_row[row].items(), key=lambda item: (-item[1], item[0])) for row in there]
    if not ranked:
        return ""
    lines = [[f"best {place + 1}", *(_named(column, place) for column in ranked)] for place in range(BEST)] + [
        [f"worst {place}", *(_named(column, -place) for column in ranked)] for place in range(WORST, 0, -1)
    ]
    shared = [len({name for name, _ in column[:BEST]} & {name for name, _ in ranked[-1][:BEST]}) for column in ranked]
    if there[-1] == TRUTH:
        lines.append([f"of ground truth's {BEST} best", *shared])
    return f"{title}\n\n" + table(["", *(row[0] for row in there)], lines)


def _named(column: Sequence[tuple[str, float]], place: int) -> str:
    if not -len(column) <= place < len(column):
        return "-"
    name, value = column[place]
    return f"{name} {value:.3f}"


def _above(by_row: Mapping[tuple[str, str], AveragePrecisions]) -> dict[str, int]:
    """Of how many classes STL-CL's average precision is above ground truth's (Figure 6)."""
    pairs = [(value, by_row[TRUTH][name]) for name, value in by_row[STL].items() if name in by_row[TRUTH]]
    return {"above": sum(stl > truth for stl, truth in pairs), "classes": len(pairs)}


def _ablation(out: Path) -> dict[str, Any]:
    """Precision and recall of STL-CL's first boxes with and without the drop term, and what is lost."""
    kinds = {"with": STL, "without": NO_DROP}
    read = {kind: _runs(out / "rows" / "-".join(row)) for kind, row in kinds.items()}
    found: dict[str, Any] = {}
    for metric in ("precision_at", "recall_at"):
        for n in (1, 10):
            keys = {kind: f"localization.{row[0]}.{metric}.{n}" for kind, row in kinds.items()}
            values = {
                kind: [one.figures[keys[kind]] for one in runs if keys[kind] in one.figures]
                for kind, runs in read.items()
            }
            if all(values.values()):
                found[f"{metric}.{n}"] = {kind: statistics.fmean(of_seeds) for kind, of_seeds in values.items()}
    return found


def _ablation_table(ablation: Mapping[str, Mapping[str, float]]) -> str:
    if not ablation:
        return ""
    rows: list[list[str | float | None]] = [
        [
            name.replace("_at.", " at "),
            one["with"],
            one["without"],
            one["without"] / one["with"] - 1 if one["with"] else None,
        ]
        for name, one in ablation.items()
    ]
    return table(["STL-CL, training images", "with the drop term", "without it", "relative change"], rows)


def _change(before: float, after: float) -> float:
    return after / before - 1 if before else float("nan")


def _published(figures: Mapping[str, Any], column: str | None) -> AveragePrecisions:
    """The paper's average precisions of its classes, by name."""
    values = figures.get("detection_average_precision_200_classes", {}).get(column, [])
    content = json.loads(resources.files("wsdet.networks").joinpath("imagenet_outputs.json").read_text("utf-8"))
    names = dict(content["outputs"])
    wnids = figures.get("classes_200_wordnet_ids", [str(index) for index in range(len(values))])
    return {names.get(wnid, wnid): value for wnid, value in zip(wnids, values, strict=True)} if values else {}


def _runs(folder: Path) -> list[Any]:
    return read_runs(folder) if any(folder.glob("*/metrics.json")) else []


def _map_keys(figures: Any) -> list[str]:
    return [key for key in ("detectors.pseudo.map", "detectors.ground_truth.map") if key in figures]


def _mean_by_class(runs: Sequence[Any]) -> AveragePrecisions:
    """The mean over runs of each class's average precision."""
    values: dict[str, list[float]] = {}
    for one in runs:
        for key in _map_keys(one.figures):
            start = key.removesuffix("map") + "ap."
            for name, value in one.figures.items():
                if name.startswith(start):
                    values.setdefault(name.removeprefix(start), []).append(value)
    return {name: statistics.fmean(of_class) for name, of_class in values.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
