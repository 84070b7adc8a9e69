"""Rows are multiplied in full precision wherever they stand, and never copied as a whole."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wsdet.detectors.rcnn import examples, rows
from wsdet.detectors.rcnn.rows import Rows
from wsdet.detectors.rcnn.svm import SvmProblem, newton_cg, objective


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_CHUNK", 3 * 4 * 4)  # three rows of float32
    monkeypatch.setattr(rows, "_SMALL", 0)


def matrix(dtype: torch.dtype = torch.float16) -> Tensor:
    return torch.randn(10, 4, generator=torch.Generator().manual_seed(0)).to(dtype)


INDEX = torch.tensor([7, 1, 1, 9, 0, 4, 3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("index", [None, INDEX, INDEX[:0]], ids=["all", "some", "none"])
def test_products_are_those_of_the_chosen_rows(dtype: torch.dtype, index: Tensor | None) -> None:
    some = Rows(matrix(dtype), index)
    expected = matrix(dtype).double() if index is None else matrix(dtype).double()[index]
    assert len(some) == len(expected)
    for precision in (torch.float32, torch.float64):
        vectors = torch.arange(8, dtype=precision).view(4, 2)
        weights = torch.linspace(-1, 1, len(expected), dtype=precision)
        torch.testing.assert_close(some.times(vectors), (expected @ vectors.double()).to(precision))
        torch.testing.assert_close(some.transposed_times(weights), (expected.T @ weights.double()).to(precision))
        torch.testing.assert_close(some.dense(precision), expected.to(precision))
    assert some.mean_square_norm() == pytest.approx(float(expected.square().sum()) / max(len(expected), 1))


def test_rows_of_rows() -> None:
    torch.testing.assert_close(Rows(matrix(), INDEX).chosen(torch.tensor([0, 3])).dense(), matrix()[[7, 9]].float())


def test_few_rows_are_copied_once_and_many_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    many = Rows(matrix(), INDEX)
    assert many.at_hand() is many
    monkeypatch.setattr(rows, "_SMALL", 2 * len(INDEX) * 4)
    torch.testing.assert_close(many.at_hand().dense(), many.dense())
    assert many.at_hand() is not many


def test_machines_learn_from_rows_in_place() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=generator)
    targets = torch.where(x @ torch.randn(5, 2, generator=generator) > 0, 1, -1).to(torch.int8)
    cost = torch.full((2,), 0.1)
    plain = SvmProblem(x, targets, cost, cost)
    pool = torch.cat([torch.randn(7, 5, generator=generator), x]).half()
    in_place = replace(plain, x=pool, rows=torch.arange(7, 67))
    torch.testing.assert_close(
        objective(plain, newton_cg(in_place)), objective(plain, newton_cg(plain)), rtol=1e-4, atol=0
    )


def test_rows_are_bounded_by_the_free_memory(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(examples, "free_bytes", lambda: 9_000_000_000)
    caplog.set_level(logging.INFO)
    assert examples.rows_that_fit(18_432, torch.device("cpu")) == 3_000_000_000 // (2 * 18_432)
    assert "detector.max_rows=81380: at most 3 GB of examples, of 9 GB that are free" in caplog.text
    assert examples.rows_that_fit(4_608, torch.device("cpu")) == 120_000
    monkeypatch.setattr(examples, "free_bytes", lambda: 0)
    assert examples.rows_that_fit(4_608, torch.device("cpu")) == 1
