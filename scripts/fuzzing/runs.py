"""What runs leave and read again: stores of boxes, folders of runs, corrections that people send back."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from fuzzing import layouts
from fuzzing.case import Case, writer
from fuzzing.images import picture
from wsdet.types import InputError

_CONFIG = """
seed: 1
limit: 0
out: .
names: {data: d, localizer: center_box}
data: {_target_: wsdet.data.folder.Folder, root: x}
network: {architecture: tiny, head: finetune}
localizer: {_target_: wsdet.localizers.constant_boxes.CenterBox, share: &a 0.7}
detector: {top_k: 1, keep_above: *a}
"""
_METRICS = {
    "map": 0.5,
    "localization": {"center_box": {"corloc": 0.5, "precision_at": {"1": 0.5}}},
    "detectors": {"pseudo": {"map": 0.25, "map_interval": [0.1, 0.4], "ap": {"a": 0.5, "b": None}}},
    "seconds": {"detect": 1.0},
}
_JUDGED = {
    "judged": 2,
    "correct": 1,
    "corloc": 0.5,
    "corloc_interval": [0.1, 0.9],
    "seed": 0,
    "answers": [{"box": ["images/a.jpg", 0, 1.0, 1.0, 9.0, 9.0], "correct": True}],
}


def stores() -> Sequence[Case]:
    """A part of boxes, a store's description, and what failed."""
    return [Case("store", _write_store, _store)]


def _write_store(folder: Path) -> None:
    from wsdet.storage.box_store import BoxStore
    from wsdet.types import Boxes

    boxes = Boxes(np.array([[1, 2, 3, 4], [2, 2, 9, 9]], np.float32))
    for name, ids in (("parts", [str(n) for n in range(64)]), ("pending", ["1"])):
        store = BoxStore(folder / name, {"a": 1})
        store.fill(ids, lambda ids: [(image_id, boxes) for image_id in ids], "seed", fingerprint=lambda i: f"f{i}")
        (folder / name / "failed.json").write_text('{"7": "it is broken"}')


def _store(folder: Path) -> Callable[[], object]:
    from wsdet.storage.box_store import BoxStore

    def read() -> object:
        found = []
        for name in ("parts", "pending"):
            store = BoxStore(folder / name)
            found.append((store.failed, dict(store), BoxStore(folder / name, {"a": 1})))
        return found

    return read


def runs() -> Sequence[Case]:
    """The files that `compare`, `review`, `improve`, `detect` and a run that goes on read of a run's folder."""
    figures = {
        "metrics.json": json.dumps(_METRICS),
        "timings.json": '{"detect": {"seconds": 1.0, "forward_passes": 3}}',
        "finished.json": '{"depends_on": "x", "left": ["a"]}',
        "judged.json": json.dumps(_JUDGED),
        "settings.json": '{"data": {"root": "x", "n": [1, 2]}}',
    }
    return [
        Case("config", writer({"config.yaml": _CONFIG, "metrics.json": '{"map": 0.5}'}), _config),
        Case("figures", writer(figures | {"config.yaml": "seed: 1\n"}), _figures, lambda path: path.suffix == ".json"),
    ]


def _config(folder: Path) -> Callable[[], object]:
    from wsdet.cli.saved_parts import saved_network, saved_part, saved_positives
    from wsdet.cli.saved_run import saved_config
    from wsdet.stages.compare import compare, group_runs, read_runs

    return _each(
        lambda: saved_config(folder),
        lambda: saved_network(folder),
        lambda: saved_part(folder, "data"),
        lambda: saved_positives(folder),
        lambda: compare(group_runs({"run": read_runs(folder)})),
    )


def _figures(run: Path) -> Callable[[], object]:
    from wsdet.stages.compare import compare, group_runs, read_runs
    from wsdet.stages.improve import _maps
    from wsdet.storage.finished import is_finished
    from wsdet.storage.provenance import check_settings
    from wsdet.storage.timings import Timings

    return _each(
        lambda: Timings(run / "timings.json").column("seconds"),
        lambda: is_finished(run / "finished.json", {}),
        lambda: _maps(run / "metrics.json"),
        lambda: _judged(run / "judged.json"),
        lambda: check_settings(run, {"data": {"root": "y", "n": [1, 2]}}),
        lambda: compare(group_runs({"run": read_runs(run)})),
    )


def _each(*readers: Callable[[], object]) -> Callable[[], object]:
    """What all of them give, each of which may refuse its files."""

    def read() -> object:
        found = []
        for one in readers:
            with suppress(InputError):
                found.append(one())
        return found

    return read


def _judged(path: Path) -> object:
    """Judgments as the report and the page that goes on read them."""
    from wsdet.report.judgments import read_judged
    from wsdet.stages.review_page import judging_page
    from wsdet.types import Boxes, Sample

    class OneImage:
        classes = ("a", "b")

        def labels(self, image_id: str) -> tuple[int, ...]:
            return (0,)

        def load(self, image_id: str) -> Sample:
            return Sample(image_id, np.zeros((10, 20, 3), np.uint8))

    boxes = {"images/a.jpg": Boxes([[1, 1, 9, 9]])}
    judging_page(OneImage(), boxes, ["images/a.jpg"], 1, 0, path)  # type: ignore[arg-type]
    return read_judged(path)


def corrections() -> Sequence[Case]:
    """Exports of annotation tools for a run: a file, a folder, an archive; with or without the images."""
    exports = {case.name: case for case in layouts.cases()}
    kinds = ("label_studio", "label_studio_min", "cvat", "one_coco", "yolo_names", "voc_folder")
    found = [
        Case(f"from_{kind}", exports[kind].write, _corrections, lambda path: path.suffix != ".jpg") for kind in kinds
    ]
    archive = writer({"export.zip": _archive({"annotations.xml": layouts._CVAT, "a.jpg": picture()})})
    return [*found, Case("from_archive", archive, _corrections)]


def _archive(files: dict[str, str | bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, inner in files.items():
            archive.writestr(zipfile.ZipInfo(name), inner)
    return content.getvalue()


def _corrections(folder: Path) -> Callable[[], object]:
    from wsdet.data.folder import Folder
    from wsdet.stages.corrections import changes, read_corrections
    from wsdet.types import Boxes

    data = folder.parent / f"data_of_{folder.name}"
    writer({f"{label}/{name}.jpg": picture() for label, name in (("a", "a"), ("b", "b"))})(data)
    dataset, work = Folder(data), folder.parent / f"work_of_{folder.name}"
    ids = [*dataset.ids("train"), *dataset.ids("test")]

    def read() -> object:
        export = folder / "export.zip" if (folder / "export.zip").exists() else folder
        corrected = read_corrections(export, dataset, ids, work)
        return [changes(Boxes([[1, 1, 9, 9]]), boxes) for boxes in corrected.values()]

    return read
