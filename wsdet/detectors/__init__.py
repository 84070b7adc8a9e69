"""Detectors, a folder each: what is trained on boxes and finds objects in new photos."""
