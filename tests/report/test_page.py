"""The page shows what was measured, stays text where names are hostile, and asks nobody for anything."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from wsdet.report.page import write_report
from wsdet.stages.evaluate import evaluate_detections, evaluate_instances, evaluate_localization, evaluate_proposals
from wsdet.types import Boxes, Dataset, Sample

if TYPE_CHECKING:
    from tests.report.conftest import Browser

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'"
_DATA = re.compile(r'<script type="application/json" id="gallery-data">(.*?)</script>', re.DOTALL)


def measured(dataset: Dataset) -> dict[str, Any]:
    """What `metrics.json` holds of a run whose boxes are the truth."""
    train, test, truth = dataset.ids("train"), dataset.ids("test"), dataset.truth
    found = evaluate_detections(truth, dataset, test, resamples=10)
    return {
        "localization": {"stl": evaluate_localization(truth, dataset, train, resamples=10)},
        "instances": {"stl": evaluate_instances(truth, dataset, train)},
        "detectors": {"pseudo": found, "ground_truth": found},
        "proposals": {"grid": evaluate_proposals(truth, dataset, test)},
        "ratio_pseudo_to_ground_truth": 1.0,
        "ratio_interval": [0.9, 1.1],
        "seconds": {"localize/stl": 2.0, "propose": 1.0},
        "forward_passes": {"stl": 1234},
        "images": {"train": len(train), "test": len(test)},
    }


def written(out: Path, dataset: Dataset, metrics: dict[str, Any], **changed: Any) -> str:
    boxes = dataset.truth
    of_test = {image_id: boxes[image_id] for image_id in dataset.ids("test") if image_id in boxes}
    arguments: dict[str, Any] = {
        "title": "a run",
        "config": "seed: 0",
        "train_ids": dataset.ids("train"),
        "test_ids": dataset.ids("test"),
        "localized": {"stl": boxes},
        "detections": {"pseudo": of_test, "ground_truth": of_test},
    }
    path = write_report(out, dataset, metrics, **(arguments | changed))
    assert path == out / "report" / "index.html"
    return path.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found = _DATA.findall(page)
    assert len(found) == 1
    return dict(json.loads(found[0]))


def test_the_page_shows_the_run(tmp_path: Path, tiny_dataset: Dataset) -> None:
    page = written(tmp_path, tiny_dataset, measured(tiny_dataset))
    for text in (
        "100%",
        "95 %: 90% to 110%",
        "CorLoc",
        "1,234",
        "seed: 0",
        "Why boxes of stl fail",
        "Why detections fail",
    ):
        assert text in page
    data = data_of(page)
    assert data["classes"] == list(tiny_dataset.classes)
    assert [image["id"] for image in data["images"]] == [*tiny_dataset.ids("train"), *tiny_dataset.ids("test")]
    first = data["images"][0]
    assert first["boxes"]["train/stl"][0][6:] == ["correct", 1.0]
    assert {row[6] for image in data["images"] for row in image["boxes"].get("pseudo", [])} == {"correct"}


def test_nothing_is_asked_of_anyone(tmp_path: Path, tiny_dataset: Dataset) -> None:
    page = written(tmp_path, tiny_dataset, measured(tiny_dataset))
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    assert "default-src 'none'" in unescape(page)
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)


def written_with_hostile_names(tmp_path: Path, tiny_dataset: Any) -> str:
    """A page on which everything that can have a name has a hostile one."""
    ids = {image_id: f"{image_id}{HOSTILE}" for image_id in tiny_dataset.samples}
    hostile = replace(
        tiny_dataset,
        classes=(HOSTILE, "b<b>", "c"),
        samples={ids[i]: Sample(ids[i], one.pixels, one.labels) for i, one in tiny_dataset.samples.items()},
        truth={ids[i]: boxes for i, boxes in tiny_dataset.truth.items()},
    )
    metrics = measured(hostile)
    metrics["localization"][HOSTILE] = metrics["localization"]["stl"]
    metrics["seconds"][HOSTILE] = 1.0
    metrics["proposals"][HOSTILE] = metrics["proposals"]["grid"]
    localized = {HOSTILE: hostile.truth}
    return written(tmp_path, hostile, metrics, title=HOSTILE, config=HOSTILE, localized=localized)


def test_hostile_names_stay_text(tmp_path: Path, tiny_dataset: Any) -> None:
    page = written_with_hostile_names(tmp_path, tiny_dataset)
    assert "<img" not in page
    assert "<b>c" not in page
    assert page.count("<script") == page.count("</script>") == 2
    assert data_of(page)["classes"][0] == HOSTILE


def test_without_truth_it_shows_scores_and_coverage(tmp_path: Path, tiny_dataset: Any) -> None:
    boxes = {
        i: Boxes(b.xyxy, np.linspace(0.2, 0.9, len(b), dtype=np.float32), b.labels)
        for i, b in tiny_dataset.truth.items()
    }
    bare = replace(tiny_dataset, truth={})
    metrics = {"seconds": {"propose": 1.0}, "images": {"train": 6, "test": 6}}
    page = written(tmp_path, bare, metrics, localized={"stl": boxes}, detections={"pseudo": boxes})
    assert "The data has no ground-truth boxes" in page
    assert "Share of the image inside the first box" in page
    assert "Score of the first box" in page
    assert "CorLoc" not in page
    assert data_of(page)["images"][0]["truth"] == []
    assert "<label hidden>IoU from" in page
    assert '<p class="hint" hidden>' in page  # colors that tell right from wrong


def test_without_truth_the_lowest_confidence_come_first(tmp_path: Path, tiny_dataset: Any) -> None:
    def box(label: int, score: float) -> Boxes:
        return Boxes(np.array([[2, 2, 22, 12]], np.float32), np.array([score]), np.array([label]))

    bare = replace(tiny_dataset, truth={})
    # images 0 and 3, 4 have labels 0; 1, 3 and 2, 4 the others; 5 has none. Class 1 scores ten times higher
    boxes = {
        "train_0": box(0, 0.3),
        "train_1": box(1, 5),
        "train_2": Boxes.empty(),
        "train_3": box(1, 3),
        "train_4": Boxes.concatenate([box(0, 0.1), box(2, 0.2)]),
        "train_5": box(-1, 0.5),
    }
    page = written(tmp_path, bare, {}, localized={"stl": boxes}, detections={}, test_ids=())
    data = data_of(page)
    assert data["views"][0] == ["low_confidence", "the 6 of lowest confidence, lowest first"]
    assert [image["id"] for image in data["images"] if "low_confidence" in image["boxes"]] == [
        "train_2", "train_3", "train_4", "train_5", "train_0", "train_1",
    ]  # fmt: skip
    assert "83%" in page
    assert "of the images have a box" in page
    assert "<tr><td>disc</td><td>2</td><td>1</td><td>0.200</td></tr>" in page
    assert "<tr><td>no label</td><td>1</td><td>1</td><td>0.500</td></tr>" in page
    assert "Longer side of the first box" in page


@pytest.mark.parametrize(
    "boxes", [{}, {"train_0": Boxes.empty(), "test_0": Boxes.empty()}], ids=["no images", "no boxes"]
)
def test_empty_stores(tmp_path: Path, tiny_dataset: Dataset, boxes: dict[str, Boxes]) -> None:
    train, test = tiny_dataset.ids("train"), tiny_dataset.ids("test")
    metrics = {
        "localization": {"stl": evaluate_localization(boxes, tiny_dataset, train)},
        "detectors": {"pseudo": evaluate_detections(boxes, tiny_dataset, test)},
        "proposals": {"grid": evaluate_proposals(boxes, tiny_dataset, test)},
    }
    page = written(tmp_path, tiny_dataset, metrics, localized={"stl": boxes}, detections={"pseudo": boxes})
    assert len(data_of(page)["images"]) == 12
    assert written(tmp_path, tiny_dataset, {}, train_ids=(), test_ids=(), localized={}, detections={})


def test_an_image_that_cannot_be_read_is_left_out(tmp_path: Path, tiny_dataset: Any) -> None:
    from wsdet.types import InputError

    class Broken(type(tiny_dataset)):  # type: ignore[misc]
        def load(self, image_id: str) -> Sample:
            if image_id == "train_1":
                raise InputError("no image")
            return super().load(image_id)

    broken = Broken(samples=tiny_dataset.samples, truth=tiny_dataset.truth)
    assert len(data_of(written(tmp_path, broken, measured(tiny_dataset)))["images"]) == 11


def test_the_size_is_bounded(tmp_path: Path, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = measured(tiny_dataset)
    assert len(data_of(written(tmp_path, tiny_dataset, metrics, max_images=4))["images"]) == 4
    monkeypatch.setattr("wsdet.report.gallery._MOST_BYTES", 6000)
    images = data_of(written(tmp_path, tiny_dataset, metrics))["images"]
    assert 0 < len(images) < 12
    assert sum(len(image["jpeg"]) for image in images) <= 6000


def test_precision_and_recall_are_drawn_for_every_detector(tmp_path: Path, tiny_dataset: Dataset) -> None:
    page = written(tmp_path, tiny_dataset, measured(tiny_dataset))
    section = page[page.index('<h2 id="curves">') : page.index('<h2 id="why-detections">')]
    assert section.count("<svg") == len(tiny_dataset.classes)
    assert section.count("<polyline") == 2 * len(tiny_dataset.classes)
    assert section.count('class="key') == 2  # one legend for all


# --- in a real browser


def chosen(browser: Browser, **filters: str) -> tuple[str, int]:
    """(what the gallery says, how many figures it shows) after filters are set."""
    for name, value in filters.items():
        event = "change" if name == "view" else "input"
        field = f"document.getElementById('filter-{name}')"
        browser.run(f"{field}.value = {json.dumps(value)}; {field}.dispatchEvent(new Event('{event}'))")
    said = browser.run("document.getElementById('count').textContent")
    return said, browser.run("document.querySelectorAll('#images figure').length")


@pytest.mark.parametrize(("width", "dark"), [(390, True), (390, False), (1280, True), (1280, False)])
def test_a_browser_shows_it_without_complaint(
    browser: Browser, tmp_path: Path, tiny_dataset: Dataset, width: int, dark: bool
) -> None:
    written(tmp_path, tiny_dataset, measured(tiny_dataset))
    browser.open(tmp_path / "report" / "index.html", width, dark)
    assert chosen(browser) == ("6 images", 6)
    assert browser.run("document.documentElement.scrollWidth") == width
    red, *_ = json.loads(browser.run("getComputedStyle(document.body).backgroundColor.replace(/rgb.(.*)./, '[$1]')"))
    assert (red < 60) == dark
    assert browser.requests == []
    assert browser.complaints == []


def test_filters_choose_images(browser: Browser, tmp_path: Path, tiny_dataset: Any) -> None:
    shifted = {
        image_id: Boxes(boxes.xyxy + np.float32(image_id.endswith("0")) * 30, boxes.scores, boxes.labels)
        for image_id, boxes in tiny_dataset.truth.items()
    }
    written(tmp_path, tiny_dataset, measured(tiny_dataset), localized={"stl": shifted, "other": tiny_dataset.truth})
    browser.open(tmp_path / "report" / "index.html")
    assert chosen(browser)[0] == "6 images"
    assert chosen(browser, **{"class": "0"}) == ("2 images", 2)  # images 0 and 4 are of class 0
    assert chosen(browser, low="0.5") == ("1 image", 1)
    assert browser.run("document.querySelector('#images figcaption').textContent").startswith("train_4")
    assert chosen(browser, low="", high="0.5") == ("1 image", 1)
    assert chosen(browser, **{"class": "", "high": "", "kind": "correct"})[0] == "4 images"
    assert chosen(browser, kind="", view="train/other") == ("6 images", 6)
    assert chosen(browser, high="0.5") == ("0 images", 0)
    assert chosen(browser, high="", view="pseudo", kind="correct") == ("5 images", 5)  # one image has no object
    n_correct = browser.run("document.querySelectorAll('#images .frame i.good').length")
    assert n_correct == sum(len(tiny_dataset.truth[image_id]) for image_id in tiny_dataset.ids("test"))
    assert browser.complaints == []


def test_hostile_names_do_nothing_in_a_browser(browser: Browser, tmp_path: Path, tiny_dataset: Any) -> None:
    written_with_hostile_names(tmp_path, tiny_dataset)
    browser.open(tmp_path / "report" / "index.html")
    assert browser.run("document.title") == HOSTILE
    assert browser.run("document.querySelector('#filter-class option:nth-child(2)').textContent") == HOSTILE
    assert HOSTILE in browser.run("document.querySelector('#images figcaption').textContent")
    assert browser.run("document.querySelectorAll('img:not(.frame img)').length") == 0
    assert chosen(browser, **{"class": "0"})[1] > 0
    assert browser.requests == []
    assert browser.complaints == []


@pytest.mark.slow
def test_many_images_come_as_they_are_looked_at(browser: Browser, tmp_path: Path, tiny_dataset: Any) -> None:
    samples = {f"train_{n}": Sample(f"train_{n}", tiny_dataset.samples["train_0"].pixels, (0,)) for n in range(1000)}
    many = replace(tiny_dataset, samples=samples, truth=dict.fromkeys(samples, tiny_dataset.truth["train_0"]))
    metrics = {"images": {"train": 1000, "test": 0}}
    written(tmp_path, many, metrics, localized={"stl": many.truth}, detections={}, test_ids=(), max_images=2000)
    assert (tmp_path / "report" / "index.html").stat().st_size < 30e6
    browser.open(tmp_path / "report" / "index.html")
    said, shown = chosen(browser)
    assert said == "1000 images"
    assert 0 < shown < 300
    assert browser.run("[...document.images].every((one) => one.loading === 'lazy')")
    browser.run(
        "new Promise((done) => { const step = () => { document.getElementById('more').scrollIntoView();"
        "document.querySelectorAll('#images figure').length === 1000 ? done() : setTimeout(step, 20) }; step() })"
    )
    assert chosen(browser) == ("1000 images", 1000)
    assert browser.complaints == []
