"""The one skeleton of all trainings, on a line that learns its slope."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from wsdet.storage.untrusted import read_json
from wsdet.training.batches import Batches
from wsdet.training.resumable import fit, train_once
from wsdet.types import InputError

CPU = {"accelerator": "cpu"}


class Line(pl.LightningModule):
    """y = w x, whose w is 2."""

    def __init__(self, learning_rate: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))
        self.learning_rate = learning_rate

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = ((self.w - 2) * batch).square().mean()
        self.log("loss", loss, batch_size=len(batch))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.learning_rate)


def train(
    folder: Path, learning_rate: float = 0.1, epochs: int = 4, options: dict[str, Any] | None = None, dies: str = ""
) -> Path:
    """The text of `<folder>/slope.txt` is w; `dies` says where a kill ends the training."""
    path = folder / "slope.txt"

    def fit_and_save() -> dict[str, Any]:
        if dies == "before":
            raise InputError("nothing to learn from")
        line = Line(learning_rate)
        if dies == "in epoch 2":
            line.on_train_epoch_start = lambda: _kill() if line.current_epoch == 2 else None  # type: ignore[method-assign]
        fit(line, Batches([1.0, 2.0, 3.0], batch_size=1), folder, epochs, "line", options or CPU)
        path.write_text(str(line.w.item()))
        if dies == "before the report":
            _kill()
        return {"points": 3, "validation": {"error": abs(line.w.item() - 2)}}

    train_once("line", path, {"learning_rate": learning_rate, "epochs": epochs}, fit_and_save)
    return path


def _kill() -> None:
    raise KeyboardInterrupt


def test_what_is_finished_is_not_trained_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="wsdet"):
        path = train(tmp_path)
        path.write_text("as it was")
        assert train(tmp_path).read_text() == "as it was"
    done, already = caplog.messages
    assert done.startswith("line: points 3, validation.error ")
    assert done.endswith(f" s -> {path}")
    assert already == f"line: trained already -> {path}"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["settings.json", "slope.txt", "training.json"]
    assert read_json(tmp_path / "training.json").keys() == {"points", "validation", "seconds"}
    with pytest.raises(InputError, match=r"learning_rate was 0\.1, is 0\.2"):
        train(tmp_path, 0.2)


@pytest.mark.parametrize("dies", ["in epoch 2", "before the report"])
def test_a_killed_training_goes_on_to_the_same_weights(
    dies: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(tmp_path / "whole")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tmp_path / "killed", dies=dies)
    assert not (tmp_path / "killed" / "training.json").exists()
    with caplog.at_level(logging.INFO, logger="wsdet"):
        assert train(tmp_path / "killed").read_text() == whole.read_text()
    assert "going on from" in caplog.messages[0]
    assert not (tmp_path / "killed" / "checkpoints").exists()


def test_one_that_diverges_says_so_and_leaves_the_folder_to_another_rate(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the training of the line diverged: .* give a lower learning_rate"):
        train(tmp_path, 1e30)
    assert list(tmp_path.iterdir()) == []
    assert float(train(tmp_path, 0.1).read_text()) == pytest.approx(2, abs=0.1)


def test_one_without_anything_to_learn_from_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to learn from"):
        train(tmp_path, dies="before")
    assert list(tmp_path.iterdir()) == []


def test_options_that_lightning_does_not_take_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trainer: .*'accelerator': 'abacus'"):
        train(tmp_path, options={"accelerator": "abacus"})


def test_the_trainer_s_options_cannot_change_what_the_skeleton_decides(tmp_path: Path) -> None:
    train(tmp_path, options=CPU | {"max_epochs": 1, "logger": True})
    assert read_json(tmp_path / "training.json")["validation"]["error"] < 0.1
    assert not (tmp_path / "lightning_logs").exists()
