"""EISS's mean curves over its iterations for K = 1 and 5, with the mean IoU of each: the EISS paper's Figure 4.

python scripts/eiss_curves.py OUT data=voc data.root=VOCdevkit network=squeezenet1_0 network.weights=FILE limit=100

The search goes on to the last iteration, as in the paper; one that can shrink no further keeps its last region. Takes
the overrides of `python -m wsdet.localize localizer=eiss`; images of one object in the training split. Each image's
search is kept in OUT, so the same command goes on where it was stopped. Writes OUT/curves.png and OUT/curves.json.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmark_localizers import of_one_object
from tqdm import tqdm

from wsdet.boxes import iou
from wsdet.cli.build import build, settings_of
from wsdet.cli.entry_point import compose
from wsdet.cli.factories import open_run
from wsdet.data.loading import load_samples
from wsdet.engine import localize_all
from wsdet.formats.contents import file_name
from wsdet.localizers.eiss import Trajectory
from wsdet.questions import Note
from wsdet.stages.run import limited
from wsdet.storage.files import replacing, write_json
from wsdet.storage.provenance import claim
from wsdet.storage.untrusted import read_json
from wsdet.types import Boxes, InputError

Doubles = npt.NDArray[np.float64]

CURVES = {"cropped": "#1f77b4", "blackened": "#222222", "mean_iou": "#35a853"}


def search(overrides: Sequence[str], k: int, iterations: int, out: Path) -> dict[str, Any]:
    """The mean curves of one K over the images; (iterations,) each."""
    asked = ["localizer=eiss", "localizer.eta=null", f"localizer.k={k}", f"localizer.max_iterations={iterations}"]
    cfg = compose("localize", [*overrides, *asked, f"out={out}"])
    run = open_run(cfg, limit=0)
    dataset, network, folder = run.dataset, run.network, out / f"k{k}"
    ids = limited(of_one_object(dataset, dataset.ids("train")), cfg.limit, cfg.seed)
    claim(folder, settings_of(cfg, "data", "localizer") | {"network": network.settings})
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
    return mean_curves(searches, dataset.truth, iterations)


def as_json(trajectory: Trajectory) -> dict[str, Any]:
    """A search as plain values."""
    return {
        "xyxy": trajectory.xyxy.tolist(),
        "blackened": trajectory.blackened.tolist(),
        "cropped": trajectory.cropped.tolist(),
        "score": trajectory.score,
    }


def mean_curves(searches: Mapping[str, Any], truth: Mapping[str, Boxes], iterations: int) -> dict[str, Any]:
    """Means over the images: IoU with the object, and scores as shares of the whole image's."""
    curves: dict[str, list[Doubles]] = {name: [] for name in CURVES}
    for image_id, one in searches.items():
        overlaps = iou(np.array(one["xyxy"], np.float32), truth[image_id].xyxy).max(axis=1)
        curves["mean_iou"].append(held(overlaps, iterations))
        for name in ("cropped", "blackened"):
            curves[name].append(held(np.array(one[name]) / one["score"], iterations))
    means = {name: np.mean(of_images, axis=0).tolist() for name, of_images in curves.items() if of_images}
    ended = [len(one["cropped"]) for one in searches.values()]
    return means | {"images": len(searches), "mean_iterations": float(np.mean(ended)) if ended else None}


def held(values: Doubles, n: int) -> Doubles:
    """`values` with the last one repeated up to n."""
    return np.concatenate([values, np.full(n - len(values), values[-1])])


def draw(path: Path, curves: Mapping[str, Mapping[str, Any]]) -> None:
    """A panel for each K."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(curves), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, (name, means) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        for curve, color in CURVES.items():
            values = means.get(curve, [])
            ax.plot(
                range(1, len(values) + 1),
                values,
                color=color,
                marker="o",
                markersize=3,
                label=curve.replace("_iou", " IoU"),
            )
        ax.set(xlabel="iteration", ylim=(0, None), title=f"{name}, {means['images']} images")
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.axes[0].set_ylabel("score / whole image's score;   IoU")
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=150)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("overrides", nargs="*", help="data=..., network=..., limit=N, localizer.stride=..., ...")
    parser.add_argument("--k", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--iterations", type=int, default=30)
    given = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        curves = {f"K = {k}": search(given.overrides, k, given.iterations, given.out) for k in given.k}
    except InputError as error:
        parser.error(str(error))
    write_json(given.out / "curves.json", curves)
    draw(given.out / "curves.png", curves)
    for name, means in curves.items():
        shown = [f"{value:.3f}" for value in means.get("mean_iou", [])]
        print(f"{name}, {means['images']} images, mean IoU by iteration: {' '.join(shown)}")


if __name__ == "__main__":
    main()
