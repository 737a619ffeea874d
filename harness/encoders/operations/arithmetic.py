"""Sums, products and quotients of two values, or of one with a constant; shapes are broadcast."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from harness.encoders.operations.elementwise import Elementwise
from harness.encoders.operations.operation import (
    Form,
    Memory,
    Number,
    Op,
    UntraceableError,
    Value,
    constants,
)


@dataclasses.dataclass(frozen=True)
class Sum:
    """x + c y.

    Parameters
    ----------
    shapes : pair of torch.Size
        Of x and y.
    factor : number
        c.
    """

    shapes: tuple[torch.Size, torch.Size]
    factor: Number = 1

    @property
    def plain(self) -> bool:
        """Whether it adds y as it is to an x of its shape."""
        return self.factor == 1 and self.shapes[0] == self.shapes[1]

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Memory]:
        """The output."""
        return torch.add(x, y, alpha=self.factor), ()

    def apply_jvp(self, _: Memory, x: Tensor, y: Tensor) -> Tensor:
        """Sum of the tangents."""
        return torch.add(x, y, alpha=self.factor)

    def apply_vjp(self, _: Memory, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """The cotangent for both, each in its own memory."""
        x, y = self.shapes
        first = summed(cotangent, x) if x != cotangent.shape else cotangent.clone()
        second = summed(cotangent, y)
        return first, second if self.factor == 1 else second * self.factor


@dataclasses.dataclass(frozen=True)
class Multiplied:
    """x y, number by number."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Memory]:
        """The output, and both inputs."""
        return x * y, (x, y)

    def apply_jvp(self, memory: Memory, x_tangent: Tensor, y_tangent: Tensor) -> Tensor:
        """The rule of products."""
        x, y = memory
        return (x_tangent * y).addcmul_(x, y_tangent)

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """The cotangent times the other factor."""
        x, y = memory
        return summed(cotangent * y, x.shape), summed(cotangent * x, y.shape)


@dataclasses.dataclass(frozen=True)
class Quotient:
    """x / y, number by number."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Memory]:
        """The output; both inputs, and the output again."""
        ratio = x / y
        return ratio, (x, y, ratio)

    def apply_jvp(self, memory: Memory, x_tangent: Tensor, y_tangent: Tensor) -> Tensor:
        """The rule of quotients."""
        _, y, ratio = memory
        return (x_tangent - ratio * y_tangent) / y

    def apply_vjp(self, memory: Memory, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """The cotangent over y, and that times minus the quotient."""
        x, y, ratio = memory
        part = cotangent / y
        return summed(part, x.shape), summed(part * -ratio, y.shape)


@dataclasses.dataclass(frozen=True)
class ScaleShift:
    """c x + d for constants c and d, such as BatchNorm with fixed statistics.

    Parameters
    ----------
    shape : torch.Size
        Of x.
    factor, offset : tensor or number, or None
        c and d; None is 1 and 0.
    """

    shape: torch.Size
    factor: Tensor | Number | None = None
    offset: Tensor | Number | None = None

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """The output."""
        if isinstance(self.factor, Tensor) and isinstance(self.offset, Tensor):
            return torch.addcmul(self.offset, x, self.factor), ()
        y = self._scaled(x)
        return y if self.offset is None else y + self.offset, ()

    def apply_jvp(self, _: Memory, tangent: Tensor) -> Tensor:
        """The tangent times the factor."""
        y = self._scaled(tangent)
        if isinstance(self.offset, Tensor):  # to which x may have been broadcast
            y, _ = torch.broadcast_tensors(y, self.offset)  # type: ignore[no-untyped-call]
        return y

    def apply_vjp(self, _: Memory, cotangent: Tensor) -> tuple[Tensor]:
        """The cotangent times the factor."""
        if self.factor is not None:
            cotangent = cotangent.mul_(self.factor)
        return (summed(cotangent, self.shape),)

    def _scaled(self, x: Tensor) -> Tensor:
        return x if self.factor is None else x * self.factor


def summed(cotangent: Tensor, shape: torch.Size) -> Tensor:
    """The cotangent of a value of some shape, from that of what it was broadcast to."""
    return cotangent if cotangent.shape == shape else cotangent.sum_to_size(shape)


def _check_broadcast(x: Any, y: Any) -> None:
    """Refuse to add or multiply what does not lie sample by sample."""
    sizes = [each.shape for each in (x, y) if isinstance(each, (Value, Tensor))]
    most = max(map(len, sizes))
    for each in (x, y):
        if isinstance(each, Value) and len(each.shape) < most:
            raise UntraceableError("shapes differ in their numbers of axes")
        if isinstance(each, Tensor) and each.dim() == most and each.shape[:1] != (1,):
            raise UntraceableError("a constant has a row a sample")


def _add(x: Any, y: Any, *, alpha: Number = 1) -> Op:
    constants(alpha)
    _check_broadcast(x, y)
    match x, y:
        case Value(), Value():
            return Sum((x.shape, y.shape), alpha)
        case Value(), _:
            return ScaleShift(x.shape, offset=y if alpha == 1 else y * alpha)
        case _:
            return ScaleShift(y.shape, None if alpha == 1 else alpha, x)


def _sub(x: Any, y: Any, *, alpha: Number = 1) -> Op:
    return _add(x, y, alpha=-alpha)


def _mul(x: Any, y: Any) -> Op:
    _check_broadcast(x, y)
    match x, y:
        case Value(), Value():
            return Multiplied()
        case Value(), _:
            return ScaleShift(x.shape, y)
        case _:
            return ScaleShift(y.shape, x)


def _div(x: Any, y: Any) -> Op:
    _check_broadcast(x, y)
    match x, y:
        case Value(), Value():
            return Quotient()
        case Value(), _:
            return ScaleShift(x.shape, 1 / y)
        case _ if isinstance(x, Tensor) and (x + y.example).shape != y.shape:
            raise UntraceableError("a constant is divided by what is broadcast to it")
        case _:
            return Elementwise(lambda y: x / y, lambda v, y: v * (-x / y.square()))


def _neg(x: Value) -> Op:
    return ScaleShift(x.shape, -1)


FORMS: dict[str, Form] = {
    "add": _add,
    "sub": _sub,
    "subtract": _sub,
    "mul": _mul,
    "multiply": _mul,
    "div": _div,
    "divide": _div,
    "truediv": _div,
    "true_divide": _div,
    "neg": _neg,
}
"""Forms by the names of torch's functions."""
