"""torchvision without PyTorch's compiler.

`torchvision.ops.roi_align` imports one function of `torch._dynamo` that it calls for deterministic RoIAlign on a GPU
alone, and with it the whole compiler: 4 of the 7 seconds of processor time, and a fifth of the memory, that importing
torch and torchvision takes. Nothing here is compiled, so the compiler is loaded when somebody first asks for it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_COMPILER, _ASKED = "torch._dynamo", "torch._dynamo.utils"


def import_torchvision() -> None:
    """Imports torchvision; call it before anything that would import it otherwise.

    Where the compiler is loaded already, or a torchvision asks it for more, this is a plain import.
    """
    if "torchvision" in sys.modules or _COMPILER in sys.modules:
        return
    compiler, asked = ModuleType(_COMPILER), ModuleType(_ASKED)
    asked.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    sys.modules |= {_COMPILER: compiler, _ASKED: asked}
    try:
        import torchvision  # noqa: F401
    except (ImportError, AttributeError):  # the plain import below works, or says what is wrong
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    finally:
        del sys.modules[_COMPILER], sys.modules[_ASKED]


def _is_compile_supported(device_type: Any) -> Any:
    from torch._dynamo.utils import is_compile_supported

    return is_compile_supported(device_type)
