"""Every localizer and baseline on the same images of one object each, in one table: see benchmark_localizers.sh."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from benchmark import processor

from wsdet.cli.allocator import keep_freed_memory
from wsdet.cli.entry_point import CONF, compose
from wsdet.cli.factories import open_run, recipe
from wsdet.report.text_tables import Cell, table
from wsdet.sampling import limited
from wsdet.stages.evaluate import evaluate_localization
from wsdet.storage.files import replacing, write_json
from wsdet.types import Dataset, InputError, Split

if TYPE_CHECKING:
    pass

log = logging.getLogger("benchmark_localizers")

NAMES = tuple(sorted(path.stem for path in (CONF / "localizer").glob("*.yaml")))
COLUMNS = ("CorLoc", "95 %", "mean IoU", "center 0", "center 0.2", "images/s", "passes/image", "images")


def benchmark(shared: Sequence[str], own: Sequence[str], split: Split, names: Sequence[str]) -> dict[str, Any]:
    """Measures the localizers that can be built; what is finished in `out` is kept.

    Args:
        shared: overrides of `python -m wsdet.localize` for all localizers; `out` and `data` among them.
        own: overrides of single localizers, such as "eiss.stride=8".
        split: the images' split; those with one object alone are taken.
        names: the localizers to measure.

    Returns:
        Figures by localizer, best CorLoc first, and why others were left out.
    """
    cfg = compose("localize", shared)
    run = open_run(cfg, limit=0)
    dataset, network = run.dataset, run.network
    ids = limited(of_one_object(dataset, dataset.ids(split)), cfg.limit, cfg.seed)
    measured: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    keep_freed_memory()
    for name in names:
        changes = [f"localizer.{one.removeprefix(f'{name}.')}" for one in own if one.startswith(f"{name}.")]
        try:
            one = compose("localize", [*shared, f"localizer={name}", *changes])
            spent = sum(run.timings.column("seconds").values())
            store, _ = run.localize(recipe(one, "localizer"), ids)
        except InputError as error:
            log.warning("%s is left out: %s", name, error)
            left_out[name] = str(error)
            continue
        seconds = (sum(run.timings.column("seconds").values()) - spent) / len(store)  # its proposals among it
        passes = run.timings.column("forward_passes")[f"localize/{name}"] / len(store)
        figures = evaluate_localization(store, dataset, ids)
        measured[name] = figures | {"images_per_second": 1 / seconds, "passes_per_image": passes}
    best_first = sorted(measured, key=lambda name: (measured[name]["corloc"], measured[name]["mean_iou"]), reverse=True)
    return {
        "data": run.data | {"split": split},
        "network": network.settings,
        "machine": {"processor": processor(), "device": str(network.device)},
        "localizers": {name: measured[name] for name in best_first},
        "left_out": left_out,
    }


def of_one_object(dataset: Dataset, ids: Sequence[str]) -> list[str]:
    """Images whose annotation has exactly one object, of a class that the image is labeled with."""
    truth = dataset.truth
    boxes = {image_id: truth[image_id] for image_id in ids if image_id in truth}
    return [
        image_id
        for image_id, true in boxes.items()
        if len(true) == 1 and tuple(true.labels) == tuple(dataset.labels(image_id))
    ]


def as_table(measured: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows: list[list[Cell]] = []
    for name, figures in measured["localizers"].items():
        low, high = figures["corloc_interval"] or (float("nan"), float("nan"))
        center = figures["center_correct"]
        rows.append(
            [
                name,
                figures["corloc"],
                f"{low:.3f}-{high:.3f}",
                figures["mean_iou"],
                center["0.0"],
                center["0.2"],
                f"{figures['images_per_second']:.3g}",
                round(figures["passes_per_image"]),
                figures["images"],
            ]
        )
    return table(["localizer", *COLUMNS], rows)


def main() -> None:
    """The command line: overrides alone."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    given = sys.argv[1:]
    own = [one for one in given if one.split("=")[0].split(".")[0] in NAMES]
    choices = dict(one.split("=", 1) for one in given if one.startswith(("split=", "only=")))
    shared = [one for one in given if one not in own and not one.startswith(("split=", "only="))]
    out = next((Path(one.removeprefix("out=")) for one in shared if one.startswith("out=")), None)
    split, names = choices.get("split", "test"), choices.get("only", ",".join(NAMES)).split(",")
    if out is None or split not in get_args(Split) or not set(names) <= set(NAMES):
        sys.exit(
            "give out=DIR, data=... and network=...; split= may be train or test, only= some of " + ", ".join(NAMES)
        )
    try:
        measured = benchmark(shared, own, cast(Split, split), names)
    except InputError as error:
        sys.exit(str(error))
    write_json(out / "table.json", measured)
    text = as_table(measured)
    with replacing(out / "table.md") as beside:
        beside.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
