"""The article's blur of the image after each step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from harness.plan.decoders import Blur


def blur_kernels(
    blur: Blur, *, iterations: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "t k"]:
    """One-dimensional Gaussian kernels, one for each iteration, each summing to 1."""
    sigmas = torch.linspace(blur.first, blur.last, max(iterations, 1), dtype=torch.float64)
    half = (blur.kernel - 1) / 2
    offsets = torch.linspace(-half, half, blur.kernel, dtype=torch.float64)
    kernels = torch.exp(-0.5 * (offsets / sigmas[:, None]) ** 2)
    return (kernels / kernels.sum(1, keepdim=True)).to(device, dtype)


def apply_blur(
    images: Float[Tensor, "batch channels rows columns"], *, kernel: Float[Tensor, " k"]
) -> Float[Tensor, "batch channels rows columns"]:
    """Convolve each channel with a kernel along both axes, with reflected borders.

    Shifted views, added up: for three channels, setting up a library's convolution takes longer.
    """
    size = kernel.numel()
    blurred = torch.nn.functional.pad(images, [size // 2] * 4, mode="reflect")
    for axis in (2, 3):
        length = images.shape[axis]
        first, *others = (blurred.narrow(axis, offset, length) for offset in range(size))
        blurred = first * kernel[0]
        for offset, values in enumerate(others, 1):
            blurred.addcmul_(values, kernel[offset])
    return blurred
