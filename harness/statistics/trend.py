"""Trends within a replicate: a robust slope, and how well an exponential describes a curve.

References
----------
Sen, P. K. (1968). Estimates of the regression coefficient based on Kendall's tau. JASA 63,
1379-1389.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy  # its submodules load when they are used


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogLinear:
    """A straight line through the logarithms: ``log y = intercept + rate * x``."""

    rate: float
    intercept: float
    r_squared: float


def theil_sen(y: Sequence[float], x: Sequence[float] | None = None) -> float:
    """The median of the slopes of all pairs of points.

    Parameters
    ----------
    y : sequence of float
        Values that may have a trend.
    x : sequence of float, optional
        Their places; 0, 1, 2, ... by default.

    Returns
    -------
    float
        NaN if a point is not finite or fewer than two points differ in x: a bad point makes its
        replicate invalid instead of silently changing its slope.
    """
    xs = np.arange(len(y)) if x is None else np.asarray(x, dtype=float)
    ys = np.asarray(y, dtype=float)
    if np.unique(xs).size < 2 or not np.isfinite(xs).all() or not np.isfinite(ys).all():
        return math.nan
    return float(scipy.stats.theilslopes(ys, xs).slope)


def log_linear(y: Sequence[float], x: Sequence[float]) -> LogLinear:
    """Least squares through ``log y``, with R squared.

    A constant curve fits its line exactly but shows no decay: its rate and its R squared are 0.
    Everything is NaN if a point is not finite or not above 0, or with fewer than three points.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    usable = np.isfinite(xs).all() and np.isfinite(ys).all() and bool((ys > 0).all())
    if not usable or np.unique(xs).size < 3:
        return LogLinear(rate=math.nan, intercept=math.nan, r_squared=math.nan)
    logs = np.log(ys)
    if np.ptp(logs) == 0:
        return LogLinear(rate=0.0, intercept=float(logs[0]), r_squared=0.0)
    fit = scipy.stats.linregress(xs, logs)
    return LogLinear(
        rate=float(fit.slope), intercept=float(fit.intercept), r_squared=float(fit.rvalue) ** 2
    )
