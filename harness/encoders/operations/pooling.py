"""Maxima and means of windows, and means and sums over axes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from harness.encoders.layout import channels_last
from harness.encoders.operations.operation import (
    Form,
    Memory,
    Op,
    UntraceableError,
    Value,
    as_row,
    images,
    numbers,
    row,
    samples_stay,
)


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """Maxima of windows.

    Parameters
    ----------
    window : tuple
        Arguments of `torch.nn.functional.max_pool2d` after the images.
    """

    window: tuple[Any, ...]

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output; the places of the maxima, and the input for its shape."""
        y, places = torch.ops.aten.max_pool2d_with_indices(x, *self.window)
        return y, (x, places)

    def apply_jvp(self, memory: Memory, tangent: Tensor) -> Tensor:
        """The tangents at the places of the maxima."""
        _, places = memory
        output_tangent = tangent.flatten(2).gather(2, places.flatten(2))
        return channels_last(output_tangent.view(places.shape))

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """Each cotangent at the place of its maximum."""
        x, places = memory
        backward = torch.ops.aten.max_pool2d_with_indices_backward
        return (backward(cotangent, x, *self.window, places),)


@dataclasses.dataclass(frozen=True)
class AvgPool:
    """Means of windows.

    Parameters
    ----------
    window : tuple
        Arguments of `torch.nn.functional.avg_pool2d` after the images.
    """

    window: tuple[Any, ...]

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output, and the input for its shape."""
        return torch.ops.aten.avg_pool2d(x, *self.window), (x,)

    def apply_jvp(self, _: Memory, tangent: Tensor) -> Tensor:
        """Means of the tangents."""
        return self.forward(tangent)[0]

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """Each cotangent spread over its window."""
        (x,) = memory
        return (torch.ops.aten.avg_pool2d_backward(cotangent, x, *self.window),)


@dataclasses.dataclass(frozen=True)
class UnevenMeans:
    """Means of windows that are not all of one size: those of rows, then those of columns.

    Parameters
    ----------
    down : tensor, shape (rows of outputs, rows)
    across : tensor, shape (columns, columns of outputs)
    """

    down: Tensor
    across: Tensor

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output."""
        return channels_last(self.down @ x @ self.across), ()

    def apply_jvp(self, _: Memory, tangent: Tensor) -> Tensor:
        """Means of the tangents."""
        return self.forward(tangent)[0]

    def apply_vjp(self, _: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """Each cotangent spread over its window."""
        return (channels_last(self.down.mT @ cotangent @ self.across.mT),)


@dataclasses.dataclass(frozen=True)
class Total:
    """Means or sums over axes.

    Parameters
    ----------
    shape : torch.Size
        Of the inputs.
    axes : tuple of int
        The axes, counted from the first.
    keeps : bool
        Whether they are kept, with length 1.
    mean : bool
        Whether it is the mean.
    """

    shape: torch.Size
    axes: tuple[int, ...]
    keeps: bool
    mean: bool

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output."""
        return (x.mean if self.mean else x.sum)(self.axes, keepdim=self.keeps), ()

    def apply_jvp(self, _: Memory, tangent: Tensor) -> Tensor:
        """The mean, or sum, of the tangents."""
        return self.forward(tangent)[0]

    def apply_vjp(self, _: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """Each cotangent spread over what it is a mean or a sum of."""
        if self.mean:
            cotangent = cotangent / math.prod(self.shape[axis] for axis in self.axes)
        if not self.keeps:
            for axis in sorted(self.axes):
                cotangent = cotangent.unsqueeze(axis)
        return (channels_last(cotangent.expand(self.shape)),)


@dataclasses.dataclass(frozen=True)
class OnRows:
    """An operation on images of one row, for sequences.

    Parameters
    ----------
    op : Op
    """

    op: Op

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output, and the memory of the operation."""
        y, memory = self.op.forward(x.unsqueeze(2))
        return y.squeeze(2), memory

    def apply_jvp(self, memory: Memory, tangent: Tensor) -> Tensor:
        """The tangent of the output."""
        return self.op.apply_jvp(memory, tangent.unsqueeze(2)).squeeze(2)

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """The cotangent of the input."""
        (found,) = self.op.apply_vjp(memory, cotangent.unsqueeze(2))
        return (found.squeeze(2),)


def _pairs(*given: Any) -> list[list[int]]:
    return [list(numbers(each)) for each in given]


def _max_pool2d(
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> MaxPool:
    if return_indices:
        raise UntraceableError("it also returns places")
    images(x)
    return MaxPool((*_pairs(kernel_size, stride or kernel_size, padding, dilation), ceil_mode))


def _max_pool1d(
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> OnRows:
    window = (
        row(kernel_size, across=1),
        row(stride or kernel_size, across=1),
        row(padding, across=0),
        row(dilation, across=1),
    )
    return OnRows(_max_pool2d(as_row(x), *window, ceil_mode, return_indices))


def _avg_pool2d(
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> AvgPool:
    images(x)
    pairs = _pairs(kernel_size, stride or kernel_size, padding)
    return AvgPool((*pairs, ceil_mode, count_include_pad, divisor_override))


def _avg_pool1d(
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> OnRows:
    window = (
        row(kernel_size, across=1),
        row(stride or kernel_size, across=1),
        row(padding, across=0),
    )
    return OnRows(_avg_pool2d(as_row(x), *window, ceil_mode, count_include_pad))


def _adaptive_avg_pool2d(x: Value, output_size: Any) -> Op:
    images(x)
    sizes = x.shape[2:]
    wanted = [
        there if size is None else size
        for size, there in zip(_sizes(output_size, 2), sizes, strict=True)
    ]
    if wanted == [1, 1]:
        return Total(x.shape, (2, 3), keeps=True, mean=True)
    if all(there % size == 0 for there, size in zip(sizes, wanted, strict=True)):
        return _avg_pool2d(x, [there // size for there, size in zip(sizes, wanted, strict=True)])
    down, across = (
        _window_means(there, size).to(x.example) for there, size in zip(sizes, wanted, strict=True)
    )
    return UnevenMeans(down, across.T.contiguous())


def _adaptive_avg_pool1d(x: Value, output_size: Any) -> OnRows:
    return OnRows(_adaptive_avg_pool2d(as_row(x), (1, *_sizes(output_size, 1))))


def _window_means(length: int, outputs: int) -> Tensor:
    """A matrix of means: the windows begin at and end at whole places around i length / outputs."""
    found = torch.zeros(outputs, length, dtype=torch.float64)
    for output in range(outputs):
        first, end = output * length // outputs, -(-(output + 1) * length // outputs)
        found[output, first:end] = 1 / (end - first)
    return found


def _sizes(given: Any, length: int) -> tuple[int | None, ...]:
    return numbers(given, length=length)


def _total(x: Value, dim: Any, keepdim: bool, *, mean: bool) -> Total:
    count = len(x.shape)
    axes = tuple(axis % count for axis in numbers(dim, length=1)) if dim is not None else (0,)
    samples_stay(axes or (0,))
    return Total(x.shape, axes, keeps=keepdim, mean=mean)


def _mean(x: Value, dim: Any = None, keepdim: bool = False) -> Total:
    return _total(x, dim, keepdim, mean=True)


def _sum(x: Value, dim: Any = None, keepdim: bool = False) -> Total:
    return _total(x, dim, keepdim, mean=False)


FORMS: dict[str, Form] = {
    "max_pool2d": _max_pool2d,
    "max_pool1d": _max_pool1d,
    "avg_pool2d": _avg_pool2d,
    "avg_pool1d": _avg_pool1d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "adaptive_avg_pool1d": _adaptive_avg_pool1d,
    "mean": _mean,
    "sum": _sum,
}
"""Forms by the names of torch's functions."""
