"""Priors on images: what is added to a loss, and what is done to an image at a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.inversion.distances import total
from harness.plan.decoders import Blur, TotalVariation


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
    """Convolve each channel with a kernel along both axes, borders reflected.

    Tap by tap: a library takes longer to prepare a convolution of three channels.
    """
    size = kernel.numel()
    blurred = torch.nn.functional.pad(images, [size // 2] * 4, mode="reflect")
    for axis in (2, 3):
        length = images.shape[axis]
        first, *others = (blurred.narrow(axis, tap, length) for tap in range(size))
        blurred = first * kernel[0]
        for tap, values in enumerate(others, 1):
            blurred.addcmul_(values, kernel[tap])
    return blurred


def total_variation(
    images: Float[Tensor, "batch channels rows columns"], *, prior: TotalVariation
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch channels rows columns"]]:
    """The weighted total variation of each sample, and its gradient.

    Forward differences, zero beyond the last row and column (Chambolle 2004); the gradient is minus
    the divergence of the normalised differences.
    """
    down = torch.zeros_like(images)
    down[..., :-1, :] = images.diff(dim=-2)
    right = torch.zeros_like(images)
    right[..., :-1] = images.diff(dim=-1)
    length = (down.square() + right.square() + prior.smoothing**2).sqrt()
    value = total(length - prior.smoothing)
    down, right = down / length, right / length
    gradient = -down - right
    gradient[..., 1:, :] += down[..., :-1, :]
    gradient[..., 1:] += right[..., :-1]
    return prior.weight * value, prior.weight * gradient


def draw_offsets(
    pixels: int, *, rows: int, generators: Sequence[torch.Generator], device: torch.device
) -> Int[Tensor, "rows batch 2"]:
    """Shifts of jitter, uniform from -pixels to pixels along both axes, a generator a sample."""
    drawn = [
        torch.randint(-pixels, pixels + 1, (rows, 2), generator=generator, dtype=torch.int16)
        for generator in generators
    ]
    return torch.stack(drawn, dim=1).to(device)


def shift(
    images: Float[Tensor, "batch channels rows columns"], *, offsets: Int[Tensor, "batch 2"]
) -> Float[Tensor, "batch channels rows columns"]:
    """Shift each sample cyclically, down and to the right by its own offsets."""
    batch, channels, rows, columns = images.shape
    down, right = offsets.long().unbind(1)
    at = (torch.arange(rows, device=images.device) - down[:, None]) % rows
    moved = images.gather(2, at[:, None, :, None].expand(batch, channels, rows, columns))
    at = (torch.arange(columns, device=images.device) - right[:, None]) % columns
    return moved.gather(3, at[:, None, None, :].expand(batch, channels, rows, columns))
