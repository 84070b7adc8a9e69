"""What earlier runs have cost, and what follows from it for the next."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from wsdet.stages import costs
from wsdet.stages.costs import REST, Kind, forecast, keep
from wsdet.stages.plan import Stage

SHIPPED = costs._SHIPPED
PARTS = {"data": "voc", "network": "tiny", "localizer": "cam", "proposals": "fast", "detector": "RcnnSvm"}
KIND = Kind("train", PARTS, "0123", 30)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSDET_CACHE", str(tmp_path))
    monkeypatch.setattr(costs, "_SHIPPED", tmp_path / "shipped.json")


def one(stage: str) -> int:
    return 1


def ran(n_train: int, n_test: int, kind: Kind = KIND, factor: float = 1.0) -> None:
    """A run whose stages take 2 s, and 0.1 s and 1 MB for each image that they go over."""
    seconds = {"propose": n_train + n_test, "localize/cam": n_train, "detect": n_test}
    stages = [Stage(name, factor * (2 + 0.1 * n), 1e6 * (100 + n)) for name, n in seconds.items()]
    keep(kind, (n_train, n_test), [*stages, Stage(REST, 5, 1e8)], one)


def test_where_nothing_was_measured_nothing_is_said() -> None:
    assert forecast(KIND, (10, 5), one) is None


def test_of_one_run_all_comes_with_the_images_but_the_rest_and_memory() -> None:
    ran(100, 50)
    found = forecast(KIND, (200, 100), one)
    assert found is not None
    stages = {stage.name: stage for stage in found[0].stages}
    assert stages["propose"].seconds == pytest.approx(2 * 17)
    assert stages["detect"].seconds == pytest.approx(2 * 7)
    assert stages["localize/cam"].peak_bytes == pytest.approx(2e8)
    assert stages[REST].seconds == 5
    assert found[1] == "by earlier runs of these settings here, on 150 images"


def test_of_two_runs_it_is_the_line_through_both() -> None:
    ran(100, 50)
    ran(20, 10)
    found = forecast(KIND, (1000, 500), one)
    assert found is not None
    stages = {stage.name: stage for stage in found[0].stages}
    assert stages["propose"].seconds == pytest.approx(152, rel=1e-3)
    assert stages["localize/cam"].seconds == pytest.approx(102, rel=1e-3)
    assert stages["localize/cam"].peak_bytes == pytest.approx(1.1e9, rel=1e-3)


def test_a_run_of_the_same_size_replaces_the_one_before() -> None:
    ran(100, 50, factor=3)
    ran(100, 50)
    found = forecast(KIND, (100, 50), one)
    assert found is not None
    assert found[0].seconds_expected == pytest.approx(17 + 12 + 7 + 5)


def test_workers_divide_what_comes_with_images() -> None:
    ran(100, 50)
    ran(20, 10)
    found = forecast(KIND, (1000, 500), lambda stage: 10 if stage == "propose" else 1)
    assert found is not None
    assert found[0].stages[0].seconds == pytest.approx(2 + 15, rel=1e-3)


def test_other_settings_are_named_and_another_localizer_says_nothing() -> None:
    ran(100, 50, replace(KIND, settings="4567", parts={**PARTS, "network": "vgg16"}))
    found = forecast(KIND, (100, 50), one)
    assert found is not None
    assert found[1] == "roughly, by runs with network=vgg16 on this machine, on 150 images"
    assert forecast(replace(KIND, parts={**PARTS, "localizer": "dam"}), (100, 50), one) is None


def test_a_smaller_program_is_told_by_experiments() -> None:
    ran(100, 50)
    kind = Kind("localize", {"data": "voc", "network": "tiny", "localizer": "cam"}, "89ab")
    found = forecast(kind, (100, 50), one)
    assert found is not None
    assert {stage.name: round(stage.seconds) for stage in found[0].stages} == {"propose": 17, "localize/cam": 18}
    assert "wsdet.train" in found[1]


def test_of_small_scenes_nothing_is_told_for_photos() -> None:
    ran(100, 50, replace(KIND, parts={**PARTS, "data": "synthetic"}))
    assert forecast(Kind("detect", {"data": "images"}, "89ab"), (0, 50), one) is None
    assert forecast(Kind("evaluate", {"data": "synthetic"}, "89ab"), (0, 50), one) is not None


def test_what_comes_with_the_package_is_used_until_there_is_better(tmp_path: Path) -> None:
    ran(100, 50, factor=2)
    content = json.loads((tmp_path / "costs.json").read_text())
    (tmp_path / "costs.json").unlink()
    for run in content["runs"]:
        run["place"] = "an old computer"
    (tmp_path / "shipped.json").write_text(json.dumps(content))
    found = forecast(KIND, (100, 50), one)
    assert found is not None
    assert found[0].seconds_expected == pytest.approx(2 * 36 + 5)
    assert "on an old computer" in found[1]
    ran(100, 50)
    found = forecast(KIND, (100, 50), one)
    assert found is not None
    assert found[0].seconds_expected == pytest.approx(36 + 5)


@pytest.mark.parametrize("parts", [{"data": "synthetic", "network": "tiny"}, {"data": "auto", "network": "vgg16"}])
def test_the_package_brings_costs_of_its_defaults(parts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_SHIPPED", SHIPPED)
    kind = Kind("localize", {**parts, "localizer": "wsddn"}, "89ab")
    few, many = (forecast(kind, (n, 0), one) for n in (100, 10_000))
    assert few is not None
    assert many is not None
    assert 1 < few[0].seconds_expected < many[0].seconds_expected
    assert many[1].startswith("roughly, by runs with wsdet.train")


@pytest.mark.parametrize("content", ["", "[]", '{"runs": [1]}', '{"runs": [{"kind": {}, "images": [1, 2]}]}'])
def test_a_damaged_file_counts_as_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text(content)
    assert forecast(KIND, (100, 50), one) is None
    ran(100, 50)
    assert forecast(KIND, (100, 50), one) is not None


def test_the_file_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_MOST", 5)
    for n in range(1, 6):
        ran(n, n)
    assert len(json.loads((tmp_path / "costs.json").read_text())["runs"]) == 3  # of equal settings
    for n in range(1, 9):
        ran(n, n, replace(KIND, settings=str(n)))
    assert len(json.loads((tmp_path / "costs.json").read_text())["runs"]) == 5


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WSDET_CACHE", str(tmp_path / "file" / "below"))
    ran(100, 50)
    assert forecast(KIND, (100, 50), one) is None
