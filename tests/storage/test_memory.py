"""Free and used memory are plausible, and limits of a container count."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdet.storage import memory


def test_what_the_machine_says() -> None:
    assert 0 < memory.free_bytes() < 2**50
    assert 10**6 < memory.peak_bytes() < 2**50


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("5000000\n")
    used.write_text("1000000\n")
    monkeypatch.setattr(memory, "_LIMITS", {limit: used})
    assert memory.free_bytes() == 4_000_000
    limit.write_text("max\n")
    assert memory.free_bytes() > 4_000_000


def test_a_system_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_field", lambda path, name: None)
    monkeypatch.setattr(memory, "_LIMITS", {})
    assert memory.free_bytes() > 0
    assert memory.peak_bytes() > 0


def test_the_highest_outlasts_a_reset() -> None:
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    before = memory.highest_bytes()
    del held
    memory.reset_peak()
    assert before > 200_000_000
    assert memory.highest_bytes() > 0.95 * before  # the system counts in steps
