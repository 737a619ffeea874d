"""What a machine can do: the rate of its matrix multiplication."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch

SIZES = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices, enough to be limited by arithmetic."""

MODEST = {"cpu": 1024, "cuda": 4096}
"""Rows that leave a worker's memory to its measurements, and take it about a tenth of a second."""


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gemm_gflops(
    *, dtype: torch.dtype, device: torch.device, size: int | None = None, repeats: int = 4
) -> float:
    """The best rate of a product of two square matrices, in GFLOP/s.

    Parameters
    ----------
    dtype, device
        Of the matrices; torch's current number of threads is used.
    size : int or None
        Rows; None takes that of `SIZES`.
    repeats : int
        Products timed, after one that is not.
    """
    size = size or SIZES[device.type]
    # A generator of its own: what is measured afterwards draws as if nothing had been drawn here.
    drawn = torch.Generator(device).manual_seed(0)
    left, right = (
        torch.rand(size, size, dtype=dtype, device=device, generator=drawn) for _ in range(2)
    )
    product = torch.empty_like(left)
    seconds = best_seconds(
        lambda: torch.mm(left, right, out=product), device=device, repeats=repeats
    )
    return 2 * size**3 / seconds / 1e9


@functools.cache
def worker_gflops(device: str, threads: int) -> float:  # noqa: ARG001 - a key of the cache
    """The rate of a worker's float32 products when it began, measured once in a process.

    Parameters
    ----------
    device : str
        "cpu" or "cuda".
    threads : int
        Those that torch has now.
    """
    place = torch.device(device)
    rate = gemm_gflops(dtype=torch.float32, device=place, size=MODEST[place.type])
    return round(rate, 1)


def best_seconds(work: Callable[[], object], *, device: torch.device, repeats: int) -> float:
    """Seconds of the fastest call, after one that is not timed."""
    work()
    synchronize(device)
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best
