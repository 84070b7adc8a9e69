"""wsdet: object detectors from images with class labels only.

The functions and classes in `__all__` are imported when they are first asked for, so `import wsdet` itself is fast.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wsdet.version import __version__

if TYPE_CHECKING:
    from wsdet.api import Detections, Detector, evaluate, export, load, localize, open_dataset, train_detector
    from wsdet.types import Boxes, InputError

__all__ = [
    "Boxes",
    "Detections",
    "Detector",
    "InputError",
    "__version__",
    "evaluate",
    "export",
    "load",
    "localize",
    "open_dataset",
    "train_detector",
]


class _Package(ModuleType):
    """Keeps `wsdet.localize` the function where the program of the same name is imported, too."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'wsdet' has no attribute {name!r}")
    return getattr(importlib.import_module("wsdet.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
