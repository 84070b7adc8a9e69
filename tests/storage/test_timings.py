"""Costs of stages, added up over resumed runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsdet.storage.timings import Timings


def test_costs_add_up_over_runs_and_survive_an_exception(tmp_path: Path) -> None:
    passes = 0
    timings = Timings(tmp_path / "timings.json")

    def interrupted() -> None:
        nonlocal passes
        with timings.stage("localize", lambda: passes):
            passes += 7
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    again = Timings(tmp_path / "timings.json")
    with again.stage("localize", lambda: passes):
        passes += 5
    with again.stage("propose"):
        pass
    assert again.column("forward_passes") == {"localize": 12, "propose": 0}
    assert set(again.column("seconds")) == {"localize", "propose"}
    assert min(again.column("seconds").values()) >= 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux measures memory anew")
def test_memory_is_that_of_each_stage_and_of_those_inside_it(tmp_path: Path) -> None:
    timings, megabytes = Timings(tmp_path / "timings.json"), 400
    with timings.stage("small"):
        pass
    with timings.stage("outer"), timings.stage("inner"):
        np.ones(megabytes * 10**6, np.uint8)
    with timings.stage("after"):
        pass
    peak = timings.column("peak_mb")
    assert peak["outer"] >= peak["inner"] >= peak["small"] + 0.9 * megabytes
    assert peak["after"] <= peak["inner"] - 0.9 * megabytes


def test_a_ledger_of_earlier_versions_is_read(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text('{"propose": {"seconds": 1.5, "forward_passes": 0}}')
    timings = Timings(tmp_path / "timings.json")
    assert timings.column("peak_mb") == {}
    with timings.stage("propose"):
        pass
    assert timings.column("seconds")["propose"] >= 1.5
    assert timings.column("peak_mb")["propose"] >= 0
