"""Operations of a compiled plan: the output, JVP and VJP of each, written by hand.

`forward` returns the output and the memory, what derivatives need of a forward pass: the output of
a ReLU says where it is active, and max-pooling records where its maxima lie. `apply_jvp` maps
tangents of the inputs to that of the output, `apply_vjp` the cotangent of the output to those of
the inputs. No operation overwrites its inputs, but it may overwrite its cotangent.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from harness.encoders.convolutions.convolution import AffineMap
from harness.encoders.layout import accumulate, channels_last

Memory = tuple[Tensor, ...]
"""What derivatives need of a forward pass."""


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
    relu: bool

    def forward(self, x: Tensor, second: Tensor | None = None) -> tuple[Tensor, Memory]:
        """The output, which the derivatives need where a ReLU follows."""
        y = accumulate(self.map.linear(x, self.map.bias), second)
        # oneDNN could apply the ReLU itself, but turns nan into 0.
        return (y.relu_(), (y,)) if self.relu else (y, ())

    def apply_jvp(self, memory: Memory, tangent: Tensor, second: Tensor | None = None) -> Tensor:
        """A t plus the second tangent, where the output is positive."""
        return _mask(accumulate(self.map.linear(tangent, None), second), memory)

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """A^T u and u, with u masked to where the output is positive."""
        cotangent = _mask(cotangent, memory)
        return self.map.transpose(cotangent), cotangent


@dataclasses.dataclass(frozen=True)
class ReLU:
    """max(0, x)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output, which the derivatives need."""
        y = x.relu()
        return y, (y,)

    def apply_jvp(self, memory: Memory, tangent: Tensor) -> Tensor:
        """The tangent where the output is positive."""
        return _mask(tangent.clone(), memory)

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """The cotangent where the output is positive."""
        return (_mask(cotangent, memory),)


@dataclasses.dataclass(frozen=True)
class Sum:
    """x + y."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Memory]:
        """The output."""
        return x + y, ()

    def apply_jvp(self, _: Memory, x: Tensor, y: Tensor) -> Tensor:
        """Sum of the tangents."""
        return x + y

    def apply_vjp(self, _: Memory, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """The cotangent for both, each in its own memory."""
        return cotangent.clone(), cotangent


@dataclasses.dataclass(frozen=True)
class ChannelScale:
    """Every channel times its factor, plus an offset: BatchNorm with fixed statistics.

    Parameters
    ----------
    factor, offset : tensor, shape (channels, 1, 1)
    """

    factor: Tensor
    offset: Tensor

    @classmethod
    def of(cls, layer: nn.BatchNorm2d) -> ChannelScale:
        """A BatchNorm in eval mode."""
        assert layer.running_mean is not None
        assert layer.running_var is not None
        factor = (layer.running_var + layer.eps).rsqrt()
        offset = -layer.running_mean * factor
        if layer.affine:
            factor, offset = factor * layer.weight, offset * layer.weight + layer.bias
        return cls(factor.detach()[:, None, None], offset.detach()[:, None, None])

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output."""
        return torch.addcmul(self.offset, x, self.factor), ()

    def apply_jvp(self, _: Memory, tangent: Tensor) -> Tensor:
        """Every channel times its factor."""
        return tangent * self.factor

    def apply_vjp(self, _: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """Every channel times its factor."""
        return (cotangent.mul_(self.factor),)


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """Maxima of windows.

    Parameters
    ----------
    window : tuple
        Arguments of `torch.nn.functional.max_pool2d` after the images.
    """

    window: tuple[Any, ...]

    @classmethod
    def of(cls, layer: nn.MaxPool2d) -> MaxPool:
        """The pooling of a layer."""
        pairs = layer.kernel_size, layer.stride, layer.padding, layer.dilation
        return cls((*map(_both, pairs), layer.ceil_mode))

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

    @classmethod
    def of(cls, layer: nn.AvgPool2d) -> AvgPool:
        """The pooling of a layer."""
        pairs = map(_both, (layer.kernel_size, layer.stride, layer.padding))
        return cls((*pairs, layer.ceil_mode, layer.count_include_pad, layer.divisor_override))

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
class Mean:
    """The mean of each channel, as an image of one pixel."""

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output, and the input for its shape."""
        return x.mean((2, 3), keepdim=True), (x,)

    def apply_jvp(self, _: Memory, tangent: Tensor) -> Tensor:
        """The mean of each channel."""
        return self.forward(tangent)[0]

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """Each cotangent spread over the image."""
        (x,) = memory
        spread = (cotangent / x[0, 0].numel()).expand_as(x)
        return (channels_last(spread),)


@dataclasses.dataclass(frozen=True)
class Flatten:
    """Images as vectors: channels, then rows, then columns."""

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output, and the input for its shape."""
        return x.flatten(1), (x,)

    def apply_jvp(self, _: Memory, tangent: Tensor) -> Tensor:
        """The tangents as vectors."""
        return self.forward(tangent)[0]

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """Vectors as images."""
        (x,) = memory
        return (channels_last(cotangent.view(x.shape)),)


Op = Affine | ReLU | Sum | ChannelScale | MaxPool | AvgPool | Mean | Flatten
"""An operation of a compiled plan."""


def _both(numbers: int | tuple[int, ...]) -> list[int]:
    """A number for rows and one for columns, given as a pair or once for both."""
    return list(numbers) if isinstance(numbers, tuple) else [numbers, numbers]


def _mask(values: Tensor, memory: Memory) -> Tensor:
    """Zero in place, where a ReLU follows, what lies where it is inactive."""
    if memory:
        (output,) = memory
        torch.ops.aten.threshold_backward.grad_input(values, output, 0, grad_input=values)
    return values
