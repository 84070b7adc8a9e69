"""torchvision comes without PyTorch's compiler, works, and leaves the compiler usable."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from wsdet.networks.torchvision_import import import_torchvision
import_torchvision()
assert "torchvision" in sys.modules
assert "torch._dynamo" not in sys.modules
import torch
from torchvision.models import squeezenet1_0
from torchvision.ops import batched_nms, roi_align
boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
assert batched_nms(boxes, torch.tensor([0.5, 0.9, 0.1]), torch.zeros(3, dtype=torch.long), 0.5).tolist() == [1, 2]
assert roi_align(torch.ones(1, 1, 8, 8), [torch.tensor([[0.0, 0, 4, 4]])], 2).tolist() == [[[[1.0, 1], [1, 1]]]]
assert squeezenet1_0(weights=None).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
assert "torch._dynamo" not in sys.modules
from torchvision.ops.roi_align import is_compile_supported
assert isinstance(is_compile_supported("cpu"), bool)
assert hasattr(sys.modules["torch._dynamo"], "optimize")
"""


@pytest.mark.slow
def test_the_compiler_stays_away_until_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
