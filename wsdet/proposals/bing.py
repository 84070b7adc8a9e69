"""BING: windows whose small, normed gradients look like those of objects.

Cheng, Zhang, Lin, Torr: BING: Binarized Normed Gradients for Objectness Estimation at 300fps, CVPR 2014. OpenCV's
implementation with its trained model, which joins three color spaces: MAXBGR, HSV and gray.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from wsdet import check
from wsdet.boxes import area, clip, scale
from wsdet.proposals.ordering import distinct
from wsdet.types import Boxes, Floats, InputError, Pixels, Sample
from wsdet.vision import opencv
from wsdet.vision.resizing import shrunk

_MODEL_FILES = tuple(
    f"ObjNessB2W8{space}.{part}.yml.gz" for space in ("MAXBGR", "HSV", "I") for part in ("wS1", "wS2", "idx")
)
_STANDARD_OUTPUT = 1
_redirecting = threading.Lock()  # the file descriptor belongs to the whole process


class Bing:
    """BING as OpenCV has it.

    Args:
        model: folder with the nine files `ObjNessB2W8*.yml.gz` of OpenCV's samples.
        max_side: an image with a longer side is handled at this size, VOC's 500 pixels: the windows are 16 to 512.
        max_boxes: maximum number of boxes per image.

    Raises:
        InputError: an argument is out of its range; or a model file is missing, or OpenCV lacks its contrib modules.
    """

    def __init__(self, model: Path | str, max_side: int = 500, max_boxes: int = 2000) -> None:
        check.at_least(1, max_side=max_side, max_boxes=max_boxes)
        opencv.require("saliency.ObjectnessBING")
        folder = Path(model).expanduser()
        for name in _MODEL_FILES:
            if not (folder / name).is_file():
                raise InputError(
                    f"proposals.model={model} must be the folder of OpenCV's BING model; it has no {name} "
                    "(samples/ObjectnessTrainedModel of opencv_contrib's saliency module)"
                )
        self.model = str(folder)
        self.max_side = max_side
        self.max_boxes = max_boxes

    def propose(self, sample: Sample) -> Boxes:
        """Boxes, best first.

        OpenCV keeps the trained scores to itself: it ranks each color space's boxes and gives rank x weight (1, 3, 5
        for MAXBGR, HSV, gray), lower is better. The scores here are its negative; of equal boxes the best is kept.
        """
        image = shrunk(sample.pixels, self.max_side)
        corners, weighted_ranks = self._computed(image[:, :, ::-1].copy(), sample.image_id)
        corners[:, :2] -= 1  # OpenCV counts the first pixel as 1
        xyxy = clip(corners, image.shape[:2])
        order = np.argsort(weighted_ranks, kind="stable")
        order = order[area(xyxy[order]) > 0]
        order = order[distinct(xyxy[order])][: self.max_boxes]
        return Boxes(scale(xyxy[order], image.shape[:2], sample.size_hw), scores=-weighted_ranks[order])

    def _computed(self, bgr: Pixels, image_id: str) -> tuple[Floats, Floats]:
        objectness = cv2.saliency.ObjectnessBING.create()
        objectness.setTrainingPath(self.model)
        # it writes each image's boxes to a file, by default into the root of the file system
        with tempfile.TemporaryDirectory() as folder, _silent_standard_output():
            objectness.setBBResDir(folder)
            try:
                found, corners = objectness.computeSaliency(bgr)
            except cv2.error as error:
                raise InputError(f"{image_id}: BING with the model in {self.model} failed: {error}") from error
            finally:
                for written in Path(folder).iterdir():
                    written.chmod(0o700)  # OpenCV gives its folder rights with which it cannot be removed
        if not found:
            raise InputError(f"{image_id}: BING with the model in {self.model} failed")
        values = np.asarray(objectness.getobjectnessValues(), np.float32)
        if not len(values):  # what comes for no boxes has no four columns
            return np.zeros((0, 4), np.float32), values
        return np.asarray(corners, np.float32).reshape(-1, 4), values


@contextmanager
def _silent_standard_output() -> Iterator[None]:
    """Throws away what C code prints: Python's `sys.stdout` does not see it."""
    c_library = ctypes.CDLL(None)
    with _redirecting:
        c_library.fflush(None)
        kept, nowhere = os.dup(_STANDARD_OUTPUT), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, _STANDARD_OUTPUT)
            yield
        finally:
            c_library.fflush(None)  # C's buffer, while it still goes nowhere
            os.dup2(kept, _STANDARD_OUTPUT)
            os.close(nowhere)
            os.close(kept)
