"""Where the time of a step goes, by kind of operator."""

from __future__ import annotations

import re
import time

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.loops.loop import Loop
from harness.execution.peak_rate import synchronize

KINDS = {
    "convolutions": r"conv",
    "matrix products": r"(^|:)(mm|bmm|mv|addmm|addmv|baddbmm|linear|matmul|mkl|dot)|gemm|gemv",
    "pooling": r"pool",
    "blur's padding": r"reflection_pad",
    "copies": r"copy|clone|contiguous|reorder|to_mkldnn|to_dense|cat$|index_select",
    "elementwise": r"relu|threshold|clamp|maximum|where|fill|zero|add|sub|mul|div|sign|abs|neg",
    "sums and norms": r"sum|norm|mean|max",
}
"""Patterns of the names of operators; the first one that is found counts."""


def shares(loop: Loop, *, steps: int, device: torch.device) -> dict[str, float]:
    """Share of each kind in the time of a run; what no operator took is "outside operators".

    Parameters
    ----------
    loop : Loop
        Which has run before.
    steps : int
        To profile.
    device : torch.device
        On a GPU the time of its kernels counts.
    """
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * cuda]
    synchronize(device)
    with profile(activities=activities, acc_events=True) as profiled:
        began = time.perf_counter()
        loop.run(steps, seen=lambda _: None)
        synchronize(device)
        whole = time.perf_counter() - began
    found: dict[str, float] = {}
    for event in profiled.key_averages():
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        kind = kind_of(event.key)
        found[kind] = found.get(kind, 0.0) + spent / 1e6 / whole
    found["outside operators"] = max(0.0, 1 - sum(found.values()))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def kind_of(operator: str) -> str:
    """The kind of an operator, by its name."""
    for kind, pattern in KINDS.items():
        if re.search(pattern, operator):
            return kind
    return "other operators"
