"""Costs of stages, added up over resumed runs."""

from __future__ import annotations

from pathlib import Path

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
