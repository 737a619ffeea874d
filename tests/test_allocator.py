"""Memory that is freed and asked for again costs no page faults, where glibc manages it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource
import sys

import torch

from harness.execution.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()


def step():
    return torch.zeros(2**24).sum()  # of what is larger glibc keeps nothing unless told


def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


print(min(faults() for _ in range(10)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_steps_fault_no_more_once_freed_memory_is_kept() -> None:
    def faults(way: str) -> int:
        return int(subprocess.check_output([sys.executable, "-c", _FAULTS, way]))

    assert faults("returned") > 1000
    assert faults("kept") < 10
