"""The plan of a run: step sizes, rates, exponents, and the iterations to trace."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from harness.errors import UnknownNameError
from harness.plan.decoders import Adam, AnnealedLBFGS, Descent
from harness.plan.fields import SCHEDULES


def descent_steps(decoder: Descent, *, iterations: int) -> Float[NDArray[np.float64], " t"]:
    """Step sizes of a descent, the loss factor included.

    The decreasing schedule falls linearly from the first step towards zero, but not below its
    minimum.
    """
    match decoder.schedule:
        case "fixed":
            steps = np.full(iterations, decoder.step)
        case "decreasing":
            remaining = 1 - np.arange(iterations) / iterations
            steps = np.maximum(decoder.step * remaining, decoder.minimum)
        case _:
            raise UnknownNameError.nearest(decoder.schedule, SCHEDULES, what="schedule")
    return decoder.factor * steps


def adam_rates(decoder: Adam, *, iterations: int) -> Float[NDArray[np.float64], " t"]:
    """Rates of Adam, falling to zero along half a cosine."""
    rates: NDArray[np.float64] = (
        decoder.rate * (1 + np.cos(np.pi * np.arange(iterations) / iterations)) / 2
    )
    return rates


def annealed_exponents(
    decoder: AnnealedLBFGS, *, iterations: int
) -> Float[NDArray[np.float64], "t 2"]:
    """Exponents of frequencies and of colours after each gradient, that of the start included.

    They fall linearly until the annealing has ended; that of colours from 1 to 0.
    """
    share = np.minimum(np.arange(iterations + 1) / decoder.annealing, 1.0)
    smooth = decoder.first + share * (decoder.last - decoder.first)
    return np.stack([smooth, 1 - share], axis=1)


def trace_points(iterations: int, *, points: int = 48) -> tuple[int, ...]:
    """Iterations to trace: the first ones, then evenly spaced logarithmically, and the last.

    Half-way and three quarters are always included, since outcomes and claims refer to them.
    """
    spaced = np.geomspace(1, max(iterations, 1), points).round().astype(int)
    marks = {0, iterations // 2, iterations * 3 // 4, iterations}
    return tuple(sorted({int(point) for point in spaced if point <= iterations} | marks))
