"""Frozen classifiers: backbones and their weights, and every way in which a question about an image is answered."""
