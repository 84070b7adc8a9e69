r"""EISS's curves over its iterations, of all images and class by class: the EISS paper's Figures 4, 5 and 6.

python scripts/eiss_curves.py OUT --per-class 100 data=voc data.root=VOCdevkit network=squeezenet1_0 \
    network.weights=FILE

The search goes on to the last iteration, as in the paper; one that can shrink no further keeps its last region. It has
converged where `--eta` would have stopped it: the number of iterations until then says how hard the class's features
are to find (Figure 5), the IoU of that region how hard the class is to localize (Figure 6). Failures there are counted
by kind, see `failure`. Takes the overrides of `python -m wsdet.localize localizer=eiss`; images of one object in the
training split. Each image's search is kept in OUT, so the same command goes on where it was stopped. Writes
OUT/curves.png, OUT/by_class_k1.png (the four hardest and easiest classes of both figures) and OUT/curves.json.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmark_localizers import of_one_object
from tqdm import tqdm

from wsdet.boxes import area, intersection, iou
from wsdet.cli.build import build, settings_of
from wsdet.cli.entry_point import compose
from wsdet.cli.factories import open_run
from wsdet.data.loading import load_samples
from wsdet.engine import localize_all
from wsdet.formats.contents import file_name
from wsdet.localizers.eiss import Trajectory
from wsdet.questions import Note
from wsdet.report.text_tables import Cell, table
from wsdet.sampling import limited
from wsdet.storage.files import replacing, write_json
from wsdet.storage.provenance import check_settings
from wsdet.storage.untrusted import read_json
from wsdet.types import Boxes, Dataset, Doubles, Floats, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


CURVES = {"cropped": "#1f77b4", "blackened": "#222222", "mean_iou": "#35a853"}
FAILURES = ("wrong class", "class correlation", "clutter", "too large")
INSIDE = 0.8  # share of a box in the object from which on it is inside it
SHOWN = 4  # hardest and easiest classes in the figure
ORDERS = {"iterations": "Figure 5, features", "converged_iou": "Figure 6, localization"}


def search(overrides: Sequence[str], k: int, given: argparse.Namespace) -> dict[str, Any]:
    """The mean curves of one K over the images, (iterations,) each, and the same and more by class."""
    asked = ["localizer=eiss", "localizer.eta=null", f"localizer.k={k}", f"localizer.max_iterations={given.iterations}"]
    cfg = compose("localize", [*overrides, *asked, f"out={given.out}"])
    run = open_run(cfg, limit=0)
    dataset, network, folder = run.dataset, run.network, given.out / f"k{k}"
    ids = of_each_class(dataset, of_one_object(dataset, dataset.ids("train")), given.per_class, cfg.seed)
    ids = limited(ids, cfg.limit, cfg.seed)
    check_settings(folder, settings_of(cfg, "data", "localizer") | {"network": network.settings})
    paths = {image_id: folder / f"{file_name(image_id)}.json" for image_id in ids}
    missing = [image_id for image_id in ids if not paths[image_id].exists()]

    def keep(image_id: str, note: Note) -> None:
        write_json(paths[image_id], as_json(note.value))

    done = localize_all(
        load_samples(dataset, missing), build(cfg.localizer, "localizer"), network, cfg.batch_size, cfg.in_flight, keep
    )
    for image_id, outcome in tqdm(done, desc=f"K={k}", total=len(missing), unit="image"):
        if isinstance(outcome, InputError):
            logging.warning("%s: %s", image_id, outcome)
    searches = {image_id: read_json(path) for image_id, path in paths.items() if path.exists()}
    of_all = mean_curves(searches, dataset.truth, given.iterations)
    return of_all | {"classes": by_class(searches, dataset, given.iterations, given.eta)}


def of_each_class(dataset: Dataset, ids: Sequence[str], per_class: int, seed: int) -> list[str]:
    """At most `per_class` images of each class (0: all), sampled with `seed`; a rare class does not lose by others."""
    kept: dict[int, list[str]] = {}
    for image_id in ids:
        kept.setdefault(dataset.labels(image_id)[0], []).append(image_id)
    return [image_id for of_class in kept.values() for image_id in limited(of_class, per_class, seed)]


def as_json(trajectory: Trajectory) -> dict[str, Any]:
    """A search as plain values."""
    return {
        "xyxy": trajectory.xyxy.tolist(),
        "blackened": trajectory.blackened.tolist(),
        "cropped": trajectory.cropped.tolist(),
        "score": trajectory.score,
        "predicted": list(trajectory.predicted),
    }


def mean_curves(searches: Mapping[str, Any], truth: Mapping[str, Boxes], iterations: int) -> dict[str, Any]:
    """Means over the images: IoU with the object, and scores relative to the whole image's."""
    curves: dict[str, list[Doubles]] = {name: [] for name in CURVES}
    for image_id, one in searches.items():
        overlaps = iou(np.array(one["xyxy"], np.float32), truth[image_id].xyxy).max(axis=1)
        curves["mean_iou"].append(held(overlaps, iterations))
        for name in ("cropped", "blackened"):
            curves[name].append(held(np.array(one[name]) / one["score"], iterations))
    means = {name: np.mean(of_images, axis=0).tolist() for name, of_images in curves.items() if of_images}
    ended = [len(one["cropped"]) for one in searches.values()]
    return means | {"images": len(searches), "mean_iterations": float(np.mean(ended)) if ended else None}


