"""Linear layers and convolutions, each with a sum and a ReLU that may be fused into it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from harness.encoders.convolutions.choose import affine_map
from harness.encoders.convolutions.convolution import AffineMap, Convolution, Linear, Transpose
from harness.encoders.convolutions.products import Product
from harness.encoders.layout import accumulate
from harness.encoders.operations.elementwise import mask
from harness.encoders.operations.operation import (
    Form,
    Memory,
    UntraceableError,
    Value,
    as_row,
    constants,
    images,
    numbers,
    row,
)

_FEW = 32
"""Rows of sequences, or pixels, up to which a linear layer takes as long as reading its matrix."""


@dataclasses.dataclass(frozen=True)
class Affine:
    """A x + b, plus a second input if there is one, then a ReLU if there is one.

    Parameters
    ----------
    map : AffineMap
        A and b.
    relu : bool
        Whether a ReLU follows.
    """

    map: AffineMap
    relu: bool = False

    def forward(self, x: Tensor, second: Tensor | None = None) -> tuple[Tensor, Memory]:
        """The output, which the derivatives need where a ReLU follows."""
        y = accumulate(self.map.linear(x, self.map.bias), second)
        # oneDNN could apply the ReLU itself, but turns nan into 0.
        return (y.relu_(), (y,)) if self.relu else (y, ())

    def apply_jvp(self, memory: Memory, tangent: Tensor, second: Tensor | None = None) -> Tensor:
        """A t plus the second tangent, where the output is positive."""
        return mask(accumulate(self.map.linear(tangent, None), second), memory)

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """A^T u and u, with u masked to where the output is positive."""
        cotangent = mask(cotangent, memory)
        return self.map.transpose(cotangent), cotangent


def _plus(y: Tensor, bias: Tensor | None) -> Tensor:
    """Images plus a bias for each channel."""
    return y if bias is None else y.add_(bias[:, None, None])


def _padded(map_: AffineMap, widths: list[int]) -> AffineMap:
    """A map of images that are padded with zeros before."""
    narrower = [-width for width in widths]
    return AffineMap(
        lambda x, bias: map_.linear(F.pad(x, widths), bias),
        lambda u: F.pad(map_.transpose(u), narrower),
        map_.bias,
    )


def _transposed(map_: AffineMap, bias: Tensor | None) -> AffineMap:
    """The transpose of a map of images, with a bias of its own."""
    return AffineMap(
        lambda x, bias: _plus(map_.transpose(x), bias), lambda u: map_.linear(u, None), bias
    )


def _on_rows(map_: AffineMap) -> AffineMap:
    """A map of images of one row, for sequences."""
    return AffineMap(
        lambda x, bias: map_.linear(x.unsqueeze(2), bias).squeeze(2),
        lambda u: map_.transpose(u.unsqueeze(2)).squeeze(2),
        map_.bias,
    )


def _on_last_axis(product: Product) -> tuple[Linear, Transpose]:
    """A product for values whose last axis holds the rows."""

    def of_rows(apply: Any, x: Tensor, *bias: Tensor | None) -> Tensor:
        y: Tensor = apply(x.reshape(-1, x.shape[-1]), *bias)
        return y.view(*x.shape[:-1], -1)

    return functools.partial(of_rows, product), functools.partial(of_rows, product.transpose)


def _linear(x: Value, weight: Tensor, bias: Tensor | None = None) -> Affine:
    constants(weight, bias)
    if len(x.shape) == 2:
        product = Product.of(weight, rows=len(x.example))
        return Affine(AffineMap(product, product.transpose, bias))
    product = Product.of(weight, rows=math.prod(x.shape[:-1]), few=_FEW)
    return Affine(AffineMap(*_on_last_axis(product), bias))


def _matmul(x: Any, y: Any) -> Affine:
    if not isinstance(x, Value) or isinstance(y, Value) or y.dim() != 2 or len(x.shape) < 2:
        raise UntraceableError("not a product of rows with a constant matrix")
    return _linear(x, y.T)


def _conv2d(
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    without: Collection[str] = (),
) -> Affine:
    constants(weight, bias)
    images(x)
    widths = [0, 0, 0, 0]
    if isinstance(padding, str):
        padding, widths = _named_padding(padding, weight.shape[2:], numbers(dilation))
    shape = F.pad(x.example, widths).shape if any(widths) else x.shape
    convolution = Convolution.of(
        weight, shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    map_ = affine_map(convolution, bias, without=without)
    return Affine(_padded(map_, widths) if any(widths) else map_)


def _named_padding(
    name: str, kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, ...], list[int]]:
    """The padding of both sides, and what is padded besides at the right and below."""
    if name == "valid":
        return (0, 0), [0, 0, 0, 0]
    rows, columns = (step * (size - 1) for size, step in zip(kernel, dilation, strict=True))
    return (rows // 2, columns // 2), [0, columns % 2, 0, rows % 2]


def _conv_transpose2d(
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Affine:
    constants(weight, bias)
    images(x)
    options = numbers(stride), numbers(padding), numbers(output_padding), numbers(dilation)
    size = [
        (there - 1) * step - 2 * edge + apart * (kernel - 1) + more + 1
        for there, kernel, step, edge, more, apart in zip(
            x.shape[2:], weight.shape[2:], *options, strict=True
        )
    ]
    convolution = Convolution.of(
        weight,
        (x.shape[0], weight.shape[1] * groups, *size),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    if convolution.output_size != tuple(x.shape[2:]):
        raise UntraceableError("its output is padded by more than its stride")
    return Affine(_transposed(affine_map(convolution, None), bias))


def _on_a_row(weight: Tensor) -> Tensor:
    """The kernel for sequences as one for images of one row."""
    constants(weight)
    return weight.unsqueeze(2)


def _conv1d(
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Affine:
    edge = padding if isinstance(padding, str) else row(padding, across=0)
    options = row(stride, across=1), edge, row(dilation, across=1), groups
    return Affine(_on_rows(_conv2d(as_row(x), _on_a_row(weight), bias, *options).map))


def _conv_transpose1d(
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Affine:
    options = (
        row(stride, across=1),
        row(padding, across=0),
        row(output_padding, across=0),
        groups,
        row(dilation, across=1),
    )
    return Affine(_on_rows(_conv_transpose2d(as_row(x), _on_a_row(weight), bias, *options).map))


FORMS: dict[str, Form] = {
    "linear": _linear,
    "matmul": _matmul,
    "conv1d": _conv1d,
    "conv2d": _conv2d,
    "conv_transpose1d": _conv_transpose1d,
    "conv_transpose2d": _conv_transpose2d,
}
"""Forms by the names of torch's functions."""
