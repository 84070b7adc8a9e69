"""Images at the size that the sources were made for, whatever the size in which they come."""

from __future__ import annotations

import cv2
import numpy as np

from wsdet.types import Pixels


def shrunk(pixels: Pixels, max_side: int) -> Pixels:
    """An (h, w, 3) image with its longer side at most `max_side` pixels; smaller ones stay as they are."""
    h, w = pixels.shape[:2]
    factor = max_side / max(h, w)
    if factor >= 1:
        return pixels
    size_wh = max(1, round(w * factor)), max(1, round(h * factor))
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
