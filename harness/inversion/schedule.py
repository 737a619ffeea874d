"""What changes along a run by plan: steps, blur, and the iterations at which it is traced."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import UnknownNameError
from harness.settings import Adam, Blur, Descent

SCHEDULES = ("fixed", "decreasing")


def descent_steps(decoder: Descent, *, iterations: int) -> Float[NDArray[np.float64], " t"]:
    """Step sizes of a descent, the loss factor included.

    The decreasing schedule falls linearly from the first step towards zero, but not below its
    minimum.
    """
    match decoder.schedule:
        case "fixed":
            steps = np.full(iterations, decoder.step)
        case "decreasing":
            remaining = 1 - np.arange(iterations) / iterations
            steps = np.maximum(decoder.step * remaining, decoder.minimum)
        case _:
            raise UnknownNameError.nearest(decoder.schedule, SCHEDULES, what="schedule")
    return decoder.factor * steps


def adam_rates(decoder: Adam, *, iterations: int) -> Float[NDArray[np.float64], " t"]:
    """Rates of Adam, half a cosine from the first rate to zero."""
    rates: NDArray[np.float64] = (
        decoder.rate * (1 + np.cos(np.pi * np.arange(iterations) / iterations)) / 2
    )
    return rates


def blur_kernels(
    blur: Blur, *, iterations: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "t k"]:
    """One-dimensional Gaussian kernels, one an iteration, each summing to 1."""
    sigmas = torch.linspace(blur.first, blur.last, max(iterations, 1), dtype=torch.float64)
    half = (blur.kernel - 1) / 2
    offsets = torch.linspace(-half, half, blur.kernel, dtype=torch.float64)
    kernels = torch.exp(-0.5 * (offsets / sigmas[:, None]) ** 2)
    return (kernels / kernels.sum(1, keepdim=True)).to(device, dtype)


def apply_blur(
    images: Float[Tensor, "batch channels rows columns"], *, kernel: Float[Tensor, " k"]
) -> Float[Tensor, "batch channels rows columns"]:
    """Convolve each channel with the outer product of a kernel with itself, borders reflected."""
    channels, size = images.shape[1], kernel.numel()
    padded = torch.nn.functional.pad(images, [size // 2] * 4, mode="reflect")
    square = torch.outer(kernel, kernel).expand(channels, 1, size, size)
    return torch.nn.functional.conv2d(padded, square, groups=channels)


def trace_points(iterations: int, *, points: int = 48) -> tuple[int, ...]:
    """Iterations to trace: the first ones, then evenly in log scale, half-way and the last.

    Half-way and three quarters are always among them, since statuses and claims compare with them.
    """
    spaced = np.geomspace(1, max(iterations, 1), points).round().astype(int)
    marks = {0, iterations // 2, iterations * 3 // 4, iterations}
    return tuple(sorted({int(point) for point in spaced if point <= iterations} | marks))
