"""Photos made on the spot, with their ground-truth boxes: the built-in data."""

from wsdet.data.synthetic.dataset import Synthetic

__all__ = ["Synthetic"]
