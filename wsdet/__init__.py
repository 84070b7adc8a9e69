"""wsdet: object detectors from images with class labels only."""

__version__ = "0.1.0"
