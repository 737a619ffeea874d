"""Convolutions of one small image by torch's own loops: windows as columns, then one product.

With one thread torch takes these loops by itself; called by name, they are taken whatever the
threads, and rounding is the same. oneDNN prepares every call for longer than they compute.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from harness.encoders.convolutions.maps import PlainConvolution
from harness.encoders.layout import accumulate

_LITTLE = 2**20
"""Multiplications below which preparing a convolution takes longer than the convolution."""


@dataclasses.dataclass(frozen=True)
class Columns:
    """A convolution of a single image.

    Parameters
    ----------
    plain : PlainConvolution
        Without groups and gaps between taps.
    """

    plain: PlainConvolution

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        return accumulate(self._convolve(x, self.plain.bias), added)

    def apply_jvp(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        return accumulate(self._convolve(tangent, None), added)

    def apply_vjp(self, cotangent: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        plain = self.plain
        where = plain.stride, plain.padding, plain.rest, plain.dilation
        image = torch.ops.aten.slow_conv_transpose2d(
            cotangent, plain.weight, plain.kernel, None, *where
        )
        return accumulate(image, onto)

    def _convolve(self, x: Tensor, bias: Tensor | None) -> Tensor:
        plain = self.plain
        image: Tensor = torch.ops.aten._slow_conv2d_forward(
            x, plain.weight, plain.kernel, bias, plain.stride, plain.padding
        )
        return image


def little(plain: PlainConvolution) -> bool:
    """Whether a convolution is of one image, on a CPU, and takes next to nothing."""
    outputs, taps = math.prod(plain.outside), plain.weight.numel()
    alone = plain.weight.device.type == "cpu" and plain.shape[0] == 1
    return alone and plain.simple and outputs * taps <= _LITTLE
