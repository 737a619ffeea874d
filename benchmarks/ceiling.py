"""The rate of the machine's memory; that of its arithmetic is in `harness.execution.peak_rate`."""

from __future__ import annotations

import torch

from harness.execution.peak_rate import best_seconds

_COLUMNS = 1024


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
        best_seconds(work, device=device, repeats=repeats)
        for work in (
            lambda: matrix[:half].copy_(matrix[half : 2 * half]),
            lambda: torch.mv(matrix, vector, out=product),
        )
    )
    row = _COLUMNS * dtype.itemsize
    return max(2 * half * row / copied, rows * row / read) / 1e9
