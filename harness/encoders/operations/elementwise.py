"""Functions of every number by itself."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.encoders.operations.operation import Form, Memory, Number, Value, constants

_ATEN = torch.ops.aten


@dataclasses.dataclass(frozen=True)
class ReLU:
    """max(0, x)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output, which the derivatives need."""
        y = x.relu()
        return y, (y,)

    def apply_jvp(self, memory: Memory, tangent: Tensor) -> Tensor:
        """The tangent where the output is positive."""
        return mask(tangent.clone(), memory)

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """The cotangent where the output is positive."""
        return (mask(cotangent, memory),)


@dataclasses.dataclass(frozen=True)
class Elementwise:
    """f(x) for every number x.

    Parameters
    ----------
    function : callable
        f.
    through : callable
        A vector times f', from the vector and what is kept.
    keeps_output : bool
        Whether f' is computed from f(x) instead of x.
    """

    function: Callable[[Tensor], Tensor]
    through: Callable[[Tensor, Tensor], Tensor]
    keeps_output: bool = False

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output, and what the derivatives need."""
        y = self.function(x)
        return y, (y if self.keeps_output else x,)

    def apply_jvp(self, memory: Memory, tangent: Tensor) -> Tensor:
        """The tangent times f'."""
        return self.through(tangent, *memory)

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """The cotangent times f'."""
        return (self.through(cotangent, *memory),)


def mask(values: Tensor, memory: Memory) -> Tensor:
    """Zero in place, where a ReLU follows, what lies where it is inactive."""
    if memory:
        (output,) = memory
        torch.ops.aten.threshold_backward.grad_input(values, output, 0, grad_input=values)
    return values


def _relu(x: Value, inplace: bool = False) -> ReLU:
    return ReLU()


def _plain(
    function: Callable[[Tensor], Tensor],
    through: Callable[[Tensor, Tensor], Tensor],
    *,
    keeps_output: bool = False,
) -> Form:
    """The form of a function without options."""

    def form(x: Value, inplace: bool = False) -> Elementwise:
        return Elementwise(function, through, keeps_output)

    return form


def _gelu(x: Value, approximate: str = "none") -> Elementwise:
    return Elementwise(
        functools.partial(F.gelu, approximate=approximate),
        functools.partial(_ATEN.gelu_backward, approximate=approximate),
    )


def _leaky_relu(x: Value, negative_slope: float = 0.01, inplace: bool = False) -> Elementwise:
    return Elementwise(
        functools.partial(F.leaky_relu, negative_slope=negative_slope),
        lambda v, x: _ATEN.leaky_relu_backward(v, x, negative_slope, False),
    )


def _prelu(x: Value, weight: Tensor) -> Elementwise:
    constants(weight)
    slope = weight.view(-1, *[1] * (len(x.shape) - 2)) if len(x.shape) > 1 else weight
    return Elementwise(
        lambda x: torch.where(x > 0, x, slope * x), lambda v, x: torch.where(x > 0, v, slope * v)
    )


def _hardtanh(
    x: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Elementwise:
    return Elementwise(
        lambda x: F.hardtanh(x, min_val, max_val),
        lambda v, x: _ATEN.hardtanh_backward(v, x, min_val, max_val),
    )


def _relu6(x: Value, inplace: bool = False) -> Elementwise:
    return _hardtanh(x, 0.0, 6.0)


def _scaled_elu(x: Value, alpha: float, scale: float, inner: float) -> Elementwise:
    return Elementwise(
        lambda x: _ATEN.elu(x, alpha, scale, inner),
        lambda v, x: _ATEN.elu_backward(v, alpha, scale, inner, False, x),
    )


def _elu(x: Value, alpha: float = 1.0, inplace: bool = False) -> Elementwise:
    return _scaled_elu(x, alpha, 1.0, 1.0)


def _celu(x: Value, alpha: float = 1.0, inplace: bool = False) -> Elementwise:
    return _scaled_elu(x, alpha, 1.0, 1 / alpha)


def _selu(x: Value, inplace: bool = False) -> Elementwise:
    # The constants of self-normalising networks (Klambauer et al. 2017).
    return _scaled_elu(x, 1.6732632423543772, 1.0507009873554805, 1.0)


def _softplus(x: Value, beta: float = 1.0, threshold: float = 20.0) -> Elementwise:
    return Elementwise(
        lambda x: F.softplus(x, beta, threshold),
        lambda v, x: _ATEN.softplus_backward(v, x, beta, threshold),
    )


def _pow(x: Value, exponent: Number) -> Elementwise:
    constants(exponent)
    return Elementwise(lambda x: x.pow(exponent), lambda v, x: v * (exponent * x.pow(exponent - 1)))


FORMS: dict[str, Form] = {
    "relu": _relu,
    "relu6": _relu6,
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "hardtanh": _hardtanh,
    "elu": _elu,
    "celu": _celu,
    "selu": _selu,
    "gelu": _gelu,
    "silu": _plain(F.silu, _ATEN.silu_backward),
    "mish": _plain(F.mish, _ATEN.mish_backward),
    "hardswish": _plain(F.hardswish, _ATEN.hardswish_backward),
    "hardsigmoid": _plain(F.hardsigmoid, _ATEN.hardsigmoid_backward),
    "sigmoid": _plain(torch.sigmoid, _ATEN.sigmoid_backward, keeps_output=True),
    "tanh": _plain(torch.tanh, _ATEN.tanh_backward, keeps_output=True),
    "softplus": _softplus,
    "logsigmoid": _plain(F.logsigmoid, lambda v, x: v * torch.sigmoid(-x)),
    "softsign": _plain(F.softsign, lambda v, x: v / (1 + x.abs()).square()),
    "exp": _plain(torch.exp, torch.mul, keeps_output=True),
    "sqrt": _plain(torch.sqrt, lambda v, y: v / (2 * y), keeps_output=True),
    "square": _plain(torch.square, lambda v, x: v * (2 * x)),
    "abs": _plain(torch.abs, lambda v, x: v * x.sign()),
    "sin": _plain(torch.sin, lambda v, x: v * x.cos()),
    "cos": _plain(torch.cos, lambda v, x: v * -x.sin()),
    "pow": _pow,
}
"""Forms by the names of torch's functions."""
