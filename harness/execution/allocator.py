"""Settings of the C library's memory allocator."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""

_KEPT = 2**31 - 1
"""Free bytes at the end of the heap that stay with the process: the largest possible value."""

_LARGE = 2**28
"""Bytes from which on a tensor has pages of its own, which are returned as soon as it is freed."""


def keep_freed_memory() -> None:
    """Have the process keep the memory that it frees; without glibc, do nothing.

    Steps allocate tensors of the same sizes again and again. Pages that were returned to the system
    come back one by one, zeroed, which takes a tenth of a step for large batches or images.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_MMAP_THRESHOLD, _LARGE)
