"""What the machine can do: the rate of its matrix multiplication."""

from __future__ import annotations

import time

import torch

SIZES = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices, enough to be limited by arithmetic."""


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
    left, right = (torch.rand(size, size, dtype=dtype, device=device) for _ in range(2))
    product = torch.mm(left, right)
    synchronize(device)
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        torch.mm(left, right, out=product)
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9
