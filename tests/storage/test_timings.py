"""Costs of stages, added up over resumed runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsdet.storage.timings import Ledger


def test_costs_add_up_over_runs_and_survive_an_exception(tmp_path: Path) -> None:
    passes = 0
    ledger = Ledger(tmp_path / "ledger.json")

    def interrupted() -> None:
        nonlocal passes
        with ledger.stage("localize", lambda: passes):
            passes += 7
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    again = Ledger(tmp_path / "ledger.json")
    with again.stage("localize", lambda: passes):
        passes += 5
    with again.stage("propose"):
        pass
    assert again.column("forward_passes") == {"localize": 12, "propose": 0}
    assert set(again.column("seconds")) == {"localize", "propose"}
    assert min(again.column("seconds").values()) >= 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux measures memory anew")
def test_memory_is_that_of_each_stage_and_of_those_inside_it(tmp_path: Path) -> None:
    ledger, megabytes = Ledger(tmp_path / "ledger.json"), 400
    with ledger.stage("small"):
        pass
    with ledger.stage("outer"), ledger.stage("inner"):
        np.ones(megabytes * 10**6, np.uint8)
    with ledger.stage("after"):
        pass
    peak = ledger.column("peak_mb")
    assert peak["outer"] >= peak["inner"] >= peak["small"] + 0.9 * megabytes
    assert peak["after"] <= peak["inner"] - 0.9 * megabytes


def test_a_ledger_of_earlier_versions_is_read(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text('{"propose": {"seconds": 1.5, "forward_passes": 0}}')
    ledger = Ledger(tmp_path / "ledger.json")
    assert ledger.column("peak_mb") == {}
    with ledger.stage("propose"):
        pass
    assert ledger.column("seconds")["propose"] >= 1.5
    assert ledger.column("peak_mb")["propose"] >= 0
