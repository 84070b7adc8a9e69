"""The correction loop closed: pseudo-boxes, a project, corrections in every format, detectors trained again."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import SubElement

import numpy as np
import pytest
from defusedxml.ElementTree import parse

from tests import programs
from wsdet.cli.saved_run import saved_config
from wsdet.data.synthetic import Synthetic
from wsdet.stages.corrections import Changes, changes, corrections_of, keep_corrections, read_corrections
from wsdet.stages.export import export
from wsdet.stages.review import other_boxes, pick, write_project
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, InputError

SCENES = ("data.n_train=12", "data.n_test=6", "data.size=64", "network.input_size=64", "network.training.epochs=1")
SMALL = (
    *SCENES,
    "localizer=center_box",
    "detector.protocols.fast.rounds=1",
    "detector.train_on=[pseudo]",
    "workers=1",
    "verdict=0",
)


def program(name: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    return programs.run(name, *overrides, "device=cpu")


@pytest.fixture(scope="module")
def dataset() -> Synthetic:
    return Synthetic(n_train=12, n_test=6, size=64)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corrections") / "run"
    done = program("train", *SMALL, f"out={out}")
    assert done.returncode == 0, done.stderr
    return out


def made(xyxy: Sequence[Sequence[float]], scores: Sequence[float] = (), labels: Sequence[int] = ()) -> Boxes:
    ones = np.ones(len(xyxy), np.float32)
    return Boxes(
        np.array(xyxy, np.float32), np.array(scores, np.float32) if scores else ones, np.array(labels, np.int64)
    )


def corrected_by_hand(dataset: Synthetic, ids: Sequence[str]) -> dict[str, Boxes]:
    """Whole pixels, which every format keeps; the last image is found empty."""
    boxes = {
        image_id: made([[5 + n, 6, 40, 50 + n], [1, 2, 20, 30]], labels=[dataset.labels(image_id)[0], n % 9])
        for n, image_id in enumerate(ids)
    }
    return boxes | {ids[-1]: Boxes.empty()}


def answer(project: Path, dataset: Synthetic, boxes: dict[str, Boxes], folder: Path, format: str) -> Path:
    """What a tool would export after a person drew `boxes`: names as the tool gives them, without the images."""
    folder.mkdir()
    if format == "label_studio":
        tasks = json.loads((project / "tasks.json").read_text())
        for n, task in enumerate(tasks):
            task["data"]["image"] = f"/data/upload/1/{n:08x}-renamed.png"  # only our id is left
            if (drawn := boxes.get(task["data"]["image_id"])) is not None:
                task["annotations"] = [{"result": [region(one, dataset.classes) for one in drawn]}]
        (folder / "export.json").write_text(json.dumps(tasks))
        return folder / "export.json"
    if format == "cvat":
        tree = parse(project / "annotations.xml")
        root = tree.getroot()
        assert root is not None
        for meta in root.findall("meta"):
            root.remove(meta)
        for image in list(root.iter("image")):
            image_id = next((one for one in boxes if f"{one}.png" == image.get("name")), "")
            if not image_id:
                root.remove(image)
                continue
            for box in list(image):
                image.remove(box)
            for one in boxes[image_id]:
                corners = map(str, one.xyxy[0].tolist())
                named = dict(zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True))
                SubElement(image, "box", {"label": dataset.classes[one.labels[0]], **named})
        tree.write(folder / "annotations.xml")
        return folder / "annotations.xml"
    scored = {i: Boxes(one.xyxy, np.ones(len(one), np.float32), one.labels) for i, one in boxes.items()}
    export(dataset, {"train": list(boxes)}, scored, folder, format, "a person", {})
    return folder


def region(box: Boxes, classes: Sequence[str]) -> dict[str, Any]:
    x1, y1, x2, y2 = (100 * float(value) / 64 for value in box.xyxy[0])
    value = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1, "rotation": 0}
    return {"value": value | {"rectanglelabels": [classes[box.labels[0]]]}, "type": "rectanglelabels"}


def same(one: Boxes, other: Boxes) -> bool:
    if len(one) != len(other):
        return False
    order = [np.lexsort((*boxes.xyxy.round(2).T, boxes.labels)) for boxes in (one, other)]
    a, b = one[order[0]], other[order[1]]
    return bool(np.allclose(a.xyxy, b.xyxy, atol=1e-3) and (a.labels == b.labels).all())


@pytest.mark.parametrize("format", ["label_studio", "cvat", "coco", "yolo", "voc"])
def test_what_a_person_drew_comes_back(tmp_path: Path, dataset: Synthetic, format: str) -> None:
    ids = dataset.ids("train")
    boxes = corrected_by_hand(dataset, ids[2:6])
    shown = {image_id: made([[8, 8, 56, 56]], [0.5], [dataset.labels(image_id)[0]]) for image_id in ids}
    project = tmp_path / "project"
    store = BoxStore(tmp_path / "store", {"localizer": "x"})
    if format in ("label_studio", "cvat", "coco"):
        write_project(dataset, ids[:8], shown, store, tmp_path, project, format)
    exported = answer(project, dataset, boxes, tmp_path / "answer", format)
    found = read_corrections(exported, dataset, ids, tmp_path / "work")
    assert found.keys() == boxes.keys()
    assert all(same(found[image_id], boxes[image_id]) for image_id in boxes)


def test_a_zip_archive_is_unpacked(tmp_path: Path, dataset: Synthetic) -> None:
    boxes = corrected_by_hand(dataset, dataset.ids("train")[:3])
    folder = answer(tmp_path, dataset, boxes, tmp_path / "answer", "coco")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(folder / "annotations" / "instances_train.json", "annotations/instances_train.json")
        archive.writestr("../outside.txt", "x")
    found = read_corrections(tmp_path / "a.zip", dataset, dataset.ids("train"), tmp_path / "work")
    assert all(same(found[image_id], boxes[image_id]) for image_id in boxes)
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("at", [4, 8, 26, 40, -30])  # version, method, lengths, content, the directory's place
def test_a_damaged_archive_is_an_input_error_or_is_read(tmp_path: Path, dataset: Synthetic, at: int) -> None:
    folder = answer(tmp_path, dataset, corrected_by_hand(dataset, dataset.ids("train")[:3]), tmp_path / "a", "coco")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "annotations" / "instances_train.json", "annotations/instances_train.json")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for value in range(0, 256, 5):
        content[at] = value
        (tmp_path / "a.zip").write_bytes(content)
        with suppress(InputError):
            assert read_corrections(tmp_path / "a.zip", dataset, dataset.ids("train"), tmp_path / "work")


def test_a_later_correction_takes_the_place_of_the_earlier_one(
    tmp_path: Path, dataset: Synthetic, caplog: pytest.LogCaptureFixture
) -> None:
    store = corrections_of(tmp_path, dataset, {"root": "x"})
    with caplog.at_level("INFO"):
        for corner in (9, 19, 19):
            keep_corrections(store, {"1": made([[1, 1, corner, 9]], labels=[0])})
    assert corrections_of(tmp_path, dataset, {"root": "x"})["1"].xyxy.tolist() == [[1, 1, 19, 9]]
    assert caplog.text.count("1 images had been corrected before; the later boxes count") == 1
    assert "changed since" not in caplog.text  # the image has not


def test_a_class_that_the_run_does_not_know_is_named(tmp_path: Path, dataset: Synthetic) -> None:
    folder = answer(tmp_path, dataset, corrected_by_hand(dataset, dataset.ids("train")[:3]), tmp_path / "a", "coco")
    path = folder / "annotations" / "instances_train.json"
    path.write_text(path.read_text().replace(f'"{dataset.classes[0]}"', '"unicorn"'))
    with pytest.raises(InputError, match="unicorn"):
        read_corrections(folder, dataset, dataset.ids("train"), tmp_path / "work")


def test_corrections_of_other_images_are_refused(tmp_path: Path, dataset: Synthetic) -> None:
    folder = answer(tmp_path, dataset, corrected_by_hand(dataset, dataset.ids("train")[:3]), tmp_path / "a", "coco")
    shutil.rmtree(folder / "images", ignore_errors=True)
    with pytest.raises(InputError):
        read_corrections(folder, dataset, dataset.ids("test"), tmp_path / "work")


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(made([[10, 10, 20, 20]], labels=[0]), Changes(unchanged=1), id="the same"),
        pytest.param(made([[10.4, 10, 20, 19.6]], labels=[0]), Changes(unchanged=1), id="rounded"),
        pytest.param(made([[12, 10, 25, 20]], labels=[0]), Changes(moved=1), id="moved"),
        pytest.param(made([[10, 10, 20, 20]], labels=[1]), Changes(relabeled=1), id="relabeled"),
        pytest.param(made([[50, 50, 60, 60]], labels=[0]), Changes(added=1, deleted=1), id="elsewhere"),
        pytest.param(Boxes.empty(), Changes(deleted=1), id="deleted"),
        pytest.param(
            made([[10, 10, 20, 20], [11, 10, 22, 20]], labels=[0, 0]), Changes(unchanged=1, added=1), id="a second"
        ),
    ],
)
def test_how_boxes_were_corrected(after: Boxes, expected: Changes) -> None:
    assert changes(made([[10, 10, 20, 20]], labels=[0]), after) == expected


def test_the_least_confident_images_come_first_and_every_class_has_its_turn(dataset: Synthetic) -> None:
    ids = dataset.ids("train")
    scores = dict(zip(ids, np.linspace(0.1, 0.9, len(ids)), strict=True))
    boxes = {
        i: made([[0, 0, 9, 9]] * len(dataset.labels(i)), [scores[i]] * len(dataset.labels(i)), dataset.labels(i))
        for i in ids
    }
    first = pick(dataset, boxes, boxes, 4)
    assert first[0] == next(i for i in ids if 0 in dataset.labels(i))  # the lowest score of the first class
    together = [label for image_id in first for label in dataset.labels(image_id)]
    assert max(map(together.count, together)) <= 2
    missed = ids[-1]
    assert missed in pick(dataset, boxes, boxes | {missed: Boxes.empty()}, 9)[: len(dataset.classes)]
    assert sorted(pick(dataset, boxes, boxes, 100)) == sorted(ids)
    assert pick(dataset, boxes, boxes, 5, "random", 1) == pick(dataset, boxes, boxes, 5, "random", 1)
    assert pick(dataset, boxes, boxes, 5, "random", 1) != pick(dataset, boxes, boxes, 5, "random", 2)


def test_disagreement_takes_what_another_method_boxes_elsewhere(dataset: Synthetic) -> None:
    ids = dataset.ids("train")
    boxes = {i: made([[0, 0, 9, 9]], [0.9], [3]) for i in ids if 3 in dataset.labels(i)}
    first, *_, last = boxes
    other = boxes | {last: made([[40, 40, 60, 60]], [0.9], [3])}
    assert first != last
    assert pick(dataset, boxes, boxes, 1, "uncertain") == [first]
    assert pick(dataset, boxes, boxes, 1, "disagreement", others=[other]) == [last]
    with pytest.raises(InputError, match=r"compare_with=\[RUN2\]"):
        pick(dataset, boxes, boxes, 1, "disagreement")


def test_boxes_to_compare_with_are_those_of_runs_and_of_self_training(tmp_path: Path) -> None:
    assert other_boxes(tmp_path, []) == []
    for place in (tmp_path / "rounds" / "1" / "boxes", tmp_path / "other" / "localization" / "cam"):
        store = BoxStore(place, {"made_by": place.name})
        store.fill(["a"], lambda ids: ((image_id, made([[0, 0, 9, 9]], [0.5], [0])) for image_id in ids), "boxes")
    found = other_boxes(tmp_path, [str(tmp_path / "other")])
    assert [one.settings["made_by"] for one in found] == ["cam", "boxes"]


@pytest.mark.slow
def test_the_loop_closed(tmp_path: Path, run: Path, dataset: Synthetic) -> None:
    project = tmp_path / "project"
    done = program("review", f"run={run}", "budget=5", "format=label_studio", f"out={project}")
    assert done.returncode == 0, done.stderr
    tasks = json.loads((project / "tasks.json").read_text())
    ids = [task["data"]["image_id"] for task in tasks]
    assert len(ids) == 5
    assert all((project / "images" / f"{image_id}.png").is_file() for image_id in ids)
    assert "wsdet.improve" in (project / "IMPORT.txt").read_text()

    boxes = corrected_by_hand(dataset, ids[:4])
    exported = answer(project, dataset, boxes, tmp_path / "answer", "label_studio")
    out = tmp_path / "improved"
    taken = (f"run={run}", f"corrections={exported}", "train_on=[corrected,corrected_alone,pseudo]", f"out={out}")
    done = program("improve", *taken, "seed=3", "workers=1")
    assert done.returncode == 0, done.stderr
    assert "seed=3: not taken" in done.stdout + done.stderr
    assert "workers=1" not in done.stdout + done.stderr
    assert "4 images corrected, 0 of them verified unchanged" in done.stdout + done.stderr
    kept = BoxStore(run / "corrections")
    assert set(kept) == set(boxes)
    assert all(same(kept[image_id], boxes[image_id]) for image_id in boxes)
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["detectors"]) == {"corrected", "corrected_alone", "pseudo"}
    assert 0 <= metrics["detectors"]["corrected"]["map"] <= 1
    assert not (out / "localization").exists()  # those of the run
    before = json.loads((run / "metrics.json").read_text())["detectors"]["pseudo"]["map"]
    expected = [[0, before], [4, metrics["detectors"]["corrected"]["map"]]]
    assert metrics["corrections"]["curve"] == expected
    assert json.loads((run / "improved.json").read_text()) == {"curve": expected}
    assert metrics["corrections"]["images"] == metrics["corrections"]["changes"]["images"] == 4
    assert "What corrections brought" in (out / "report" / "index.html").read_text()

    done = program("review", f"run={run}", "budget=20", "format=cvat", f"out={tmp_path / 'second'}")
    assert done.returncode == 0, done.stderr
    names = [image.get("name") for image in parse(tmp_path / "second" / "annotations.xml").iter("image")]
    assert len(names) == 8
    assert not {f"{image_id}.png" for image_id in boxes} & set(names)


def test_an_untrusted_run_builds_nothing_that_is_not_ours(tmp_path: Path) -> None:
    config = "data: {_target_: %s}\nnetwork: {}\nlocalizer: {}\nnames: {}\nlimit: 0\nseed: 0\n"
    (tmp_path / "config.yaml").write_text(config % "os.system")
    with pytest.raises(InputError, match=r"os\.system"):
        saved_config(tmp_path)
    assert saved_config(tmp_path, trust=True).data["_target_"] == "os.system"
    (tmp_path / "config.yaml").write_text(config % "wsdet.data.synthetic.Synthetic" + "out: ${oc.env:HOME}\n")
    with pytest.raises(InputError, match="interpolation"):
        saved_config(tmp_path)
    for hydra_s_own in ("_args_: [1]", "_args_: [{a: 1}]", "_recursive_: true", "_convert_: {a: {}}"):
        (tmp_path / "config.yaml").write_text(config % f"wsdet.data.synthetic.Synthetic, {hydra_s_own}")
        with pytest.raises(InputError, match=f"the key {hydra_s_own.partition(':')[0]}, which no run"):
            saved_config(tmp_path)
    with pytest.raises(InputError, match=r"no config\.yaml"):
        saved_config(tmp_path / "nowhere")