def by_class(searches: Mapping[str, Any], dataset: Dataset, iterations: int, eta: float) -> dict[str, Any]:
    """The curves of each class, and where its searches converged: `iterations`, `converged_iou`, `failures` by kind."""
    of_class: dict[int, dict[str, Any]] = {}
    for image_id, one in searches.items():
        of_class.setdefault(int(dataset.truth[image_id].labels[0]), {})[image_id] = one
    found = {}
    for label, own in sorted(of_class.items()):
        ends = {image_id: converged_after(one, eta) for image_id, one in own.items()}
        regions = {i: np.array([one["xyxy"][ends[i] - 1]], np.float32) for i, one in own.items()}
        kinds = [failure(regions[i], dataset.truth[i].xyxy, label in own[i]["predicted"]) for i in own]
        overlaps = [float(iou(regions[i], dataset.truth[i].xyxy).max()) for i in own]
        found[dataset.classes[label]] = mean_curves(own, dataset.truth, iterations) | {
            "iterations": float(np.mean(list(ends.values()))),
            "converged_iou": float(np.mean(overlaps)),
            "failures": {kind: kinds.count(kind) for kind in FAILURES},
        }
    return found


def converged_after(one: Mapping[str, Any], eta: float) -> int:
    """The iteration, from 1, at which `eta` ends a search; the last one when it does not."""
    met = np.array(one["cropped"]) - np.array(one["blackened"]) < eta / 100 * one["score"]
    return int(met.argmax()) + 1 if met.any() else len(met)


def failure(found: Floats, true: Floats, predicted: bool) -> str | None:
    """Why a region misses its object, by the paper's kinds; None where its IoU is above 0.5.

    "wrong class": the network takes the image for another class, so the search follows that. Else "class correlation":
    the region lies in the object and shows a part of it; "clutter": most of it lies beside the object; "too large": it
    holds the object, or much of it, and more, which the paper does not tell apart.

    Args:
        found: (1, 4) region.
        true: (1, 4) the only object.
        predicted: whether the network's first class is the image's.
    """
    if iou(found, true)[0, 0] > 0.5:
        return None
    if not predicted:
        return "wrong class"
    shared = float(intersection(found, true)[0, 0])
    if shared >= INSIDE * float(area(found)[0]):
        return "class correlation"
    return "clutter" if shared < 0.5 * float(area(true)[0]) else "too large"


def held(values: Doubles, n: int) -> Doubles:
    """`values` with the last one repeated up to n."""
    return np.concatenate([values, np.full(n - len(values), values[-1])])


def extremes(classes: Mapping[str, Mapping[str, Any]], key: str) -> tuple[list[str], list[str]]:
    """The hardest and the easiest classes by `iterations` (many are hard) or `converged_iou` (little is hard)."""
    ranked = sorted(classes, key=lambda name: (classes[name][key], name), reverse=key == "iterations")
    return ranked[:SHOWN], ranked[::-1][:SHOWN]


def draw(path: Path, curves: Mapping[str, Mapping[str, Any]], columns: int) -> None:
    """One panel for each of `curves`, in rows of `columns`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(min(5.2, 13 / columns) * columns, min(4, 9 / columns) * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, (name, means) in zip(figure.subplots(rows, columns, squeeze=False).flat, curves.items(), strict=True):
        _draw_panel(ax, f"{name}, {means['images']} images", means)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.axes[0].set_ylabel("score / whole image's score;   IoU")
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=150)


def _draw_panel(ax: Axes, title: str, means: Mapping[str, Any]) -> None:
    for curve, color in CURVES.items():
        values = means.get(curve, [])
        label = curve.replace("_iou", " IoU")
        ax.plot(range(1, len(values) + 1), values, color=color, marker="o", markersize=3, label=label)
    ax.set(xlabel="iteration", ylim=(0, None))
    ax.set_title(title, fontsize=8)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def draw_by_class(path: Path, classes: Mapping[str, Mapping[str, Any]]) -> None:
    """Four rows of panels: the hardest and the easiest classes of Figure 5, and those of Figure 6."""
    panels = {}
    for key, title in ORDERS.items():
        for kind, names in zip(("hard", "easy"), extremes(classes, key), strict=True):
            panels |= {f"{title}, {kind}: {name}": classes[name] for name in names}
    draw(path, panels, min(SHOWN, len(classes)))


def classes_table(classes: Mapping[str, Mapping[str, Any]]) -> str:
    """One row per class, the hardest to localize first."""
    ordered = sorted(classes.items(), key=lambda item: item[1]["converged_iou"])
    rows: list[list[Cell]] = [
        [name, one["images"], one["iterations"], one["converged_iou"], *one["failures"].values()]
        for name, one in ordered
    ]
    failures = [sum(one["failures"][kind] for _, one in ordered) for kind in FAILURES]
    rows.append(["all", sum(one["images"] for _, one in ordered), None, None, *failures])
    return table(["class", "images", "iterations", "mean IoU", *FAILURES], rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("overrides", nargs="*", help="data=..., network=..., limit=N, localizer.stride=..., ...")
    parser.add_argument("--k", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--per-class", type=int, default=0, help="maximum number of images of a class, 0: all")
    parser.add_argument("--eta", type=float, default=10, help="percent of the score at which a search has converged")
    given = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        curves = {f"K = {k}": search(given.overrides, k, given) for k in given.k}
    except InputError as error:
        parser.error(str(error))
    write_json(given.out / "curves.json", curves)
    draw(given.out / "curves.png", curves, len(curves))
    for k, (name, means) in zip(given.k, curves.items(), strict=True):
        shown = [f"{value:.3f}" for value in means.get("mean_iou", [])]
        print(f"{name}, {means['images']} images, mean IoU by iteration: {' '.join(shown)}")
        if means["classes"]:
            draw_by_class(given.out / f"by_class_k{k}.png", means["classes"])
            print(classes_table(means["classes"]))


if __name__ == "__main__":
    main()
