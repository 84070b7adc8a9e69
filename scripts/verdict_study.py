"""How well what needs no ground truth tells good runs from bad ones.

`python scripts/verdict_study.py gather OUT SHARED`: each setting is a data set, a network and a localizer, good and
garbage; its rows (an image and label each, with what was seen of it) go to `OUT/NAME.npz`, and those there are kept.
`python scripts/verdict_study.py report OUT` prints the tables of docs/trust.md.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from wsdet.boxes import iou
from wsdet.cli.entry_point import compose
from wsdet.cli.factories import open_run, recipe
from wsdet.data.relabeled import Relabeled
from wsdet.report.text_tables import table
from wsdet.sampling import limited
from wsdet.stages.evidence import Evidence, gather
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Run
from wsdet.stages.verdict import trust
from wsdet.types import InputError

log = logging.getLogger("verdict_study")

LOCALIZERS = ("center_box", "full_image", "proposals", "cam", "token_cut", "vote", "wsddn")


def data_sets(shared: Path) -> dict[str, list[str]]:
    """Overrides by name."""
    squeezenet = [
        "network=squeezenet1_0",
        f"network.weights={shared}/weights/squeezenet1_0_deepcompression.safetensors",
    ]
    mobilenet = ["network=mobilenet_v2", f"network.weights={shared}/weights/mobilenet_v2_tf_quant.safetensors"]
    own, tiny_imagenet = f"{shared}/data/own", f"{shared}/data/tiny-imagenet-20"
    raccoon = ["data=auto", f"data.root={own}/raccoon", "limit=24"]
    fruit = ["data=auto", f"data.root={own}/fruit", "limit=24"]
    voc = ["data=voc", f"data.root={shared}/data/VOCdevkit"]
    built_in = ["data=synthetic", "data.n_train=120", "data.n_test=9", "network=tiny", "network.training.epochs=12"]
    return {
        "raccoon": [*raccoon, *squeezenet],
        "fruit": [*fruit, *squeezenet],
        "tiny-imagenet": ["data=tiny_imagenet", f"data.root={tiny_imagenet}", "limit=24", *squeezenet],
        "fruit-shuffled": [*fruit, *squeezenet],
        "raccoon-untrained": [*raccoon, "network=tiny", "network.head=pretrained"],
        "built-in-1": [*built_in, "data.instances=1", "limit=24"],
        "built-in-6": [*built_in, "data.instances=6", "limit=24"],
        "built-in-small": [*built_in, "data.instances=2", "data.min_scale=0.1", "data.max_scale=0.25", "limit=24"],
        "tiny-imagenet-shuffled": ["data=tiny_imagenet", f"data.root={tiny_imagenet}", "limit=24", *squeezenet],
        "raccoon-mobilenet": [*raccoon, *mobilenet],
        "built-in-alike": [*built_in, "data.class_correlation=1", "limit=24"],
        "voc": [*voc, "limit=80", *squeezenet],
    }


def settings(shared: Path) -> Iterator[tuple[str, str, list[str]]]:
    """(data set, localizer, overrides of `python -m wsdet.localize`)."""
    for data, overrides in data_sets(shared).items():
        for localizer in ("vote", "wsddn") if data == "raccoon-mobilenet" else LOCALIZERS:
            if data != "voc" or localizer not in ("full_image", "proposals", "token_cut"):
                # what is left when boxes are occluded costs the vote most of its time
                fast = ["localizer.n_occluded=0"] if localizer == "vote" else []
                yield data, localizer, [*overrides, f"localizer={localizer}", *fast]


def opened(out: Path, data: str, overrides: Sequence[str]) -> tuple[Run, Recipe, Sequence[str]]:
    """The run of a setting; its labels shuffled where the data set's name says so."""
    cfg = compose("localize", [*overrides, f"out={out / 'runs' / data}", "workers=1", "device=cpu"])
    run = open_run(cfg, limit=0)  # a network learns from all, few are localized
    ids = limited(run.train_ids, cfg.limit, cfg.seed)
    if data.endswith("shuffled"):
        order = np.random.default_rng(0).permutation(len(run.train_ids))
        of = dict(zip(run.train_ids, (run.dataset.labels(run.train_ids[i]) for i in order), strict=True))
        run.dataset = Relabeled(run.dataset, of)
    return run, recipe(cfg, "localizer"), ids


def correct(run: Run, evidence: Evidence, store: Mapping[str, Any]) -> np.ndarray:
    """(n,) IoU of each row's box with the object of its label that fits best: 0 where a shuffled label has none."""
    best = np.zeros(len(evidence.labels))
    for row, (image, label) in enumerate(zip(evidence.images, evidence.labels, strict=True)):
        image_id = evidence.ids[image]
        true = run.dataset.truth[image_id]
        first = store[image_id].first_of(int(label))
        best[row] = iou(first.xyxy, true.xyxy[true.labels == label]).max(initial=0)
    return best


