"""What a person's corrections are worth: mAP against images corrected, by what picks them; ground truth is the person.

python scripts/correction_study.py OUT data=voc data.root=DIR limit=150 [--images 10 20 50 100 200] [--seeds 0 1 2]

For each seed a run of `wsdet.train` (overrides go to it), then for each picker and number of images: the images that
`wsdet.review` picks, ground truth as their corrections, and the detector that `wsdet.improve` trains, all of these in
one run; and for the first picker, in another, detectors that know the corrected images' boxes alone. Classifier,
pseudo-boxes, proposals and feature maps are those of the first run. Round 1 of its self-training in two folds gives the
boxes that `picker=disagreement` compares with. Writes OUT/correction_study.json and .png and prints
a table; the same command again goes on.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsdet.cli.entry_point import compose
from wsdet.cli.factories import experiment_of, open_run
from wsdet.report.text_tables import table
from wsdet.stages.experiment import run_experiment
from wsdet.stages.improve import train_corrected
from wsdet.stages.positives import ALONE
from wsdet.stages.review import PICKERS, other_boxes, pick, pseudo_boxes_of, shown_boxes
from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_object

FOLDS = ("self_training.stop_agreement=1", "rounds=1", "folds=2")


def study(overrides: Sequence[str], seed: int, images: Sequence[int], pickers: Sequence[str], out: Path) -> Any:
    """What one seed gives: mAP on pseudo-boxes, on ground truth, and curves: each picker's, the first one's alone."""
    base = ["report=false", *FOLDS, *overrides, "detector.train_on=[pseudo,ground_truth]", f"seed={seed}"]
    before = out / "run"
    cfg = compose("train", [*base, f"out={before}"])
    run, experiment = open_run(cfg), experiment_of(cfg)
    run_experiment(run, experiment)
    recipe, truth = experiment.localizer, run.dataset.truth
    store = pseudo_boxes_of(before, recipe.name, recipe.settings, run.data)
    boxes = shown_boxes(store, [image_id for image_id in run.train_ids if image_id in truth], experiment.positives)

    steps = [n for n in images if n < len(boxes)]
    orders = {of: pick(run.dataset, store, boxes, len(boxes), of, seed, other_boxes(before, [])) for of in pickers}
    picked = {f"{picker}_{n}": order[:n] for picker, order in orders.items() for n in steps} | {"all": list(boxes)}
    corrected = {name: {image_id: truth[image_id] for image_id in ids} for name, ids in picked.items()}
    alone = {f"{pickers[0]}_{n}{ALONE}": corrected[f"{pickers[0]}_{n}"] for n in steps}
    for name, detectors in (("improved", corrected), ("alone", alone)):
        again = compose("train", [*base, "rounds=0", "folds=0", f"out={out / name}", f"shared={before}"])
        train_corrected(open_run(again), experiment_of(again), detectors)

    maps = {**_maps(before), **_maps(out / "improved"), **_maps(out / "alone")}
    ends = {0: maps["pseudo"], len(boxes): maps["all"]}
    curves = {of: dict(sorted({**ends, **{n: maps[f"{of}_{n}"] for n in steps}}.items())) for of in pickers}
    curves[pickers[0] + ALONE] = {**{n: maps[f"{pickers[0]}_{n}{ALONE}"] for n in steps}, len(boxes): maps["all"]}
    return {"images": len(boxes), "pseudo": maps["pseudo"], "ground_truth": maps["ground_truth"], "curves": curves}


def _maps(run: Path) -> dict[str, float]:
    return {name: float(of["map"]) for name, of in read_object(run / "metrics.json")["detectors"].items()}


def as_table(seeds: Sequence[Mapping[str, Any]]) -> str:
    """Mean and standard deviation over the seeds, and paired differences: to random choice, of the boxes alone."""
    curves = {name: [of_seed["curves"][name] for of_seed in seeds] for name in seeds[0]["curves"]}
    pickers = [name for name in curves if not name.endswith(ALONE)]
    minus = [(picker, "random") for picker in pickers if picker != "random" and "random" in pickers]
    minus += [(name, name.removesuffix(ALONE)) for name in curves if name not in pickers]
    rows = []
    for n in curves[pickers[0]][0]:
        values = {name: np.array([curve[n] for curve in of]) for name, of in curves.items() if n in of[0]}
        row = [f"{n}", *(spread(values[name]) if name in values else "-" for name in curves)]
        rows.append(row + [spread(values[a] - values[b], "+") if a in values else "-" for a, b in minus])
    named = [name.replace("_", ", ") for name in curves]
    ends = (f"{name} {spread(np.array([of_seed[name] for of_seed in seeds]))}" for name in ("pseudo", "ground_truth"))
    differences = [f"{a} - {b}".replace("_", ", ") for a, b in minus]
    return table(["images corrected", *named, *differences], rows) + "\nmAP " + ", ".join(ends)


def spread(values: Any, sign: str = "") -> str:
    """Mean and standard deviation of (n,) values, of which one has none."""
    deviation = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.3f}{deviation}"


def draw(seeds: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """The curves, means and extremes over the seeds, below what ground truth gives."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for picker in seeds[0]["curves"]:
        of_picker = [of_seed["curves"][picker] for of_seed in seeds]
        values = np.array([list(curve.values()) for curve in of_picker])
        low, high = values.min(axis=0), values.max(axis=0)
        axes.plot(list(of_picker[0]), values.mean(axis=0), marker="o", label=picker.replace("_", ", "))
        axes.fill_between(list(of_picker[0]), low, high, alpha=0.15)
    axes.axhline(np.mean([of_seed["ground_truth"] for of_seed in seeds]), color="gray", ls="--", label="ground truth")
    axes.set(xlabel="images corrected", ylabel="mAP", title=title)
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("overrides", nargs="*", help="of wsdet.train: data=voc, limit=N, ...")
    parser.add_argument("--images", type=int, nargs="+", default=[10, 20, 50, 100, 200], metavar="N")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--pickers", nargs="+", default=list(PICKERS), choices=PICKERS)
    parser.add_argument("--title", default="")
    given = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    done: list[Mapping[str, Any]] = []
    for seed in given.seeds:
        done.append(study(given.overrides, seed, given.images, given.pickers, given.out / f"seed_{seed}"))
        write_json(given.out / "correction_study.json", done)
    draw(done, given.out / "correction_study.png", given.title)
    print(as_table(done))


if __name__ == "__main__":
    main()
