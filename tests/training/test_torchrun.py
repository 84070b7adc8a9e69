"""What torchrun's processes do for one another; `test_ddp.py` has two of them train."""

from __future__ import annotations

import pytest

from wsdet.training import torchrun


def test_a_script_that_torchrun_started_hands_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """All its processes come to the training by themselves; nobody would receive what one of them handed out."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    monkeypatch.setenv("RANK", "0")
    assert torchrun.rank() == 0
    assert torchrun.hand_out(lambda: 3)() == 3


def test_without_torchrun_leading_is_nothing_more_than_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with torchrun.leading():
        assert torchrun.rank() is None
        assert torchrun.hand_out(lambda: 3)() == 3
