"""3 x 3 convolutions of small images by Winograd's minimal filtering.

Two outputs of a filter of three weights take four multiplications in place of six (Winograd 1980,
Arithmetic Complexity of Computations): y = A^T ((G w) * (B^T x)). Along both axes, and over all
channels, that makes products of matrices (Lavin and Gray 2016, Fast Algorithms for Convolutional
Neural Networks), which are fast where oneDNN's convolutions of a few pixels are not. Rounding is
that of a sum over the kernel: only longer tiles lose digits (Barabasz et al. 2020, Error analysis
and improving the accuracy of Winograd convolution).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.encoders.convolutions.convolution import Convolution
from harness.encoders.convolutions.products import both_ways

Matrix = NDArray[np.float64]

_KERNEL = 3


@dataclasses.dataclass(frozen=True)
class Filter:
    """A filter of three weights along an axis that is padded by one, y = A^T ((G w) * (B^T x)).

    Parameters
    ----------
    output_transform : array, shape (outputs, tiles, products)
        A^T.
    kernel_transform : array, shape (products, 3)
        G.
    input_transform : array, shape (tiles, products, inputs)
        B^T.
    """

    output_transform: Matrix
    kernel_transform: Matrix
    input_transform: Matrix

    @classmethod
    def of(cls, length: int) -> Filter:
        """The filter of an axis, two outputs a tile."""
        if length == 2:
            return cls.pair()
        tiles = -(-length // 2)
        outputs = np.zeros((2 * tiles, tiles, 4))
        inputs = np.zeros((tiles, 4, 2 * tiles + 2))
        for tile in range(tiles):
            outputs[2 * tile : 2 * tile + 2, tile] = [[1, 1, 1, 0], [0, 1, -1, -1]]
            inputs[tile, :, 2 * tile : 2 * tile + 4] = [
                [1, 0, -1, 0],
                [0, 1, 1, 0],
                [0, -1, 1, 0],
                [0, 1, 0, -1],
            ]
        kernel = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
        return cls(outputs[:length], kernel, inputs[:, :, 1 : length + 1])

    @classmethod
    def pair(cls) -> Filter:
        """The filter of two values, with a product less (Karatsuba and Ofman 1962).

        y0 = w1 (x0 + x1) + (w2 - w1) x1 and y1 = w1 (x0 + x1) + (w0 - w1) x0.
        """
        return cls(
            output_transform=np.array([[[1.0, 1.0, 0.0]], [[1.0, 0.0, 1.0]]]),
            kernel_transform=np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 1.0], [1.0, -1.0, 0.0]]),
            input_transform=np.array([[[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]]),
        )


@dataclasses.dataclass(frozen=True)
class Winograd:
    """A convolution with a 3 x 3 kernel, stride 1 and padding 1.

    Parameters
    ----------
    input_transform, output_transform : tensor, shapes (tiles * products, pixels) and its reverse
        For each channel by itself.
    kernels : tensor, shape (products, in, out)
        What the transformed inputs are multiplied with.
    transposed_kernels : tensor, shape (products, out, in)
        The same for the transpose, in a layout of its own.
    convolution : Convolution
    """

    input_transform: Tensor
    output_transform: Tensor
    kernels: Tensor
    transposed_kernels: Tensor
    convolution: Convolution

    @classmethod
    def of(cls, convolution: Convolution) -> Winograd:
        """A convolution that `fits_winograd` allows."""
        weight, pixels = convolution.weight, math.prod(convolution.input_size)
        down, across = map(Filter.of, convolution.input_size)
        # Tiles, then products, each with its row before its column.
        inputs = np.einsum("tax,uby->tuabxy", down.input_transform, across.input_transform)
        outputs = np.einsum("xta,yub->xytuab", down.output_transform, across.output_transform)
        kernel = np.einsum("ai,bj->abij", down.kernel_transform, across.kernel_transform)

        def of_dtype(matrix: Matrix | Tensor) -> Tensor:
            return torch.as_tensor(matrix).to(weight)

        rows = weight.permute(0, 2, 3, 1).flatten(1, 2).double()
        kernels = torch.as_tensor(kernel.reshape(-1, _KERNEL**2)) @ rows
        tiles = len(down.input_transform) * len(across.input_transform)
        return cls(
            of_dtype(inputs.reshape(-1, pixels)),
            of_dtype(outputs.reshape(pixels, -1)),
            *both_ways(of_dtype(kernels.transpose(0, 1)), rows=convolution.shape[0] * tiles),
            convolution,
        )

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """A x, plus a bias where one is given."""
        y = self._filter(x, self.input_transform, self.kernels, self.output_transform)
        return y if bias is None else y.add_(bias[:, None, None])

    def transpose(self, cotangent: Tensor) -> Tensor:
        """A^T u."""
        return self._filter(
            cotangent,
            self.output_transform.t(),
            self.transposed_kernels,
            self.input_transform.t(),
        )

    def _filter(self, images: Tensor, before: Tensor, kernels: Tensor, after: Tensor) -> Tensor:
        batch, channels, *_ = images.shape
        pixels = images.permute(0, 2, 3, 1).reshape(batch, -1, channels)
        inputs = torch.bmm(before.expand(batch, -1, -1), pixels).view(-1, len(kernels), channels)
        products = torch.bmm(inputs.transpose(0, 1), kernels).transpose(0, 1)
        tiles = products.reshape(batch, -1, kernels.shape[2])
        rows = torch.bmm(after.expand(batch, -1, -1), tiles)
        return rows.view(batch, *self.convolution.input_size, -1).permute(0, 3, 1, 2)


def fits_winograd(convolution: Convolution) -> bool:
    """Whether a convolution is one of `Winograd`, in a dtype that has digits enough for it."""
    return (
        convolution.regular
        and convolution.kernel_size == (_KERNEL, _KERNEL)
        and convolution.stride == convolution.padding == (1, 1)
        and convolution.weight.dtype in (torch.float32, torch.float64)
    )
