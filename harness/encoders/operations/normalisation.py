"""Normalisation with fixed statistics, or with those of the sample itself."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from harness.encoders.layout import channels_last
from harness.encoders.operations.arithmetic import ScaleShift
from harness.encoders.operations.operation import (
    Form,
    Memory,
    UntraceableError,
    Value,
    constants,
    numbers,
    samples_stay,
)


@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """Values of mean 0 and variance 1 over the last axes, times weights, plus a bias.

    Parameters
    ----------
    shape : tuple of int
        Of the last axes.
    weight, bias : tensor of that shape, or None
    eps : float
        Added to the variance.
    """

    shape: tuple[int, ...]
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output; the input, its means and the inverses of its deviations."""
        y, mean, scale = torch.ops.aten.native_layer_norm(
            x, self.shape, self.weight, self.bias, self.eps
        )
        return y, (x, mean, scale)

    def apply_jvp(self, memory: Memory, tangent: Tensor) -> Tensor:
        """The tangent, without what changes means and deviations."""
        x, mean, scale = memory
        y = _normalised_tangent(x, mean, scale, tangent, axes=len(self.shape))
        return y if self.weight is None else y * self.weight

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """The cotangent of the input."""
        x, mean, scale = memory
        gradient, _, _ = torch.ops.aten.native_layer_norm_backward(
            cotangent, x, self.shape, mean, scale, self.weight, self.bias, (True, False, False)
        )
        return (gradient,)


@dataclasses.dataclass(frozen=True)
class GroupNorm:
    """Values of mean 0 and variance 1 over groups of channels, times weights, plus a bias.

    Parameters
    ----------
    groups : int
    weight, bias : tensor, shape (channels,), or None
    eps : float
        Added to the variance.
    """

    groups: int
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output; the input, its means and the inverses of its deviations."""
        x = channels_last(x)  # torch takes no parts of other tensors
        y, mean, scale = torch.ops.aten.native_group_norm(
            x, self.weight, self.bias, *self._sizes(x), self.groups, self.eps
        )
        return y, (x, mean, scale)

    def apply_jvp(self, memory: Memory, tangent: Tensor) -> Tensor:
        """The tangent, without what changes means and deviations."""
        x, mean, scale = memory
        parts = len(x), self.groups, -1
        y = _normalised_tangent(
            x.reshape(parts), mean[..., None], scale[..., None], tangent.reshape(parts), axes=1
        ).view(x.shape)
        if self.weight is None:
            return y
        return y * self.weight.view(-1, *[1] * (x.dim() - 2))

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """The cotangent of the input."""
        x, mean, scale = memory
        cotangent = channels_last(cotangent)  # torch reads both as if they lay alike
        gradient, _, _ = torch.ops.aten.native_group_norm_backward(
            *(cotangent, x, mean, scale, self.weight, *self._sizes(x), self.groups),
            (True, False, False),
        )
        return (gradient,)

    def _sizes(self, x: Tensor) -> tuple[int, int, int]:
        return x.shape[0], x.shape[1], math.prod(x.shape[2:])


def _normalised_tangent(
    x: Tensor, mean: Tensor, scale: Tensor, tangent: Tensor, *, axes: int
) -> Tensor:
    """How (x - mean) times the inverse deviation moves with x."""
    over = tuple(range(-axes, 0))
    unit = (x - mean) * scale
    along = (unit * tangent).mean(over, keepdim=True)
    moved = (tangent - tangent.mean(over, keepdim=True) - unit * along) * scale
    return moved.to(tangent.dtype)


def _batch_norm(
    x: Value,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> ScaleShift:
    constants(running_mean, running_var, weight, bias)
    if training or running_mean is None or running_var is None:
        raise UntraceableError("it uses statistics of the batch")
    factor = (running_var + eps).rsqrt()
    offset = -running_mean * factor
    if weight is not None:
        factor, offset = factor * weight, offset * weight
    if bias is not None:
        offset = offset + bias
    channels = -1, *[1] * (len(x.shape) - 2)
    return ScaleShift(x.shape, factor.view(channels), offset.view(channels))


def _layer_norm(
    x: Value,
    normalized_shape: tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> LayerNorm:
    constants(weight, bias)
    shape = numbers(normalized_shape, length=1)
    samples_stay([len(x.shape) - len(shape)])
    return LayerNorm(shape, weight, bias, eps)


def _group_norm(
    x: Value,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> GroupNorm:
    constants(weight, bias)
    return GroupNorm(num_groups, weight, bias, eps)


FORMS: dict[str, Form] = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
}
"""Forms by the names of torch's functions."""
