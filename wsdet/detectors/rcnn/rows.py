"""`Rows`: some rows of a large matrix in few bytes, multiplied in full precision and never copied as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_CHUNK = 2048  # rows that are taken out and converted at a time
_SMALL = 256 * 2**20  # bytes: fewer rows than that are copied once instead of taken out for every product


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
        """The same rows, as a float32 matrix of their own if that is small."""
        is_plain = self._index is None and self._matrix.dtype == torch.float32
        return self if is_plain or 4 * len(self) * self.dim > _SMALL else Rows(self.dense())

    def chunks(self, dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
        """(c, d) in order, at least one; all rows at once where nothing has to be converted."""
        if self._index is None and self._matrix.dtype == dtype:
            yield self._matrix
            return
        for start in range(0, max(len(self), 1), _CHUNK):
            part = slice(start, start + _CHUNK)
            yield (self._matrix[part] if self._index is None else self._matrix[self._index[part]]).to(dtype)

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(n, d) a copy of all rows."""
        return torch.cat(list(self.chunks(dtype)))

    def times(self, vectors: Tensor) -> Tensor:
        """(n, k) product with a (d, k) or (d,) tensor, in its precision."""
        parts = [chunk @ vectors for chunk in self.chunks(vectors.dtype)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def transposed_times(self, weights: Tensor) -> Tensor:
        """(d, k) product of the transposed rows with an (n, k) or (n,) tensor, in its precision."""
        total, start = None, 0
        for chunk in self.chunks(weights.dtype):
            part = chunk.T @ weights[start : start + len(chunk)]
            total, start = part if total is None else total.add_(part), start + len(chunk)
        return weights.new_zeros(self.dim, *weights.shape[1:]) if total is None else total

    def mean_square_norm(self) -> float:
        """Of the rows; 0 without any."""
        squares = sum(float(chunk.square().sum(dtype=torch.float64)) for chunk in self.chunks())
        return squares / max(len(self), 1)
