"""The start-up check names the missing function and the wheel to have."""

from __future__ import annotations

import sys

import pytest

from wsdet.types import InputError
from wsdet.vision import opencv


def test_the_installed_wheel_has_all_that_is_needed() -> None:
    opencv.require()


def test_a_missing_function_is_named_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"lacks cv2\.ximgproc\.noSuchThing; .*opencv-contrib-python-headless"):
        opencv.require("ximgproc.createEdgeBoxes", "ximgproc.noSuchThing")


def test_no_opencv_at_all_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"cannot be imported.*pip install opencv-contrib-python-headless"):
        opencv.require()
