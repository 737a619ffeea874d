"""Transposed convolutions onto few channels, by blocks of pixels."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from harness.encoders.convolutions.maps import Pair, PlainConvolution, pair
from harness.encoders.layout import accumulate, channels_last

LaidOut = Callable[[Tensor, Pair, Pair, torch.Size], Callable[[Tensor], Tensor]]
"""Makes a convolution of a kernel, its stride and its padding, for inputs of a shape."""


@dataclasses.dataclass(frozen=True)
class Blocks:
    """A transposed convolution onto few channels, which yields blocks of pixels.

    Libraries compute 16 channels and more where 3 are wanted. Here a square block of the image is
    one pixel that has the channels of all pixels of the block, and one convolution yields the
    blocks: where row r of block a takes the cotangents of row (b / s) a + j, for blocks of b rows,
    stride s and padding p, their tap is r + p - s j.

    Parameters
    ----------
    direct : callable
        From cotangents to blocks, a convolution.
    block : int
        Rows and columns of a block, b.
    first : pair of int
        Blocks before the image, in vain: padding is the same on both sides.
    size : pair of int
        Size of the image.
    """

    direct: Callable[[Tensor], Tensor]
    block: int
    first: Pair
    size: Pair

    @classmethod
    def of(cls, plain: PlainConvolution, block: int, *, laid_out_by: LaidOut) -> Blocks:
        """Lay out the kernel of a convolution for blocks."""
        reach = [_reach(plain, block, axis) for axis in (0, 1)]
        steps, paddings, first = [], [], []
        for axis, (lowest, highest) in enumerate(reach):
            step = block // plain.stride[axis]
            last = -(-plain.inside[axis] // block) - 1
            padding = max(-lowest, last * step + highest - plain.outside[axis] + 1)
            padding += -(padding + lowest) % step
            steps.append(step)
            paddings.append(padding)
            first.append((padding + lowest) // step)
        (top, bottom), (left, right) = reach
        out, channels, rows, columns = plain.weight.shape
        taps = bottom - top + 1, right - left + 1
        kernel = plain.weight.new_zeros(channels, block, block, out, *taps)
        for r, q, j, k in itertools.product(range(block), range(block), *map(range, taps)):
            row = r + plain.padding[0] - plain.stride[0] * (top + j)
            column = q + plain.padding[1] - plain.stride[1] * (left + k)
            if 0 <= row < rows and 0 <= column < columns:
                kernel[:, r, q, :, j, k] = plain.weight[:, :, row, column].t()
        direct = laid_out_by(
            kernel.flatten(0, 2), pair((*steps,)), pair((*paddings,)), plain.cotangents
        )
        return cls(direct, block, pair((*first,)), plain.inside)

    def __call__(self, u: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        (top, left), b = self.first, self.block
        rows, columns = (-(-length // b) for length in self.size)
        blocks = self.direct(u)[:, :, top : top + rows, left : left + columns]
        image = torch.nn.functional.pixel_shuffle(blocks, b)
        return accumulate(channels_last(image[:, :, : self.size[0], : self.size[1]]), onto)


def _reach(plain: PlainConvolution, block: int, axis: int) -> Pair:
    """The least and the greatest j of `Blocks` along an axis."""
    stride, padding, taps = plain.stride[axis], plain.padding[axis], plain.kernel[axis]
    return -((taps - 1 - padding) // stride), (block - 1 + padding) // stride


def best_block(plain: PlainConvolution, *, together: int) -> int:
    """Rows of the blocks that take the least arithmetic, or 0 where whole images do.

    Parameters
    ----------
    plain : PlainConvolution
        Which.
    together : int
        Channels that a library computes where a single one is wanted.
    """
    stride, channels = plain.stride[0], plain.weight.shape[1]
    if plain.stride[1] != stride:
        return 0

    def computed(wanted: int) -> int:
        return -(-wanted // together) * together

    def cost(block: int) -> float:
        """Multiplications a pixel and a cotangent's channel."""
        if not block:
            return computed(channels) * math.prod(plain.kernel) / stride**2
        taps = math.prod(high - low + 1 for low, high in (_reach(plain, block, a) for a in (0, 1)))
        return computed(channels * block**2) * taps / block**2

    return min((0, stride, 2 * stride) if stride > 1 else (0, 2), key=cost)
