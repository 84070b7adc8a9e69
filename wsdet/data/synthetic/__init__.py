"""Photos made on the spot, with their true boxes: the built-in data."""

from wsdet.data.synthetic.dataset import Synthetic

__all__ = ["Synthetic"]
