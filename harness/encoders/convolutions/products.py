"""Linear layers and convolutions as products of matrices."""

from __future__ import annotations

import dataclasses
import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.encoders.convolutions.convolution import Convolution, Pair
from harness.encoders.layout import channels_last


@dataclasses.dataclass(frozen=True)
class Product:
    """Rows times a matrix, x A.

    Parameters
    ----------
    matrix : tensor, shape (in, out)
        A.
    transposed : tensor, shape (out, in)
        A^T.
    """

    matrix: Tensor
    transposed: Tensor

    @classmethod
    def of(cls, weight: Tensor, *, rows: int, few: int = 4) -> Product:
        """The product with A, from A^T, for some number of rows."""
        return cls(*both_ways(weight, rows=rows, few=few))

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """X A, plus a bias where one is given."""
        return x @ self.matrix if bias is None else torch.addmm(bias, x, self.matrix)

    def transpose(self, cotangent: Tensor) -> Tensor:
        """U A^T."""
        return cotangent @ self.transposed


def both_ways(weight: Tensor, *, rows: int, few: int = 4) -> tuple[Tensor, Tensor]:
    """A and A^T, or a batch of them, from A^T, laid out for products with some number of rows.

    Rows times a matrix are faster where the matrix is contiguous, so A has a memory of its own. For
    few rows only reading the matrix counts: there A is a view of A^T, which is still in the
    cache on the way back.
    """
    weight = weight.contiguous()
    return weight.mT if rows <= few else weight.mT.contiguous(), weight


@dataclasses.dataclass(frozen=True)
class PointwiseProduct:
    """A convolution of single pixels, each of which is a row.

    Parameters
    ----------
    product : Product
        From channels to channels.
    stride : pair of int
    shape : torch.Size
        Of the inputs.
    """

    product: Product
    stride: Pair
    shape: torch.Size

    @classmethod
    def of(cls, convolution: Convolution) -> PointwiseProduct:
        """A regular convolution of single pixels."""
        rows = convolution.shape[0] * math.prod(convolution.output_size)
        product = Product.of(convolution.weight[:, :, 0, 0], rows=rows)
        return cls(product, convolution.stride, convolution.shape)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """A x, plus a bias where one is given."""
        pixels = self._sampled(x).permute(0, 2, 3, 1)
        y = self.product(pixels.flatten(0, 2), bias)
        return y.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)

    def transpose(self, cotangent: Tensor) -> Tensor:
        """A^T u."""
        pixels = cotangent.permute(0, 2, 3, 1)
        x = self.product.transpose(pixels.flatten(0, 2))
        image = x.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)
        if self.stride == (1, 1):
            return image
        whole = channels_last(image.new_zeros(self.shape))
        self._sampled(whole).copy_(image)
        return whole

    def _sampled(self, images: Tensor) -> Tensor:
        rows, columns = self.stride
        return images[:, :, ::rows, ::columns]


@dataclasses.dataclass(frozen=True)
class Im2col:
    """A convolution as a product of im2col patches, each of which is a row.

    Parameters
    ----------
    product : Product
        From patches (rows, columns, channels) to outputs.
    convolution : Convolution
    """

    product: Product
    convolution: Convolution

    @classmethod
    def of(cls, convolution: Convolution) -> Im2col:
        """A regular convolution."""
        rows = convolution.shape[0] * math.prod(convolution.output_size)
        weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)
        return cls(Product.of(weight, rows=rows), convolution)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """A x, plus a bias where one is given."""
        (rows, columns), (down, across) = self.convolution.kernel_size, self.convolution.stride
        top, left = self.convolution.padding
        pixels = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
        patches = pixels.unfold(1, rows, down).unfold(2, columns, across).permute(0, 1, 2, 4, 5, 3)
        y = self.product(patches.reshape(-1, len(self.product.matrix)), bias)
        return y.view(*patches.shape[:3], -1).permute(0, 3, 1, 2)

    def transpose(self, cotangent: Tensor) -> Tensor:
        """A^T u."""
        of = self.convolution
        batch, _, rows, columns = cotangent.shape
        (top, left), (height, width) = of.padding, of.input_size
        products = self.product.transpose(cotangent.permute(0, 2, 3, 1).flatten(0, 2))
        patches = products.view(batch, rows, columns, *of.kernel_size, -1)
        image = patches.new_zeros(batch, height + 2 * top, width + 2 * left, patches.shape[-1])
        for row, column in itertools.product(*map(range, of.kernel_size)):
            down = slice(row, row + rows * of.stride[0], of.stride[0])
            across = slice(column, column + columns * of.stride[1], of.stride[1])
            image[:, down, across] += patches[:, :, :, row, column]
        inside = image[:, top : top + height, left : left + width]
        return channels_last(inside.permute(0, 3, 1, 2))
