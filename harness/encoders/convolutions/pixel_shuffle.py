"""Transposed convolutions onto few channels, by blocks of pixels."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from harness.encoders.convolutions.convolution import Convolution, Linear, Pair, pair
from harness.encoders.layout import channels_last


@dataclasses.dataclass(frozen=True)
class PixelShuffle:
    """A transposed convolution onto few channels, which yields blocks of pixels.

    Libraries compute 16 channels and more where 3 are wanted. Here a square block of the image is
    one pixel that has the channels of all pixels of the block, and one convolution yields the
    blocks: row r of block a depends on cotangent (b / s) a + j, for blocks of b rows, stride s and
    padding p, by row r + p - s j of the kernel.

    Parameters
    ----------
    convolve : callable
        The convolution from cotangents to blocks.
    block : int
        Rows and columns of a block, b.
    first : pair of int
        Blocks before the image, computed in vain since padding is the same on both sides.
    size : pair of int
        Size of the image.
    """

    convolve: Linear
    block: int
    first: Pair
    size: Pair

    @classmethod
    def of(
        cls, convolution: Convolution, block: int, *, compute: Callable[[Convolution], Linear]
    ) -> PixelShuffle:
        """The transpose of a regular convolution.

        Parameters
        ----------
        convolution : Convolution
        block : int
            Rows and columns of a block, a multiple of the stride.
        compute : callable
            Chooses how the convolution to blocks is computed.
        """
        reach = [_reach(convolution, block, axis) for axis in (0, 1)]
        steps, paddings, first = [], [], []
        for axis, (lowest, highest) in enumerate(reach):
            step = block // convolution.stride[axis]
            last = -(-convolution.input_size[axis] // block) - 1
            padding = max(-lowest, last * step + highest - convolution.output_size[axis] + 1)
            padding += -(padding + lowest) % step
            steps.append(step)
            paddings.append(padding)
            first.append((padding + lowest) // step)
        (top, bottom), (left, right) = reach
        out, channels, rows, columns = convolution.weight.shape
        size = bottom - top + 1, right - left + 1
        kernel = convolution.weight.new_zeros(channels, block, block, out, *size)
        for r, q, j, k in itertools.product(range(block), range(block), *map(range, size)):
            row = r + convolution.padding[0] - convolution.stride[0] * (top + j)
            column = q + convolution.padding[1] - convolution.stride[1] * (left + k)
            if 0 <= row < rows and 0 <= column < columns:
                kernel[:, r, q, :, j, k] = convolution.weight[:, :, row, column].t()
        to_blocks = Convolution(
            weight=kernel.flatten(0, 2).contiguous(memory_format=torch.channels_last),
            stride=pair((*steps,)),
            padding=pair((*paddings,)),
            dilation=(1, 1),
            groups=1,
            shape=convolution.output_shape,
        )
        return cls(compute(to_blocks), block, pair((*first,)), convolution.input_size)

    def __call__(self, cotangent: Tensor) -> Tensor:
        """A^T u."""
        (top, left), b = self.first, self.block
        rows, columns = (-(-length // b) for length in self.size)
        blocks = self.convolve(cotangent, None)[:, :, top : top + rows, left : left + columns]
        image = torch.nn.functional.pixel_shuffle(blocks, b)
        return channels_last(image[:, :, : self.size[0], : self.size[1]])


def best_block(convolution: Convolution, *, together: int) -> int:
    """Rows of the blocks that take the least arithmetic, or 0 where whole images do.

    Parameters
    ----------
    convolution : Convolution
    together : int
        Channels that a library computes where a single one is wanted.
    """
    stride, channels = convolution.stride[0], convolution.weight.shape[1]
    if convolution.stride[1] != stride:
        return 0

    def computed(wanted: int) -> int:
        return -(-wanted // together) * together

    def cost(block: int) -> float:
        """Multiplications a pixel and a cotangent's channel."""
        if not block:
            return computed(channels) * math.prod(convolution.kernel_size) / stride**2
        reach = (_reach(convolution, block, axis) for axis in (0, 1))
        kernel = math.prod(high - low + 1 for low, high in reach)
        return computed(channels * block**2) * kernel / block**2

    return min((0, stride, 2 * stride) if stride > 1 else (0, 2), key=cost)


def _reach(convolution: Convolution, block: int, axis: int) -> Pair:
    """The least and the greatest j of `PixelShuffle` along an axis."""
    stride, padding = convolution.stride[axis], convolution.padding[axis]
    kernel = convolution.kernel_size[axis]
    return -((kernel - 1 - padding) // stride), (block - 1 + padding) // stride
