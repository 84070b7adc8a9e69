r"""STL's cross-dataset study (paper's Figure 4): are classes that the network knows better also found better?

python scripts/cross_dataset.py OUT --known data=imagenet data.root=FOLDER --target data=voc data.root=VOCdevkit \
    --network network=squeezenet1_0 network.weights=FILE --boxes RUN/localization/stl_wl --images 50

A class's prototype is the mean, over images that carry its label, of the network's last fully connected layer. Each
class of the target is held against its most similar known class (cosine) and the top-1 recall of the target's boxes:
the share of the class's objects that an image's first box covers. Writes OUT/cross_dataset.json and .png.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from wsdet.cli.build import build
from wsdet.cli.entry_point import compose
from wsdet.cli.factories import open_run
from wsdet.data.loading import load_samples
from wsdet.engine import localize_all
from wsdet.localizers.dialogue import Dialogue
from wsdet.metrics import proposals
from wsdet.networks.classifier import Network
from wsdet.questions import Note, Whole
from wsdet.sampling import limited
from wsdet.storage.box_store import BoxStore
from wsdet.storage.files import replacing, write_json
from wsdet.types import Boxes, Dataset, Floats, InputError, Sample


class Observer:
    """Finds nothing; notes what the network makes of the whole image."""

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """No boxes."""
        (whole,) = yield [Whole()]
        yield [Note("phi", whole.logits[0])]
        return Boxes.empty()


def prototypes(dataset: Dataset, network: Network, n_images: int, seed: int) -> dict[str, Floats]:
    """Mean last layer by class, over at most `n_images` training images of each."""
    of_class: dict[int, list[str]] = {}
    for image_id in dataset.ids("train"):
        for label in dataset.labels(image_id):
            of_class.setdefault(label, []).append(image_id)
    chosen = {label: limited(ids, n_images, seed) for label, ids in of_class.items()}
    phi: dict[str, Floats] = {}
    samples = load_samples(dataset, sorted({image_id for ids in chosen.values() for image_id in ids}))
    for image_id, outcome in localize_all(
        samples, Observer(), network, look_on=lambda i, note: phi.update({i: note.value})
    ):
        if isinstance(outcome, InputError):
            logging.warning("%s: %s", image_id, outcome)
    return {
        dataset.classes[label]: np.mean([phi[image_id] for image_id in ids if image_id in phi], axis=0)
        for label, ids in chosen.items()
        if any(image_id in phi for image_id in ids)
    }


def nearest(targets: Mapping[str, Floats], known: Mapping[str, Floats]) -> dict[str, tuple[str, float]]:
    """For each target class the known class of highest cosine similarity, and this."""
    names = list(known)
    rows = np.stack([known[name] / np.linalg.norm(known[name]) for name in names])
    found = {}
    for target, phi in targets.items():
        similarity = rows @ (phi / np.linalg.norm(phi))
        best = int(similarity.argmax())
        found[target] = (names[best], float(similarity[best]))
    return found


def top_1_recall(boxes: Mapping[str, Boxes], dataset: Dataset) -> dict[str, float]:
    """Share of a class's objects that the first box of their image covers, over the images that have boxes."""
    ids = [image_id for image_id in boxes if image_id in dataset.truth]
    coverage = proposals.cover(boxes, {i: dataset.truth[i] for i in ids}, ids, len(dataset.classes))
    return {
        name: float((one.first < 1).mean())
        for name, one in zip(dataset.classes, coverage, strict=True)
        if len(one.first)
    }


def draw(path: Path, points: Mapping[str, Mapping[str, Any]], rank: float) -> None:
    """A scatter plot with the classes' names."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    for name, point in points.items():
        ax.plot(point["correlation"], point["recall"], "o", color="#1f77b4", markersize=6)
        at = (point["correlation"], point["recall"])
        ax.annotate(name, at, (5, 3), textcoords="offset points", fontsize=8, color="#444444")
    ax.set(xlabel="correlation with the nearest known class", ylabel="top-1 recall", ylim=(-0.02, None))
    ax.set_title(f"{len(points)} classes, Spearman's rank correlation {rank:.2f}", fontsize=10, loc="left")
    ax.margins(x=0.12)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=150)


def study(out: Path, known: Sequence[str], target: Sequence[str], network: Sequence[str], boxes: Path, n: int) -> None:
    """Writes the points and their figure."""
    first, second = (compose("localize", [*data, *network, f"out={out}"]) for data in (known, target))
    known_data: Dataset = build(first.data, "data")
    target_data: Dataset = build(second.data, "data")
    classifier = open_run(first, limit=0).network
    recall = top_1_recall(BoxStore(boxes), target_data)
    close = nearest(
        prototypes(target_data, classifier, n, first.seed), prototypes(known_data, classifier, n, first.seed)
    )
    points = {
        name: {"nearest": close[name][0], "correlation": close[name][1], "recall": recall[name]}
        for name in target_data.classes
        if name in close and name in recall
    }
    if len(points) < 2:
        raise InputError(f"{boxes} has boxes of {len(points)} classes with truth; at least 2 are needed")
    correlations, recalls = ([point[key] for point in points.values()] for key in ("correlation", "recall"))
    varied = len(set(correlations)) > 1 and len(set(recalls)) > 1
    rank = float(spearmanr(correlations, recalls).statistic) if varied else float("nan")
    write_json(out / "cross_dataset.json", {"classes": points, "spearman": None if np.isnan(rank) else rank})
    draw(out / "cross_dataset.png", points, rank)
    print(f"{len(points)} classes, Spearman's rank correlation {rank:.3f}: {out / 'cross_dataset.png'}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--known", nargs="+", required=True, help="data=... of the classes that the network knows")
    parser.add_argument("--target", nargs="+", required=True, help="data=... that the boxes are of")
    parser.add_argument("--network", nargs="+", required=True, help="network=... network.weights=...")
    parser.add_argument("--boxes", type=Path, required=True, help="store of boxes of the target's images, best first")
    parser.add_argument("--images", type=int, default=50, help="training images of a class behind its prototype")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        study(given.out, given.known, given.target, given.network, given.boxes, given.images)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
