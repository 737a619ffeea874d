"""Convolutions on a GPU as products of im2col patches, which are gathered by index.

cuDNN has exact float32 kernels for large images alone: for small ones it takes Fourier transforms,
or transposes its operands. Here a pixel of zeros is put before the pixels, patches are
gathered and multiplied: three kernels whatever the stride, forward and back, and the product is as
fast as products get. The transpose gathers cotangents, since scattering adds in any order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.encoders.convolutions.convolution import Convolution, Pair

_NONE = -1
"""Where a kernel meets padding."""


@dataclasses.dataclass(frozen=True)
class GatheredPatches:
    """Products of im2col patches with a matrix.

    Parameters
    ----------
    places : tensor of int, shape (patches * kernel,)
        The pixels of each patch, counted from 1 over the whole batch; 0 is a pixel of zeros.
    matrix : tensor, shape (kernel * in, out)
        What a patch is multiplied with.
    size : pair of int
        Rows and columns of patches.
    """

    places: Tensor
    matrix: Tensor
    size: Pair

    @classmethod
    def forward(cls, convolution: Convolution) -> GatheredPatches:
        """A, of a regular convolution."""
        seen = [_seen(*axis) for axis in _axes(convolution)]
        weight = convolution.weight.permute(2, 3, 1, 0)
        return cls._of(weight, seen, size=convolution.input_size, batch=convolution.shape[0])

    @classmethod
    def back(cls, convolution: Convolution) -> GatheredPatches:
        """A^T, of a regular convolution."""
        seen = [_seen_by(*axis) for axis in _axes(convolution)]
        weight = convolution.weight.permute(2, 3, 0, 1)
        return cls._of(weight, seen, size=convolution.output_size, batch=convolution.shape[0])

    @classmethod
    def _of(
        cls, weight: Tensor, seen: Sequence[Tensor], *, size: Pair, batch: int
    ) -> GatheredPatches:
        """Patches of images of a size; `seen` holds, for either axis, a patch's pixels a row."""
        rows, columns = seen[0][:, None, :, None], seen[1][None, :, None, :]
        pixels = (rows * size[1] + columns).flatten()
        inside = ((rows != _NONE) & (columns != _NONE)).flatten()
        first = torch.arange(batch)[:, None] * math.prod(size) + 1
        places = torch.where(inside, pixels + first, 0).flatten().to(weight.device)
        return cls(places, weight.flatten(0, 2).contiguous(), (len(seen[0]), len(seen[1])))

    def __call__(self, images: Tensor, bias: Tensor | None = None) -> Tensor:
        """The product, plus a bias where one is given."""
        pixels = images.permute(0, 2, 3, 1).flatten(0, 2)
        padded = torch.cat([pixels.new_zeros(1, pixels.shape[1]), pixels])
        patches = padded[self.places].view(-1, len(self.matrix))
        rows = patches @ self.matrix if bias is None else torch.addmm(bias, patches, self.matrix)
        return rows.view(len(images), *self.size, -1).permute(0, 3, 1, 2)


def _axes(convolution: Convolution) -> list[tuple[int, int, int, int, int]]:
    """Inputs, outputs, kernel size, stride and padding along either axis."""
    return list(
        zip(
            convolution.input_size,
            convolution.output_size,
            convolution.kernel_size,
            convolution.stride,
            convolution.padding,
            strict=True,
        )
    )


def _seen(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> Tensor:
    """The inputs that each output depends on along an axis, or `_NONE`, shape (outputs, kernel)."""
    pixel = torch.arange(outputs)[:, None] * stride + torch.arange(kernel) - padding
    return torch.where((pixel >= 0) & (pixel < inputs), pixel, _NONE)


def _seen_by(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> Tensor:
    """The outputs that depend on each input along an axis, or `_NONE`, shape (inputs, kernel)."""
    place = torch.arange(inputs)[:, None] + padding - torch.arange(kernel)
    output = place.div(stride, rounding_mode="floor")
    whole = (place % stride == 0) & (output >= 0) & (output < outputs)
    return torch.where(whole, output, _NONE)
