"""The review page in a real browser: boxes corrected and judged, saved at once; and nothing sent elsewhere."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pytest

from wsdet.data.synthetic import Synthetic
from wsdet.report.judgments import judged
from wsdet.report.page import write_report
from wsdet.report.review_server import Page, ReviewServer
from wsdet.stages.review_page import correction_page, judging_page, refresh_report
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, InputError

if TYPE_CHECKING:
    from tests.report.conftest import Browser

SHOWN = [10, 12, 40, 44]


@pytest.fixture(scope="module")
def dataset() -> Synthetic:
    return Synthetic(n_train=6, n_test=1, size=64)


@pytest.fixture
def boxes(dataset: Synthetic) -> dict[str, Boxes]:
    shown, score = np.array([SHOWN], np.float32), np.ones(1, np.float32)
    return {i: Boxes(shown, score, np.array(dataset.labels(i)[:1])) for i in dataset.ids("train")}


@pytest.fixture
def kept(tmp_path: Path) -> BoxStore:
    return BoxStore(tmp_path / "corrections", {"made_by": "people"})


@pytest.fixture
def server(dataset: Synthetic, boxes: Mapping[str, Boxes], kept: BoxStore) -> Iterator[ReviewServer]:
    one = ReviewServer(correction_page(dataset, dataset.ids("train")[:3], boxes, kept))
    yield one
    one.close()


def ask(server: ReviewServer, path: str, method: str = "GET", body: object = None, **headers: str) -> tuple[int, bytes]:
    place = urlsplit(server.address)
    connection = http.client.HTTPConnection(place.netloc, timeout=30)
    given = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, path, None if body is None else json.dumps(body), given)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_nothing_is_told_without_the_token_or_under_another_name(server: ReviewServer) -> None:
    own = urlsplit(server.address).path
    assert ask(server, own)[0] == 200
    assert ask(server, f"{own}data.json")[0] == 200
    for path in ("/", "/data.json", f"/{'x' * 32}/", f"{own}../", f"{own}../../etc/passwd", f"{own}image/../review.js"):
        assert ask(server, path) == (404, b"")
    assert ask(server, own, Host="evil.example")[0] == 404
    assert server.address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"number": 99, "boxes": []}, id="no such image"),
        pytest.param({"number": True, "boxes": []}, id="a number that is none"),
        pytest.param({"number": 0, "boxes": [[0, 0, 9, 9, 77]]}, id="no such class"),
        pytest.param({"number": 0, "boxes": [[9, 9, 0, 0, 0]]}, id="inside out"),
        pytest.param({"number": 0, "boxes": [[0, 0, float("nan"), 9, 0]]}, id="not a number"),
        pytest.param({"number": 0, "boxes": "all"}, id="text"),
        pytest.param({"number": 0}, id="nothing"),
        pytest.param([], id="a list"),
    ],
)
def test_an_impossible_answer_changes_nothing(server: ReviewServer, kept: BoxStore, body: object) -> None:
    assert ask(server, f"{urlsplit(server.address).path}answer", "POST", body)[0] == 400
    assert len(kept) == 0


def test_wilson_s_interval_of_known_counts() -> None:
    result = judged([True] * 8 + [False] * 2)
    assert result["corloc"] == 0.8
    assert result["corloc_interval"] == pytest.approx([0.4902, 0.9433], abs=1e-4)  # Newcombe 1998, method 3
    assert judged([True] * 30)["corloc_interval"] == pytest.approx([0.8865, 1.0], abs=1e-4)


def test_judgments_are_kept_and_found_again(tmp_path: Path, dataset: Synthetic, boxes: dict[str, Boxes]) -> None:
    path = tmp_path / "judged.json"

    def page(seed: int = 0) -> Page:
        return judging_page(dataset, boxes, dataset.ids("train"), 4, seed, path)

    first = page()
    assert len(first.entries) == 4
    assert first.answer(2, True) == ""
    assert page().done == {2}
    again = page()
    assert [again.answer(n, n != 3) for n in (0, 1)] == ["", ""]
    assert again.answer(3, False).startswith("3 of 4 boxes are correct: CorLoc 0.75")
    assert json.loads(path.read_text())["corloc"] == 0.75


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"judged": 1}',
        '{"answers": []}',
        '{"answers": [1]}',
        '{"answers": [{"box": 1, "correct": true}]}',
    ],
)
def test_damaged_judgments_are_named(tmp_path: Path, dataset: Synthetic, boxes: dict[str, Boxes], content: str) -> None:
    path = tmp_path / "judged.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"judged\.json"):
        judging_page(dataset, boxes, dataset.ids("train"), 4, 0, path)
    with pytest.raises(InputError, match=r"judged\.json"):
        write_report(tmp_path, dataset, {}, "title", "seed: 0", dataset.ids("train"), (), {"center": boxes}, {})


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def press(browser: Browser, key: str, shift: bool = False) -> None:
    for kind in ("keyDown", "keyUp"):
        browser.send("Input.dispatchKeyEvent", type=kind, key=key, modifiers=8 if shift else 0)


def drag(browser: Browser, start: list[float], end: list[float]) -> None:
    """From one place of the image to another, in pixels of the image."""
    place = (
        "(([x, y]) => { const p = new DOMPoint(x, y).matrixTransform(document.getElementById('boxes').getScreenCTM());"
        " return [p.x, p.y]; })"
    )
    for kind, where in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
        x, y = browser.run(f"{place}({where})")
        browser.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


def test_boxes_are_corrected_with_keyboard_and_mouse_and_saved_at_once(
    browser: Browser, server: ReviewServer, dataset: Synthetic, kept: BoxStore
) -> None:
    def saved() -> bool:
        """The server has answered: before, it may be in the midst of writing."""
        return bool(browser.run("document.getElementById('state').textContent") == "saved")

    ids = dataset.ids("train")
    browser.open_address(server.address)
    until(lambda: browser.run("document.querySelectorAll('#boxes .box').length") == 1)

    press(browser, "ArrowRight")  # moved by a pixel
    until(saved)
    assert kept[ids[0]].xyxy.tolist() == [[11, 12, 41, 44]]
    press(browser, "ArrowDown", shift=True)
    press(browser, "3")
    until(saved)
    assert kept[ids[0]].labels.tolist() == [2]
    assert kept[ids[0]].xyxy.tolist() == [[11, 12, 41, 45]]
    drag(browser, [45.0, 48.0], [60.0, 62.0])  # a second box
    until(saved)
    assert len(kept[ids[0]]) == 2
    assert np.allclose(kept[ids[0]].xyxy[1], [45, 48, 60, 62], atol=0.5)
    drag(browser, [60.0, 62.0], [56.0, 58.0])  # its corner
    until(saved)
    assert np.allclose(kept[ids[0]].xyxy[1], [45, 48, 56, 58], atol=0.5)
    press(browser, "Delete")
    until(saved)
    assert len(kept[ids[0]]) == 1

    press(browser, "Enter")
    until(lambda: browser.run("document.getElementById('name').textContent") == ids[1])
    press(browser, "Enter")  # right as it is
    until(saved)
    assert kept[ids[1]].xyxy.tolist() == [SHOWN]
    assert ids[2] not in kept
    own = [one for one in browser.requests if not one.startswith(server.address)]
    assert own == []
    assert browser.complaints == []


def test_boxes_are_judged_with_one_key_each(
    tmp_path: Path, browser: Browser, dataset: Synthetic, boxes: dict[str, Boxes]
) -> None:
    path = tmp_path / "judged.json"
    server = ReviewServer(judging_page(dataset, boxes, dataset.ids("train"), 3, 0, path))
    browser.open_address(server.address)
    until(lambda: browser.run("document.querySelectorAll('#boxes .box').length") == 1)
    for key in "yny":
        press(browser, key)
    until(lambda: "2 of 3 boxes are correct" in browser.run("document.getElementById('said').textContent"))
    browser.run("document.getElementById('end').click()")
    server.wait()
    assert json.loads(path.read_text())["correct"] == 2
    assert browser.complaints == []


def test_judgments_go_into_the_report(tmp_path: Path, dataset: Synthetic, boxes: dict[str, Boxes]) -> None:
    store, ids = BoxStore(tmp_path / "localization" / "center", {"localizer": "center"}), dataset.ids("train")
    store.fill(ids, lambda missing: ((image_id, boxes[image_id]) for image_id in missing), "boxes")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("earlier")
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "metrics.json").write_text('{"images": {"train": 6}}')
    page = judging_page(dataset, boxes, ids, 5, 0, tmp_path / "judged.json")
    for number in range(5):
        page.answer(number, number > 0)
    refresh_report(tmp_path, store, dataset, {"train": ids, "test": ()}, "title")
    written = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "4 of 5 randomly sampled boxes are correct" in written
    assert "CorLoc as a person judged it" in written
