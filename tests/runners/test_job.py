"""Images are handed out in chunks that leave no worker without work."""

from __future__ import annotations

import pytest

from wsdet.runners.job import chunks_of


@pytest.mark.parametrize(
    ("n", "size", "workers", "sizes"),
    [
        (0, 64, 2, []),
        (1, 64, 2, [1]),
        (10, 64, 2, [5, 5]),
        (10, 4, 2, [4, 4, 2]),
        (7, 64, 3, [3, 3, 1]),
        (130, 64, 1, [64, 64, 2]),
    ],
)
def test_chunks_keep_the_order_and_leave_no_worker_idle(n: int, size: int, workers: int, sizes: list[int]) -> None:
    ids = [str(i) for i in range(n)]
    chunks = chunks_of(ids, size, workers)
    assert [len(chunk) for chunk in chunks] == sizes
    assert [image_id for chunk in chunks for image_id in chunk] == ids