def gather_all(out: Path, shared: Path, only: Sequence[str]) -> None:
    """Makes what is missing."""
    for data, localizer, overrides in settings(shared):
        path = out / f"{data}.{localizer}.npz"
        if path.exists() or (only and data not in only):
            continue
        try:
            run, of_localizer, chosen = opened(out, data, overrides)
            store, _ = run.localize(of_localizer, chosen)
            evidence = gather(run, of_localizer, store, n_images=80 if data == "voc" else 40)
        except InputError as error:
            log.warning("%s is left out: %s", path.stem, error)
            continue
        views = {f"view_{name}_{i}": one for name, parts in evidence.views.items() for i, one in enumerate(parts)}
        found = {name: getattr(evidence, name) for name in ARRAYS}
        truth = {"iou": correct(run, evidence, store), "classes": np.array(run.dataset.classes)}
        np.savez(path, ids=np.array(evidence.ids), **found, **views, **truth)
        log.info("%s: CorLoc over images %.3f, %s", path.stem, (truth["iou"] > 0.5).mean(), rounded(evidence))


FIXED = ("center_box", "full_image")
ARRAYS = ("images", "labels", "xyxy", "second_xyxy", "left", "suggested", "class_scores", "has")


def rounded(evidence: Evidence) -> dict[str, float]:
    """The signals of all rows, to three digits."""
    return {name: round(value, 3) for name, value in evidence.of(np.arange(len(evidence.labels))).items()}


def read(path: Path) -> tuple[Evidence, np.ndarray, list[str]]:
    """(evidence, IoU of each row, names of the classes) of a setting."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    names = sorted({name.split("_")[1] for name in arrays if name.startswith("view_")})
    views = {name: tuple(arrays[f"view_{name}_{i}"] for i in range(3)) for name in names}
    one = Evidence(arrays["ids"].tolist(), views=views, **{name: arrays[name] for name in ARRAYS})  # type: ignore[arg-type]
    return one, arrays["iou"], arrays["classes"].tolist()


def report(out: Path) -> None:
    """Prints what was found: a row for each setting, and how well each signal ranks settings by CorLoc over images."""
    rows = []
    for path in sorted(out.glob("*.npz")):
        evidence, overlaps, classes = read(path)
        every = np.arange(len(overlaps))
        data, localizer = path.stem.split(".")
        rows.append((data, localizer, "all", float((overlaps > 0.5).mean()), described(evidence.of(every))))
        for label, name in enumerate(classes) if data == "voc" else ():
            own = np.flatnonzero(evidence.labels == label)
            if len(own) >= 5:
                rows.append((data, localizer, name, float((overlaps[own] > 0.5).mean()), described(evidence.of(own))))
    whole = [row for row in rows if row[2] == "all"]
    names = list(rows[0][4])
    print(table(["data", "localizer", "CorLoc", *names], [[*row[:2], row[3], *row[4].values()] for row in whole]))
    looking = [row for row in whole if row[1] not in FIXED and "untrained" not in row[0]]
    kinds = {"settings": whole, "settings whose boxes follow the image": looking, "settings and classes of VOC": rows}
    for kind, some in kinds.items():
        ranks = [[name, *ranking([row[4][name] for row in some], [row[3] for row in some])] for name in names]
        print(f"\n{kind}\n" + table(["signal", "Spearman", "AUC, < 0.3 from > 0.7", "rows"], ranks))
    within = []
    for data in dict.fromkeys(row[0] for row in whole):
        own = [row for row in whole if row[0] == data]
        best = max(own, key=lambda row: row[4]["trust"])
        rank = ranking([row[4]["trust"] for row in own], [row[3] for row in own])[0]
        within.append([data, rank, best[1], best[3], max(row[3] for row in own), len(own)])
    print("\n" + table(["data", "Spearman", "chosen", "its CorLoc", "best CorLoc", "localizers"], within))


def described(of: Mapping[str, float]) -> dict[str, float]:
    """Trust, and the signals that it and causes are made of."""
    names = ("stable", "stable_beyond_chance", "agrees_with_heat_map_beyond_chance", "occlusion", "center_box", "area")
    return {"trust": trust(of)} | {name: of[name] for name in names} | {"class_ranking": of["class_ranking"]}


def ranking(values: Sequence[float], corloc: Sequence[float]) -> tuple[float, float, int]:
    """(rank correlation, area under the ROC curve of CorLoc < 0.3 from > 0.7, how many rows have a value)."""
    x, y = np.array(values), np.array(corloc)
    x, y = x[np.isfinite(x)], y[np.isfinite(x)]
    clear = (y < 0.3) | (y > 0.7)
    is_good = y[clear] > 0.7
    rank = float(spearmanr(x, y).statistic) if len(np.unique(x)) > 1 and len(np.unique(y)) > 1 else float("nan")
    area = float(roc_auc_score(is_good, x[clear])) if is_good.any() and not is_good.all() else float("nan")
    return rank, area, len(x)


def main() -> None:
    """The command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    if sys.argv[1] == "gather":
        gather_all(out, Path(sys.argv[3]), sys.argv[4:])
    else:
        report(out)


if __name__ == "__main__":
    main()
