"""Times and bytes as a person reads them."""

from __future__ import annotations

import pytest

from wsdet.storage.amounts import amount, duration


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.5, "0.5 s"), (89, "89 s"), (120, "2 min"), (5400, "1.5 h"), (1.08e6, "12.5 days")]
)
def test_a_time_has_its_unit(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(("n_bytes", "said"), [(2e4, "20 kB"), (1.52e8, "152 MB"), (1.2e9, "1.2 GB"), (3e12, "3 TB")])
def test_bytes_have_their_unit(n_bytes: float, said: str) -> None:
    assert amount(n_bytes) == said
