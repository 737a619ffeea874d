"""Convolutions on a GPU as products: what every output sees is gathered into a row.

cuDNN has exact float32 kernels for large images alone: of small ones it takes Fourier transforms,
or transposes all that it touches. Here a row of zeros is put before the pixels, windows are
gathered, and multiplied: three kernels, whatever the stride and the direction, and the product is
as fast as products get.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.encoders.convolutions.maps import (
    Layout,
    Pair,
    PlainConvolution,
    as_images,
    blank,
    pair,
    times,
)
from harness.encoders.layout import accumulate

_NONE = -1
"""Where a tap meets padding."""


@dataclasses.dataclass(frozen=True)
class Windows:
    """Products of windows with a matrix.

    Parameters
    ----------
    at : tensor of int, shape (windows * taps,)
        The pixels of each window, counted from 1 over the whole batch; 0 is a pixel of zeros.
    matrix : tensor, shape (taps * in, out)
        What a window is multiplied with.
    zeros : tensor, shape (1, in)
        The pixel of zeros.
    layout : triple of int
        Rows and columns of windows, and what a window is mapped to.
    """

    at: Tensor
    matrix: Tensor
    zeros: Tensor
    layout: Layout

    @classmethod
    def of(cls, weight: Tensor, met: Sequence[Tensor], *, inside: Pair, batch: int) -> Windows:
        """Windows that a kernel is multiplied with.

        Parameters
        ----------
        weight : tensor, shape (rows, columns, in, out)
            The kernel.
        met : pair of tensors of int, shapes (windows, taps)
            Along either axis, the pixel that a tap of a window meets, or `_NONE`.
        inside : pair of int
            Size of the images.
        batch : int
            Images.
        """
        down, across = met
        rows, columns = down[:, None, :, None], across[None, :, None, :]
        pixels = (rows * inside[1] + columns).flatten()
        seen = ((rows != _NONE) & (columns != _NONE)).flatten()
        first = torch.arange(batch)[:, None] * math.prod(inside) + 1
        at = torch.where(seen, pixels + first, 0).flatten().to(weight.device)
        matrix = weight.flatten(0, 2).contiguous()
        layout = len(down), len(across), weight.shape[3]
        return cls(at, matrix, weight.new_zeros(1, weight.shape[2]), layout)

    def pixels(self, images: Tensor) -> Tensor:
        """The pixels of images that are laid out channels last, after that of zeros."""
        return torch.cat([self.zeros, images.permute(0, 2, 3, 1).flatten(0, 2)])

    def __call__(self, pixels: Tensor, *, bias: Tensor | None = None) -> Tensor:
        """The images that products make up, of pixels of shape (1 + pixels, in)."""
        windows = pixels[self.at].view(-1, len(self.matrix))
        return as_images(times(windows, self.matrix, plus=bias), self.layout)


@dataclasses.dataclass(frozen=True)
class Gathered:
    """A convolution as products of windows.

    Parameters
    ----------
    windows : Windows
        A.
    bias : tensor, shape (out,), or None
        b.
    """

    windows: Windows
    bias: Tensor | None

    @classmethod
    def of(cls, plain: PlainConvolution) -> Gathered:
        """A simple convolution."""
        met = [_met(inside, outside, *of) for inside, outside, *of in _axes(plain)]
        taps = plain.weight.permute(2, 3, 1, 0)
        return cls(
            Windows.of(taps, met, inside=plain.inside, batch=plain.shape[0]),
            plain.bias,
        )

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        return accumulate(self.windows(self.windows.pixels(x), bias=self.bias), added)

    def apply_jvp(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        return accumulate(self.windows(self.windows.pixels(tangent)), added)


@dataclasses.dataclass(frozen=True)
class GatheredBack:
    """The transpose of a convolution, A^T u, as products of windows of cotangents.

    Parameters
    ----------
    parts : mapping of pair of int to Windows
        By the first row and column of the pixels that they make, which lie `every` apart.
    every : pair of int
        Rows and columns between pixels that meet the same taps, or one.
    inside : triple of int
        Rows, columns and channels of the inputs.
    """

    parts: dict[Pair, Windows]
    every: Pair
    inside: Layout

    @classmethod
    def of(cls, plain: PlainConvolution, *, parted: bool) -> GatheredBack:
        """Of a simple convolution.

        Parameters
        ----------
        plain : PlainConvolution
            Which.
        parted : bool
            Whether pixels that meet other taps are computed by themselves. Taps that meet nothing
            are left out then, at the cost of more products.
        """
        every = plain.stride if parted else (1, 1)
        meets = [_meets(inside, outside, *of) for inside, outside, *of in _axes(plain)]
        parts = {}
        for first in itertools.product(*map(range, every)):
            met, kernel = [], plain.weight.permute(2, 3, 0, 1)
            for axis, pixels in enumerate(meets):
                outputs = pixels[first[axis] :: every[axis]]
                taps = (outputs != _NONE).any(0).nonzero()[:, 0]
                met.append(outputs[:, taps])
                kernel = kernel.index_select(axis, taps.to(kernel.device))
            if kernel.numel():
                place = pair(first)
                parts[place] = Windows.of(kernel, met, inside=plain.outside, batch=plain.shape[0])
        return cls(parts, every, plain.layouts[0])

    def __call__(self, u: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        first = next(iter(self.parts.values()))
        pixels = first.pixels(u)
        if self.every == (1, 1):
            return accumulate(first(pixels), onto)
        if onto is None:
            onto = blank(u, len(u), self.inside)
        down, across = self.every
        for (row, column), windows in self.parts.items():
            onto[:, :, row::down, column::across] += windows(pixels)
        return onto


def _axes(plain: PlainConvolution) -> list[tuple[int, int, int, int, int]]:
    """Inputs, outputs, taps, stride and padding along either axis."""
    of = plain.inside, plain.outside, plain.kernel, plain.stride, plain.padding
    return list(zip(*of, strict=True))


def _met(inside: int, outside: int, taps: int, stride: int, padding: int) -> Tensor:
    """The pixel that each tap of each output meets along an axis, or `_NONE`."""
    pixel = torch.arange(outside)[:, None] * stride + torch.arange(taps) - padding
    return torch.where((pixel >= 0) & (pixel < inside), pixel, _NONE)


def _meets(inside: int, outside: int, taps: int, stride: int, padding: int) -> Tensor:
    """The output that meets each pixel with each tap along an axis, or `_NONE`."""
    place = torch.arange(inside)[:, None] + padding - torch.arange(taps)
    output = place.div(stride, rounding_mode="floor")
    whole = (place % stride == 0) & (output >= 0) & (output < outside)
    return torch.where(whole, output, _NONE)
