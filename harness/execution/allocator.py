"""What the C library does with freed memory."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's names of what it can be told (mallopt(3))."""

_KEPT = 2**31 - 1
"""Bytes at the end of the heap that stay with the process, the most that can be asked for."""

_LARGE = 2**28
"""Bytes from which on a tensor has pages of its own, which go back as soon as it is freed."""


def keep_freed_memory() -> None:
    """Have the process keep what it frees, where glibc manages its memory; elsewhere do nothing.

    Steps allocate the same tensors again and again. Pages that were given back to the system come
    back one by one, zeroed: a tenth of a step where batches or images are large.
    """
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return
    tell(_TRIM_THRESHOLD, _KEPT)
    tell(_MMAP_THRESHOLD, _LARGE)
