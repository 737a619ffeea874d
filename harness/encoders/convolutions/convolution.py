"""Affine maps of batches, A x + b with A fixed, and convolutions as torch computes them.

Images lie channels last, so that a batch of them is also a matrix whose rows are pixels. The other
modules of this package compute a convolution, or its transpose, by other algorithms, which differ
in speed, in rounding, and in how far a value that is not finite spreads within its image.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.encoders.layout import channels_last

Pair = tuple[int, int]
"""A number for rows and one for columns."""

Linear = Callable[[Tensor, Tensor | None], Tensor]
"""Maps x to A x, plus a bias where one is given."""

Transpose = Callable[[Tensor], Tensor]
"""Maps a cotangent u to A^T u."""


@dataclasses.dataclass(frozen=True)
class AffineMap:
    """An affine map of a batch, A x + b.

    Parameters
    ----------
    linear : callable
        A.
    transpose : callable
        A^T.
    bias : tensor, shape (out,), or None
        b.
    """

    linear: Linear
    transpose: Transpose
    bias: Tensor | None


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution of images of one shape, by torch's own operators.

    Parameters
    ----------
    weight : tensor, shape (out, in / groups, rows, columns)
    stride, padding, dilation : pair of int
    groups : int
    shape : torch.Size
        Of the inputs: batch, channels, rows, columns.
    """

    weight: Tensor
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    shape: torch.Size

    @classmethod
    def of(
        cls,
        weight: Tensor,
        shape: Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> Convolution:
        """A convolution with torch's arguments, for inputs of a shape.

        Rows and columns of the kernel that only ever meet padding are dropped. Deep layers see
        small images: on one pixel, eight of the nine weights of a padded 3 x 3 kernel only ever
        multiply zeros, yet they would be read at every step.
        """
        whole = cls(
            weight=weight,
            stride=pair(stride),
            padding=pair(padding),
            dilation=pair(dilation),
            groups=groups,
            shape=torch.Size(shape),
        )
        rows, columns = (whole._used_kernel(axis) for axis in range(2))
        return dataclasses.replace(
            whole,
            weight=whole.weight[
                ..., rows.start : rows.stop, columns.start : columns.stop
            ].contiguous(memory_format=torch.channels_last),
            padding=(whole.padding[0] - rows.start, whole.padding[1] - columns.start),
        )

    def _used_kernel(self, axis: int) -> range:
        """The rows, or columns, of the kernel that meet an image; all where that is not simple."""
        kernel, stride, padding = self.kernel_size[axis], self.stride[axis], self.padding[axis]
        length, outputs = self.input_size[axis], self.output_size[axis]
        if self.dilation[axis] != 1:
            return range(kernel)
        used = [
            place
            for place in range(kernel)
            if any(0 <= output * stride + place - padding < length for output in range(outputs))
        ]
        if not used:
            return range(kernel)
        first, last = used[0], used[-1]
        # Padding is the same on both sides; where that would change the output, the kernel stays.
        shorter = padding - first
        fewer = (length + 2 * shorter - (last - first + 1)) // stride + 1
        return range(first, last + 1) if shorter >= 0 and fewer == outputs else range(kernel)

    @property
    def kernel_size(self) -> Pair:
        """Rows and columns of the kernel."""
        return pair(self.weight.shape[2:])

    @property
    def input_size(self) -> Pair:
        """Rows and columns of the inputs."""
        return pair(self.shape[2:])

    @functools.cached_property
    def output_size(self) -> Pair:
        """Rows and columns of the outputs."""
        sizes = zip(
            *(self.input_size, self.padding, self.dilation, self.kernel_size, self.stride),
            strict=True,
        )
        return pair(tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in sizes))

    @property
    def output_shape(self) -> torch.Size:
        """Shape of the outputs."""
        return torch.Size((self.shape[0], len(self.weight), *self.output_size))

    @property
    def regular(self) -> bool:
        """Whether it has one group, no dilation, and no output that sees padding alone."""
        covered = all(p < k for p, k in zip(self.padding, self.kernel_size, strict=True))
        return self.groups == 1 and self.dilation == (1, 1) and covered

    @property
    def pointwise(self) -> bool:
        """Whether an output depends on a single pixel."""
        return self.kernel_size == (1, 1) and self.padding == (0, 0)

    def flipped(self) -> Convolution:
        """A^T as a convolution with the flipped kernel; for a regular one of stride 1."""
        rows, columns = (k - 1 - p for k, p in zip(self.kernel_size, self.padding, strict=True))
        weight = self.weight.flip(2, 3).transpose(0, 1)
        return dataclasses.replace(
            self,
            weight=weight.contiguous(memory_format=torch.channels_last),
            padding=(rows, columns),
            shape=self.output_shape,
        )

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """A x, plus a bias where one is given."""
        where = self.stride, self.padding, self.dilation, self.groups
        # cuDNN returns float64 in another layout.
        return channels_last(F.conv2d(x, self.weight, bias, *where))

    def transpose(self, cotangent: Tensor) -> Tensor:
        """A^T u."""
        gradient, _, _ = torch.ops.aten.convolution_backward(
            cotangent,
            self._input,
            self.weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            False,
            (0, 0),
            self.groups,
            (True, False, False),
        )
        return channels_last(gradient)

    @functools.cached_property
    def _input(self) -> Tensor:
        """An input of which torch asks for the shape alone."""
        return self.weight.new_zeros(1).expand(self.shape)


def pair(numbers: int | Sequence[int]) -> Pair:
    """A pair that torch takes as one number for both, or in a sequence of one or two."""
    given = [numbers] if isinstance(numbers, int) else list(numbers)
    rows, columns = given * 2 if len(given) == 1 else given
    return rows, columns
