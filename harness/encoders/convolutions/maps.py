"""Affine maps of batches, A x + b with A fixed, and their transposes: what a network computes.

Images are laid out channels last, so that a batch of them is also a matrix whose rows are pixels.
A convolution has several forms, which differ in speed, in rounding, and in how far a value that is
not finite spreads within its image: torch's own (`PlainConvolution`), products of matrices
(`Product`, `Unfolded`), one of fewer pixels (`Sampled`), products at points (`winograd`), torch's
loops for single images (`im2col_cpu`), oneDNN's with weights that are laid out once (`onednn`) and,
for GPUs, products of gathered windows (`im2col_gpu`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from harness.encoders.layout import accumulate, channels_last

Pair = tuple[int, int]
"""A number for rows and one for columns."""

Layout = tuple[int, int, int]
"""Rows, columns and channels of an image."""


class Direct(Protocol):
    """An affine map of a batch, on the way there."""

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        ...

    def apply_jvp(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        ...


class Back(Protocol):
    """The transpose of a map of a batch."""

    def __call__(self, u: Tensor, /, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`, which may be overwritten with the result."""
        ...


class Map(Direct, Protocol):
    """An affine map of a batch, and its transpose."""

    def apply_vjp(self, cotangent: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`, which may be overwritten with the result."""
        ...


@dataclasses.dataclass(frozen=True)
class PlainConvolution:
    """A convolution by torch's own operators.

    Parameters
    ----------
    weight : tensor, shape (out, in / groups, rows, columns)
    bias : tensor, shape (out,), or None
    stride, padding, dilation : pair of int
    groups : int
    shape : torch.Size
        Of the inputs: batch, channels, rows, columns.
    """

    weight: Tensor
    bias: Tensor | None
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    shape: torch.Size

    @classmethod
    def of(cls, layer: nn.Conv2d, shape: torch.Size) -> PlainConvolution:
        """The convolution of a layer whose padding is zeros, and given in numbers."""
        assert not isinstance(layer.padding, str)
        return cls(
            weight=layer.weight.detach().contiguous(memory_format=torch.channels_last),
            bias=_detached(layer.bias),
            stride=pair(layer.stride),
            padding=pair(layer.padding),
            dilation=pair(layer.dilation),
            groups=layer.groups,
            shape=shape,
        )

    @property
    def kernel(self) -> Pair:
        """Taps."""
        return pair(self.weight.shape[2:])

    @property
    def inside(self) -> Pair:
        """Size of the inputs."""
        return pair(self.shape[2:])

    @property
    def outside(self) -> Pair:
        """Size of the outputs."""
        return pair(
            tuple(
                (length + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
                for length, padding, dilation, taps, stride in zip(
                    self.inside, self.padding, self.dilation, self.kernel, self.stride, strict=True
                )
            )
        )

    @functools.cached_property
    def rest(self) -> Pair:
        """Rows and columns at the end of the inputs that no tap meets."""
        return pair(
            tuple(
                (length + 2 * padding - taps) % stride
                for length, padding, taps, stride in zip(
                    self.inside, self.padding, self.kernel, self.stride, strict=True
                )
            )
        )

    @property
    def cotangents(self) -> torch.Size:
        """Shape of the outputs."""
        return torch.Size((self.shape[0], len(self.weight), *self.outside))

    @property
    def layouts(self) -> tuple[Layout, Layout]:
        """Of the inputs and of the outputs."""
        return (*self.inside, self.shape[1]), (*self.outside, len(self.weight))

    @property
    def simple(self) -> bool:
        """Whether all channels meet, without gaps between taps, and no output sees padding only."""
        covered = all(p < k for p, k in zip(self.padding, self.kernel, strict=True))
        return self.groups == 1 and self.dilation == (1, 1) and covered

    @property
    def pointwise(self) -> bool:
        """Whether an output takes a single pixel."""
        return self.kernel == (1, 1) and self.padding == (0, 0)

    @property
    def small(self) -> bool:
        """Whether the matrix of the whole convolution is cheaper than its kernel.

        An output takes a multiplication for each pixel of the image in place of each tap of the
        kernel, and the matrix has inputs * outputs weights in place of the taps, which are read
        once for all images.
        """
        inputs, outputs, taps = map(math.prod, (self.inside, self.outside, self.kernel))
        most = taps if self.shape[0] < 4 else 2 * taps
        return inputs <= taps and inputs * outputs <= most

    def sampled(self) -> PlainConvolution:
        """A convolution of single pixels, of the pixels alone that it takes."""
        shape = torch.Size((*self.shape[:2], *self.outside))
        return dataclasses.replace(self, stride=(1, 1), shape=shape)

    def turned(self) -> PlainConvolution:
        """A^T, of a simple convolution of stride 1: the kernel is turned about."""
        rows, columns = (k - 1 - p for k, p in zip(self.kernel, self.padding, strict=True))
        return dataclasses.replace(
            self,
            weight=self.weight.flip(2, 3)
            .transpose(0, 1)
            .contiguous(memory_format=torch.channels_last),
            bias=None,
            padding=(rows, columns),
            shape=self.cotangents,
        )

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        return accumulate(self._convolve(x, self.bias), added)

    def apply_jvp(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        return accumulate(self._convolve(tangent, None), added)

    def apply_vjp(self, cotangent: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        shape = (len(cotangent), *self.shape[1:])
        where = self.stride, self.padding, self.dilation, self.groups
        gradient = conv2d_input(shape, self.weight, cotangent, *where)  # type: ignore[no-untyped-call]
        return accumulate(channels_last(gradient), onto)

    def _convolve(self, x: Tensor, bias: Tensor | None) -> Tensor:
        where = self.stride, self.padding, self.dilation, self.groups
        # cuDNN lays out anew what is in float64.
        return channels_last(F.conv2d(x, self.weight, bias, *where))


@dataclasses.dataclass(frozen=True)
class Turned:
    """A convolution of stride 1 as the transpose of the one with its kernel turned about.

    A library's kernels for the way there and for the way back are not equally fast.

    Parameters
    ----------
    turned : PlainConvolution
        A^T.
    bias : tensor, shape (out,), or None
        b.
    """

    turned: PlainConvolution
    bias: Tensor | None

    @classmethod
    def of(cls, plain: PlainConvolution) -> Turned:
        """A simple convolution of stride 1."""
        return cls(plain.turned(), plain.bias)

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        bias = None if self.bias is None else self.bias[:, None, None]
        return accumulate(accumulate(self.turned.apply_vjp(x), bias), added)

    def apply_jvp(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        return self.turned.apply_vjp(tangent, onto=added)

    def apply_vjp(self, cotangent: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        return self.turned.apply_jvp(cotangent, added=onto)


@dataclasses.dataclass(frozen=True)
class TwoWay:
    """A map that has a form for the way there and another one for the way back.

    Parameters
    ----------
    direct : Direct
        A and b.
    back : Back
        A^T.
    """

    direct: Direct
    back: Back

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        return self.direct.forward(x, added=added)

    def apply_jvp(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        return self.direct.apply_jvp(tangent, added=added)

    def apply_vjp(self, cotangent: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        return self.back(cotangent, onto=onto)


@dataclasses.dataclass(frozen=True)
class Product:
    """A map of rows, x A + b.

    Parameters
    ----------
    matrix : tensor, shape (in, out)
        A.
    transposed : tensor, shape (out, in)
        A^T in a layout of its own, since rows times a matrix are faster where it is laid out along
        its rows. For up to four rows that makes no difference: what counts is reading the matrix,
        and A^T is a view of A, which is still in the cache on the way back.
    bias : tensor, shape (out,), or None
        b.
    inside, outside : triple of int, or None
        Rows, columns and channels of the images that inputs and outputs make up, if they do.
    """

    matrix: Tensor
    transposed: Tensor
    bias: Tensor | None
    inside: Layout | None = None
    outside: Layout | None = None

    @classmethod
    def linear(cls, layer: nn.Linear, *, rows: int) -> Product:
        """A fully connected layer of vectors."""
        return cls(*both_ways(layer.weight.detach(), rows=rows), _detached(layer.bias))

    @classmethod
    def pointwise(cls, plain: PlainConvolution) -> Product:
        """A convolution of single pixels; every pixel is a row."""
        rows = plain.shape[0] * math.prod(plain.inside)
        return cls(*both_ways(plain.weight[:, :, 0, 0], rows=rows), plain.bias, *plain.layouts)

    @classmethod
    def dense(cls, plain: PlainConvolution) -> Product:
        """A convolution as the one matrix that it is; every image is a row."""
        inside, outside = plain.layouts
        units = torch.eye(math.prod(inside), dtype=plain.weight.dtype, device=plain.weight.device)
        columns = plain.apply_jvp(as_images(units, inside)).permute(2, 3, 1, 0)
        bias = None if plain.bias is None else plain.bias.repeat(math.prod(plain.outside))
        matrices = both_ways(columns.flatten(0, 2), rows=plain.shape[0])
        return cls(*matrices, bias, inside, outside)

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        rows = times(_rows(x, self.matrix), self.matrix, plus=self.bias)
        return accumulate(as_images(rows, self.outside), added)

    def apply_jvp(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        rows = _rows(tangent, self.matrix) @ self.matrix
        return accumulate(as_images(rows, self.outside), added)

    def apply_vjp(self, cotangent: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        rows = _rows(cotangent, self.transposed)
        if onto is not None and rows.is_cuda:
            # Added up where products are, so that the sum takes no pass of its own. What other
            # operations have made may be laid out otherwise, and its rows be copies.
            onto = channels_last(onto)
            _rows(onto, self.matrix).addmm_(rows, self.transposed)
            return onto
        return accumulate(as_images(rows @ self.transposed, self.inside), onto)


@dataclasses.dataclass(frozen=True)
class Unfolded:
    """A convolution as a product: every output is a row that holds the window of the image it sees.

    Parameters
    ----------
    product : Product
        From windows (rows, columns, channels) to outputs.
    stride, padding, kernel, inside, outside : pair of int
        Of the convolution.
    """

    product: Product
    stride: Pair
    padding: Pair
    kernel: Pair
    inside: Pair
    outside: Pair

    @classmethod
    def of(cls, plain: PlainConvolution) -> Unfolded:
        """A simple convolution."""
        weight = plain.weight.permute(0, 2, 3, 1).flatten(1)
        rows = plain.shape[0] * math.prod(plain.outside)
        product = Product(*both_ways(weight, rows=rows), plain.bias, None, plain.layouts[1])
        where = plain.stride, plain.padding, plain.kernel, plain.inside, plain.outside
        return cls(product, *where)

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        return self.product.forward(self._windows(x), added=added)

    def apply_jvp(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        return self.product.apply_jvp(self._windows(tangent), added=added)

    def apply_vjp(self, cotangent: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        batch, _, *outside = cotangent.shape
        windows = self.product.apply_vjp(cotangent).view(batch, *outside, *self.kernel, -1)
        if onto is None:
            onto = blank(windows, batch, (*self.inside, windows.shape[-1]))
        image = onto.permute(0, 2, 3, 1)
        for row, column in itertools.product(*map(range, self.kernel)):
            (top, down), (left, across) = self._met(row, 0), self._met(column, 1)
            image[:, down, across] += windows[:, top, left, row, column]
        return onto

    def _windows(self, x: Tensor) -> Tensor:
        """The window of each output as a row, shape (outputs, taps * channels)."""
        (top, left), (down, across) = self.padding, self.stride
        pixels = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
        batch, image, line, pixel = pixels.stride()
        windows = pixels.as_strided(
            (len(x), *self.outside, *self.kernel, x.shape[1]),
            (batch, down * image, across * line, image, line, pixel),
        )
        return windows.reshape(-1, len(self.product.matrix))

    def _met(self, tap: int, axis: int) -> tuple[slice, slice]:
        """The outputs whose tap meets the image, along an axis, and the pixels that it meets."""
        stride, before = self.stride[axis], tap - self.padding[axis]
        first = max(0, -(before // stride))
        last = min(self.outside[axis] - 1, (self.inside[axis] - 1 - before) // stride)
        if last < first:
            return slice(0), slice(0)
        pixels = slice(first * stride + before, last * stride + before + 1, stride)
        return slice(first, last + 1), pixels


@dataclasses.dataclass(frozen=True)
class Sampled:
    """A map of every so-manieth pixel, the first one included.

    Parameters
    ----------
    map : Map
        Of the pixels taken.
    stride : pair of int
        Between them.
    inside : pair of int
        Size of the images that they are taken from.
    """

    map: Map
    stride: Pair
    inside: Pair

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        return self.map.forward(channels_last(self._taken(x)), added=added)

    def apply_jvp(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        return self.map.apply_jvp(channels_last(self._taken(tangent)), added=added)

    def apply_vjp(self, cotangent: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        input_cotangent = self.map.apply_vjp(cotangent)
        if onto is None:
            batch, channels, *_ = input_cotangent.shape
            onto = blank(input_cotangent, batch, (*self.inside, channels))
        self._taken(onto).add_(input_cotangent)
        return onto

    def _taken(self, images: Tensor) -> Tensor:
        rows, columns = self.stride
        return images[:, :, ::rows, ::columns]


def both_ways(weight: Tensor, *, rows: int) -> tuple[Tensor, Tensor]:
    """A and A^T, or several of them, from A^T, for some number of rows."""
    weight = weight.contiguous()
    return weight.mT if rows <= 4 else weight.mT.contiguous(), weight


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _rows(x: Tensor, matrix: Tensor) -> Tensor:
    """The rows that a matrix takes: vectors, images or pixels of images."""
    return x if x.dim() == 2 else x.permute(0, 2, 3, 1).reshape(-1, len(matrix))


def as_images(rows: Tensor, layout: Layout | None) -> Tensor:
    """The images that rows make up, or the rows themselves."""
    return rows if layout is None else rows.view(-1, *layout).permute(0, 3, 1, 2)


def blank(like: Tensor, batch: int, layout: Layout) -> Tensor:
    """Images of zeros."""
    return as_images(like.new_zeros(batch * math.prod(layout)), layout)


def times(rows: Tensor, matrix: Tensor, *, plus: Tensor | None) -> Tensor:
    """Rows times a matrix, plus a row where there is one."""
    if plus is not None and rows.is_cuda:
        # In one kernel; on a CPU that is no faster.
        return torch.addmm(plus, rows, matrix)
    return accumulate(rows @ matrix, plus)


def pair(numbers: tuple[int, ...]) -> Pair:
    """A pair that torch states as a tuple of any length."""
    rows, columns = numbers
    return rows, columns
