"""An exact statement: examples, and a residual that is 0 where an example satisfies it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from hypothesis.strategies import SearchStrategy
from numpy.typing import NDArray

Example = TypeVar("Example")

EPS = float(np.finfo(np.float64).eps)
"""Machine epsilon of float64."""

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Statement(Generic[Example]):
    """A statement about all examples of one kind.

    Parameters
    ----------
    examples : SearchStrategy
        Draws them: frozen dataclasses with a readable text (`str`).
    residual : callable
        By how much an example violates the statement: in machine epsilons of the natural scale
        where numbers are rounded, a count where they are integers.
    """

    examples: SearchStrategy[Example]
    residual: Callable[[Example], float]


AnyStatement = Statement[Any]
"""A statement about examples of any kind."""


def in_epsilons(difference: Floats, *, scale: float) -> float:
    """The largest absolute difference in machine epsilons of a scale; 0 where there is none."""
    largest = float(np.abs(difference).max(initial=0.0))
    return largest / (EPS * scale) if largest else 0.0


def rows_text(rows: object) -> str:
    """Numbers, or rows of them, in brackets."""
    if isinstance(rows, tuple):
        return "[" + ", ".join(map(rows_text, rows)) + "]"
    return f"{rows:.6g}" if isinstance(rows, float) else str(rows)
