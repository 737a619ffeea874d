"""The spectrum of images: their frequencies, and filters of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def frequencies(images: Float[Tensor, "batch c rows columns"]) -> Float[Tensor, "rows half"]:
    """Of a real spectrum, in cycles per longer side; those below 1 are taken for 1. In float64."""
    rows, columns = images.shape[2:]
    down, across = torch.fft.fftfreq(rows), torch.fft.rfftfreq(columns)
    frequency = torch.hypot(down[:, None], across).double() * max(rows, columns)
    return frequency.clamp_min(1.0)


def filtered(
    images: Float[Tensor, "batch c rows columns"],
    *,
    by: Float[Tensor, "rows half"],
    columns: int,
) -> Float[Tensor, "batch c rows columns"]:
    """Images with their spectrum multiplied by a filter."""
    size = (len(by), columns)
    product: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * by, s=size)
    return product
