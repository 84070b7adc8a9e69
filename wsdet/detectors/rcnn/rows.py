"""`Rows`: some rows of a large matrix in few bytes, multiplied in full precision and never copied as a whole.

A product reads a chunk of rows at a time, converts it and multiplies it while it is in the processor's cache, so that
float16 costs no more than float32 would. It is written with the few vectors as rows, (k, d) by (d, n): for k of 5 to 30
this is up to four times as fast as (n, d) by (d, k) with a processor's usual libraries (scripts/bench_detector.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_CHUNK = 2 * 2**20  # bytes that are converted at a time: they stay in a core's cache
_GPU_CHUNK = 256 * 2**20  # on a GPU each product is a launch
_SMALL = 256 * 2**20  # bytes: fewer rows than that are taken out once instead of for every product


class Rows:
    """Rows of a matrix, read in float32 or float64, a chunk at a time.

    Args:
        matrix: (m, d) float32 or float16.
        index: (n,) which of its rows; None: all.
    """

    def __init__(self, matrix: Tensor, index: Tensor | None = None) -> None:
        self._matrix = matrix
        self._index = index

    def __len__(self) -> int:
        return len(self._matrix) if self._index is None else len(self._index)

    @property
    def dim(self) -> int:
        """d."""
        return self._matrix.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the matrix is."""
        return self._matrix.device

    def chosen(self, index: Tensor) -> Rows:
        """Some of these rows, by indices."""
        return Rows(self._matrix, index if self._index is None else self._index[index])

    def at_hand(self) -> Rows:
        """The same rows, as a matrix of their own if that is small."""
        is_small = len(self) * self.dim * self._matrix.element_size() <= _SMALL
        return Rows(self._matrix[self._index]) if self._index is not None and is_small else self

    def chunks(self, dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
        """(c, d) in order, at least one; all rows at once where nothing has to be converted."""
        if self._index is None and self._matrix.dtype == dtype:
            yield self._matrix
            return
        size = max(1, (_CHUNK if self.device.type == "cpu" else _GPU_CHUNK) // (dtype.itemsize * max(self.dim, 1)))
        for start in range(0, max(len(self), 1), size):
            part = slice(start, start + size)
            yield (self._matrix[part] if self._index is None else self._matrix[self._index[part]]).to(dtype)

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(n, d) a copy of all rows."""
        return torch.cat(list(self.chunks(dtype)))

    def times(self, vectors: Tensor) -> Tensor:
        """(n, k) product with a (d, k) or (d,) tensor, in its precision."""
        if vectors.ndim == 1:
            return self.times(vectors[:, None])[:, 0]
        across = vectors.T.contiguous()
        parts = [across @ chunk.T for chunk in self.chunks(vectors.dtype)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).T

    def transposed_times(self, weights: Tensor) -> Tensor:
        """(d, k) product of the transposed rows with an (n, k) or (n,) tensor, in its precision."""
        if weights.ndim == 1:
            return self.transposed_times(weights[:, None])[:, 0]
        across, start = weights.T.contiguous(), 0
        total = weights.new_zeros(weights.shape[1], self.dim)
        for chunk in self.chunks(weights.dtype):
            total += across[:, start : start + len(chunk)] @ chunk
            start += len(chunk)
        return total.T

    def mean_square_norm(self) -> float:
        """Of the rows; 0 without any."""
        squares = sum(float(chunk.square().sum(dtype=torch.float64)) for chunk in self.chunks())
        return squares / max(len(self), 1)
