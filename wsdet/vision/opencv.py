"""OpenCV with its contrib modules, or one line that says which wheel to have."""

from __future__ import annotations

from typing import Any

from wsdet.types import InputError

NEEDED = (
    "ximgproc.segmentation.createGraphSegmentation",
    "ximgproc.createEdgeBoxes",
    "ximgproc.createStructuredEdgeDetection",
    "saliency.ObjectnessBING",
)
_REMEDY = (
    "wsdet needs opencv-contrib-python-headless and no second OpenCV beside it (they overwrite each other): "
    "pip uninstall -y opencv-python opencv-python-headless opencv-contrib-python opencv-contrib-python-headless"
    " && pip install opencv-contrib-python-headless"
)


def require(*functions: str) -> None:
    """Checks at start-up that OpenCV is there with the functions that wsdet uses.

    Args:
        functions: dotted names below `cv2`, such as `ximgproc.createEdgeBoxes`; none given checks all of `NEEDED`.

    Raises:
        InputError: OpenCV cannot be imported or lacks a function; the message names the wheel to install.
    """
    try:
        import cv2
    except ImportError as error:
        raise InputError(f"OpenCV cannot be imported ({error}); {_REMEDY}") from error
    lacking = [name for name in functions or NEEDED if not _has(cv2, name)]
    if lacking:
        raise InputError(f"OpenCV {cv2.__version__} lacks cv2.{', cv2.'.join(lacking)}; {_REMEDY}")


def _has(module: Any, dotted: str) -> bool:
    for name in dotted.split("."):
        module = getattr(module, name, None)
    return module is not None
