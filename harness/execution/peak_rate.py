"""What a machine can do: the rate of its arithmetic, in products and in convolutions."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d

SIZES = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices, enough to be limited by arithmetic."""

MODEST = {"cpu": 1024, "cuda": 4096}
"""Rows that leave a worker's memory to its measurements, and take it some tenths of a second."""

_SIDE = 16
"""Rows and columns of the images that are convolved."""


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Work(NamedTuple):
    """Arithmetic to time, and how much of it there is."""

    flops: int
    run: Callable[[], object]


def arithmetic_gflops(
    *, dtype: torch.dtype, device: torch.device, size: int | None = None, repeats: int = 3
) -> float:
    """The best rate of arithmetic, in GFLOP/s.

    Of the product of two square matrices and, on a CPU, of convolutions with kernels of 1x1 and of
    3x3 that take about as many operations: which is the fastest depends on the machine and its
    libraries. On a GPU that is the product, and convolutions may take gigabytes for transforms.

    Parameters
    ----------
    dtype, device
        Of matrices and images; torch's current number of threads is used.
    size : int or None
        Rows of the matrices; None takes that of `SIZES`.
    repeats : int
        Calls timed of each, after one that is not.
    """
    size = size or SIZES[device.type]
    # A generator of its own: what is measured afterwards draws as if nothing had been drawn here.
    drawn = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, dtype=dtype, device=device, generator=drawn)

    with torch.no_grad():
        return max(
            work.flops / best_seconds(work.run, device=device, repeats=repeats) / 1e9
            # One after the other, so that the tensors of one are free when the next are made.
            for work in (kind(size, draw) for kind in _KINDS[device.type])
        )


def _product(size: int, draw: Callable[..., Tensor]) -> _Work:
    left, right = draw(size, size), draw(size, size)
    product = torch.empty_like(left)
    return _Work(2 * size**3, lambda: torch.mm(left, right, out=product))


def _pointwise(size: int, draw: Callable[..., Tensor]) -> _Work:
    return _convolution(size // 2, kernel=1, images=size // 64, draw=draw)


def _spatial(size: int, draw: Callable[..., Tensor]) -> _Work:
    return _convolution(size // 4, kernel=3, images=size // 144, draw=draw)


_KINDS = {"cpu": (_product, _pointwise, _spatial), "cuda": (_product,)}


def _convolution(channels: int, *, kernel: int, images: int, draw: Callable[..., Tensor]) -> _Work:
    """A convolution that keeps the channels; without padding, so that every tap is a product."""
    images = max(1, images)
    side = _SIDE + kernel - 1
    inputs, weight = (
        tensor.contiguous(memory_format=torch.channels_last)
        for tensor in (
            draw(images, channels, side, side),
            draw(channels, channels, kernel, kernel),
        )
    )
    flops = 2 * images * _SIDE**2 * channels**2 * kernel**2
    return _Work(flops, lambda: conv2d(inputs, weight))


@functools.cache
def worker_gflops(device: str, threads: int) -> float:  # noqa: ARG001 - a key of the cache
    """The rate of a worker's float32 arithmetic when it began, measured once in a process.

    Parameters
    ----------
    device : str
        "cpu" or "cuda".
    threads : int
        Those that torch has now.
    """
    place = torch.device(device)
    rate = arithmetic_gflops(dtype=torch.float32, device=place, size=MODEST[place.type])
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
