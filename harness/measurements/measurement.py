"""The measurement of a cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from harness.plan.cells import NON_FINITE

MEASURED = "measured"
"""Outcome of a cell in which no decoder ran, and whose values are finite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one cell yields, on the host.

    Parameters
    ----------
    values : mapping of str to float
        Numbers by name; may be non-finite.
    outcome : str
        How a run ended, or "measured".
    traces : mapping of str to tuple of float
        Numbers along a run, at the iterations ``traces["iteration"]``.
    labels : mapping of str to str
        What was drawn, and how the run ended.
    images : mapping of str to array, shape (channels, rows, columns)
        Target, start, noised target and reconstruction.
    seconds : float
        Wall time, an even share of the block's.
    """

    values: Mapping[str, float]
    outcome: str = MEASURED
    traces: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    images: Mapping[str, NDArray[np.float64]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


def outcome_of(values: Mapping[str, float], *, but: str = "") -> str:
    """The outcome of values; one may be infinite or nan by its nature."""
    finite = all(np.isfinite(value) for name, value in values.items() if name != but)
    return MEASURED if finite else NON_FINITE
