"""Effects of a replicate, from its records."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.statistics.trend import log_linear
from harness.store import Record


def log_ratio(above: float, below: float) -> float:
    """ln(above / below); infinite where one of them is 0, nan where both are 0 or one is nan."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.log(np.float64(above)) - np.log(np.float64(below)))


def ratio(above: float, below: float) -> float:
    """above / below, for display; infinite or nan where below is 0."""
    with np.errstate(all="ignore"):
        return float(np.float64(above) / np.float64(below))


def rise(record: Record) -> float:
    """ln(m_i(T) / m_i(0)), but at most 0 where m_g did not fall to half: then it is no event."""
    grown = log_ratio(record.values["m_i"], record.values["m_i0"])
    fell = record.values["m_g"] <= record.values["m_g0"] / 2
    return grown if fell else min(grown, 0.0)


def exponential_fit(iterations: Sequence[int], distances: Sequence[float]) -> float:
    """R^2 of a line through the logarithms of distances over iterations, 0 where it rises."""
    line = log_linear(distances, iterations)
    return 0.0 if line.rate > 0 else line.r_squared


def power_fit(iterations: Sequence[int], distances: Sequence[float]) -> float:
    """The exponent of distances over iterations: the slope between their logarithms."""
    return log_linear(distances, [math.log(length) for length in iterations]).rate
