"""Convolutions of small images with fewer multiplications than they have taps.

The m outputs of a filter with three taps are a bilinear form in the taps and in the m + 2 values
that they meet, and m + 2 multiplications are enough for it (Winograd 1980, Arithmetic Complexity of
Computations; Toom and Cook for products of polynomials, of which a filter is the transpose):

    y = gather ((weigh w) * (spread x))

Along both axes at once, and over all channels, the products are (m + 2)^2 products of matrices
(Lavin and Gray 2016, Fast Algorithms for Convolutional Neural Networks), which are as fast as
products get where oneDNN's convolutions of a few pixels are far from it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.encoders.convolutions.maps import Pair, PlainConvolution, both_ways
from harness.encoders.layout import accumulate

_TAPS = 3
_AT: Mapping[int, tuple[float, ...]] = {
    2: (0, 1, -1),
    3: (0, 1, -1, 0.5),
    4: (0, 1, -1, 0.5, -2),
}
"""Where polynomials are taken, beside infinity, by the outputs of a tile. These points round least
(Barabasz et al. 2020, Error analysis and improving the accuracy of Winograd convolution): tiles of
two no more than sums over taps do, tiles of four three times as much."""

_WORTH = 16
"""Rows whose products with a matrix take as long as the matrix takes to be read."""

_DTYPES = (torch.float32, torch.float64)

Matrix = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Filter:
    """Three taps along an axis that is padded by one, y = gather ((weigh w) * (spread x)).

    Parameters
    ----------
    gather : array, shape (outputs, tiles, points)
    weigh : array, shape (points, 3)
    spread : array, shape (tiles, points, inputs)
    """

    gather: Matrix
    weigh: Matrix
    spread: Matrix

    @classmethod
    def of(cls, length: int, *, tile: int) -> Filter:
        """The filter of an axis, cut into tiles of so many outputs."""
        if length == 2:
            return cls.pair()
        points = _AT[tile]
        spread = np.linalg.inv(_powers(points, tile + _TAPS - 1)).T
        # A point's factor is the same wherever it is applied; this way all have a size.
        size = np.abs(spread).max(1, keepdims=True)
        spread, weigh = spread / size, _powers(points, _TAPS) * size
        tiles = -(-length // tile)
        outputs, inputs = tiles * tile, tiles * tile + _TAPS - 1
        gathers = np.zeros((outputs, tiles, len(points) + 1))
        spreads = np.zeros((tiles, len(points) + 1, inputs))
        for number in range(tiles):
            first = number * tile
            gathers[first : first + tile, number] = _powers(points, tile).T
            spreads[number, :, first : first + tile + _TAPS - 1] = spread
        return cls(gathers[:length], weigh, spreads[:, :, 1 : length + 1])

    @classmethod
    def pair(cls) -> Filter:
        """The filter of two values, with a product less (Karatsuba and Ofman 1962).

        y0 = w1 (x0 + x1) + (w2 - w1) x1 and y1 = w1 (x0 + x1) + (w0 - w1) x0.
        """
        return cls(
            gather=np.array([[[1.0, 1.0, 0.0]], [[1.0, 0.0, 1.0]]]),
            weigh=np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 1.0], [1.0, -1.0, 0.0]]),
            spread=np.array([[[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]]),
        )


def _powers(points: tuple[float, ...], count: int) -> Matrix:
    """Powers 0 to count - 1 of all points; at infinity the highest alone counts."""
    return np.vstack([np.vander(points, count, increasing=True), np.eye(count)[-1:]])


@dataclasses.dataclass(frozen=True)
class Winograd:
    """A convolution of 3 x 3 taps and as many outputs as inputs, by products at points.

    Parameters
    ----------
    spread, gather : tensor, shapes (tiles * points, pixels) and (pixels, tiles * points)
        From an image to points and back, for each channel by itself.
    kernels : tensor, shape (points, in, out)
        What is multiplied with at each point.
    turned : tensor, shape (points, out, in)
        The same for the way back, as in `harness.encoders.convolutions.maps.Product`.
    bias : tensor, shape (out,), or None
    size : pair of int
        Of the images.
    """

    spread: Tensor
    gather: Tensor
    kernels: Tensor
    turned: Tensor
    bias: Tensor | None
    size: Pair

    @classmethod
    def of(cls, plain: PlainConvolution, tile: Pair) -> Winograd:
        """A convolution in tiles of so many rows and columns of outputs."""
        down, across = (
            Filter.of(length, tile=outputs)
            for length, outputs in zip(plain.inside, tile, strict=True)
        )
        pixels = math.prod(plain.inside)
        # Tiles, then points, each with its row before its column.
        spread = np.einsum("tax,uby->tuabxy", down.spread, across.spread).reshape(-1, pixels)
        gather = np.einsum("xta,yub->xytuab", down.gather, across.gather).reshape(pixels, -1)
        weigh = np.einsum("ai,bj->abij", down.weigh, across.weigh).reshape(-1, _TAPS**2)
        tiles = len(down.spread) * len(across.spread)

        def of_dtype(matrix: Matrix | Tensor) -> Tensor:
            return torch.as_tensor(matrix).to(plain.weight)

        taps = plain.weight.permute(0, 2, 3, 1).flatten(1, 2)
        turned = of_dtype(torch.as_tensor(weigh) @ taps.double())  # for each output channel
        kernels = both_ways(turned.transpose(0, 1), rows=plain.shape[0] * tiles)
        return cls(of_dtype(spread), of_dtype(gather), *kernels, plain.bias, plain.inside)

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        y = self._through(x, self.spread, self.kernels, self.gather)
        return accumulate(
            accumulate(y, None if self.bias is None else self.bias[:, None, None]), added
        )

    def apply_jvp(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        return accumulate(self._through(tangent, self.spread, self.kernels, self.gather), added)

    def apply_vjp(self, cotangent: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        return accumulate(
            self._through(cotangent, self.gather.t(), self.turned, self.spread.t()), onto
        )

    def _through(self, images: Tensor, spread: Tensor, kernels: Tensor, gather: Tensor) -> Tensor:
        batch, channels, *_ = images.shape
        points = len(kernels)
        pixels = images.permute(0, 2, 3, 1).reshape(batch, -1, channels)
        spreads = torch.bmm(spread.expand(batch, -1, -1), pixels).view(-1, points, channels)
        products = torch.bmm(spreads.transpose(0, 1), kernels).transpose(0, 1)
        tiled = products.reshape(batch, -1, kernels.shape[2])
        rows = torch.bmm(gather.expand(batch, -1, -1), tiled)
        return rows.view(batch, *self.size, -1).permute(0, 3, 1, 2)


def best_tile(plain: PlainConvolution) -> Pair | None:
    """The tiles that take a convolution the least; None where another form takes no more.

    Multiplications are counted, and a weight that is read as `_WORTH` of them. Whatever has less
    digits than float32 loses too many of them on the way.
    """
    filters = plain.simple and plain.kernel == (_TAPS, _TAPS) and plain.stride == (1, 1)
    if not filters or plain.padding != (1, 1) or plain.weight.dtype not in _DTYPES:
        return None
    batch, pixels = plain.shape[0], math.prod(plain.inside)
    out, channels = plain.weight.shape[:2]

    def cost(tile: Pair | None) -> float:
        if tile is None:
            taps, matrix = _TAPS**2 * (pixels * batch + _WORTH), pixels**2 * (batch + _WORTH)
            return out * channels * min(taps, matrix)
        sizes = [*zip(plain.inside, tile, strict=True)]
        points = math.prod(_points(length, outputs) for length, outputs in sizes)
        tiles = math.prod(-(-length // outputs) for length, outputs in sizes)
        moved = tiles * points * pixels * (channels + out) * batch
        return moved + points * out * channels * (tiles * batch + _WORTH)

    tiles: list[Pair | None] = [None, *itertools.product(_AT, _AT)]
    return min(tiles, key=cost)


def _points(length: int, tile: int) -> int:
    """Products of a tile."""
    return _TAPS if length == 2 else tile + _TAPS - 1
