"""What an operation of a compiled plan is, and how one is made of a call in a module's graph.

Functions that make operations are called forms. A form has the arguments of torch's function, with
a `Value` for every tensor that depends on the input, and tensors and numbers for everything else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

Memory = tuple[Tensor, ...]
"""What derivatives need of a forward pass."""


class UntraceableError(Exception):
    """A module does something for which there is no operation; says what."""


@runtime_checkable
class Op(Protocol):
    """An operation of values that depend on the input, with a row a sample.

    The row of a sample depends on its own rows alone.
    No operation overwrites its inputs, its memory or tangents. It may overwrite the cotangent that
    it is given, and those that it returns are its caller's to overwrite: no two share memory.
    """

    @property
    def forward(self) -> Callable[..., tuple[Tensor, Memory]]:
        """The output for inputs, and the memory."""
        ...

    @property
    def apply_jvp(self) -> Callable[..., Tensor]:
        """The tangent of the output, for the memory and the tangents of the inputs."""
        ...

    @property
    def apply_vjp(self) -> Callable[[Memory, Tensor], tuple[Tensor, ...]]:
        """The cotangents of the inputs, for the memory and the cotangent of the output."""
        ...


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor that depends on the input of a plan.

    Parameters
    ----------
    number : int
        Its number in the plan; 0 is the input.
    example : tensor
        What it may look like; its shape is the one that the plan is for.
    """

    number: int
    example: Tensor

    @property
    def shape(self) -> torch.Size:
        """Its shape."""
        return self.example.shape


Form = Callable[..., Op | Value | tuple[Op, ...]]
"""Makes an operation; or names the value that is returned as it is; or makes one for each part."""

Number = int | float


def images(x: Value, *, dimensions: int = 4) -> Value:
    """The value itself.

    Raises
    ------
    UntraceableError
        Where it has another number of dimensions.
    """
    if len(x.shape) != dimensions:
        raise UntraceableError(f"inputs have shape {tuple(x.shape)}")
    return x


def constants(*tensors: Any) -> None:
    """Refuse parameters of an operation that depend on the input."""
    if any(isinstance(each, Value) for each in tensors):
        raise UntraceableError("a parameter depends on the input")


def samples_stay(axes: Sequence[int]) -> None:
    """Refuse to do something along the axis of the samples, 0."""
    if 0 in axes:
        raise UntraceableError("it mixes the samples of a batch")


def numbers(given: Any, *, length: int = 2) -> tuple[int, ...]:
    """Numbers for each axis, which torch takes as one for all or in a sequence."""
    found = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    return found * length if len(found) == 1 else found


def row(number: Any, *, across: int) -> tuple[int, int]:
    """A number for the only axis of a sequence, as one for rows and one for columns."""
    (found,) = numbers(number, length=1)
    return across, found


def as_row(x: Value) -> Value:
    """Sequences as images of one row."""
    return Value(x.number, images(x, dimensions=3).example.unsqueeze(2))
