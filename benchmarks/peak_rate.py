"""The peak rate of a machine's arithmetic, in matrix products and convolutions."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d

SIZES = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices: large enough that arithmetic is the bottleneck."""

_SIDE = 16
"""Rows and columns of the images that are convolved."""


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


Work = tuple[int, Callable[[], object]]
"""Floating-point operations, and a call that does them."""


def arithmetic_gflops(
    *, dtype: torch.dtype, device: torch.device, size: int | None = None, repeats: int = 3
) -> float:
    """The best rate of arithmetic, in GFLOP/s.

    That of the product of two square matrices and, on a CPU, of convolutions with 1x1 and 3x3
    kernels that take about as many operations: which is fastest depends on the machine and its
    libraries. On a GPU the product is, and convolutions may take gigabytes for transforms.

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
    # A generator of its own leaves the state of torch's unchanged.
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, dtype=dtype, device=device, generator=generator)

    with torch.no_grad():
        work = [_product(size, draw)]
        if device.type == "cpu":
            work.append(_convolution(size // 2, kernel=1, images=size // 64, draw=draw))
            work.append(_convolution(size // 4, kernel=3, images=size // 144, draw=draw))
        return max(
            flops / best_seconds(run, device=device, repeats=repeats) / 1e9 for flops, run in work
        )


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


def _product(size: int, draw: Callable[..., Tensor]) -> Work:
    left, right = draw(size, size), draw(size, size)
    product = torch.empty_like(left)
    return 2 * size**3, lambda: torch.mm(left, right, out=product)


def _convolution(channels: int, *, kernel: int, images: int, draw: Callable[..., Tensor]) -> Work:
    """A convolution that preserves the channels; unpadded, so that every weight counts."""
    images = max(1, images)
    side = _SIDE + kernel - 1
    inputs, weight = (
        tensor.contiguous(memory_format=torch.channels_last)
        for tensor in (
            draw(images, channels, side, side),
            draw(channels, channels, kernel, kernel),
        )
    )
    return 2 * images * _SIDE**2 * channels**2 * kernel**2, lambda: conv2d(inputs, weight)
