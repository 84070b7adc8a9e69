"""Memory that was freed is used again."""

from __future__ import annotations

import sys

import pytest

from tests import programs

_PROGRAM = """
import platform, resource
import torch
from wsdet.cli.allocator import keep_freed_memory

print(keep_freed_memory() if platform.libc_ver()[0] == "glibc" else "other")
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    large, larger = torch.ones(2**22), torch.ones(2**23)
    del large, larger
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_a_freed_block_is_used_again_without_page_faults() -> None:
    # its own process, which takes the setting with it
    done = programs.run(_PROGRAM)
    assert done.returncode == 0, done.stderr
    answer, faults = done.stdout.splitlines()
    if answer == "other":
        pytest.skip("another C library than glibc")
    assert answer == "True"
    pages_of_a_round = 3 * 2**22 * 4 / 4096
    assert int(faults) < 20 * pages_of_a_round
