"""What the machine can do: the rates of its matrix multiplication and of its memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

SIZES = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices, enough to be limited by arithmetic."""

_COLUMNS = 1024


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
    product = torch.empty_like(left)
    seconds = _best(lambda: torch.mm(left, right, out=product), device=device, repeats=repeats)
    return 2 * size**3 / seconds / 1e9


def memory_gbytes(
    *, size: int, dtype: torch.dtype, device: torch.device, repeats: int = 4
) -> float:
    """The best rate at which so many bytes are copied or only read, in GB/s.

    A copy reads one half and writes the other; a product with a vector reads all. The larger rate
    counts, since weights are only read. Caches take part as they do for weights of that size.

    Parameters
    ----------
    size : int
        Bytes touched.
    dtype, device
        Of what they hold; torch's current number of threads is used.
    repeats : int
        Passes timed of either kind, after one that is not.
    """
    rows = max(2, size // (_COLUMNS * dtype.itemsize))
    matrix = torch.rand(rows, _COLUMNS, dtype=dtype, device=device)
    vector = torch.rand(_COLUMNS, dtype=dtype, device=device)
    product = torch.empty(rows, dtype=dtype, device=device)
    half = rows // 2
    copied, read = (
        _best(work, device=device, repeats=repeats)
        for work in (
            lambda: matrix[:half].copy_(matrix[half : 2 * half]),
            lambda: torch.mv(matrix, vector, out=product),
        )
    )
    row = _COLUMNS * dtype.itemsize
    return max(2 * half * row / copied, rows * row / read) / 1e9


def _best(work: Callable[[], object], *, device: torch.device, repeats: int) -> float:
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
