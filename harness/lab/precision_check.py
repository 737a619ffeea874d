"""Whether a lower precision can replace float64: the same replicates in both are compared."""

from __future__ import annotations

import dataclasses

import numpy as np

from harness.claim import Estimand
from harness.plan.cells import Cell, ErrorInNullSpace, Inversion, Reflection
from harness.verdict.verdict import Decision

SCOUTING = ("tf32", "bf16")
"""Precisions whose results count only after a check against float64."""

_RECOVERING = (Inversion, ErrorInNullSpace, Reflection)
"""Cells that recover an image take the precision of the run; other cells have their own."""

TOLERANCE = 0.1
"""Share of an effect by which the lower precision may move it."""


def at_precision(cell: Cell, precision: str) -> Cell:
    """A cell in the precision of a run; cells that ask for float64 keep it."""
    if isinstance(cell, _RECOVERING) and cell.precision == "float32":
        return dataclasses.replace(cell, precision=precision)
    return cell


def reference_cell(cell: Cell) -> Cell:
    """The float64 cell that a cell of lower precision is compared with; any other cell itself."""
    if isinstance(cell, _RECOVERING) and cell.precision in SCOUTING:
        return dataclasses.replace(cell, precision="float64")
    return cell


def disagreement(estimand: Estimand, *, low: Decision, high: Decision) -> str | None:
    """Why a lower precision does not suffice; None if it does.

    `low` and `high` are decisions on the same replicates, in the lower precision and in float64.
    """
    if low.verdict is not high.verdict:
        return f"float64 says {high.verdict.value} where it says {low.verdict.value}"
    for effect in dict.fromkeys(criterion.effect for criterion in estimand.criteria):
        there, here = (float(np.median(each.values[effect])) for each in (high, low))
        if not abs(here - there) <= TOLERANCE * abs(there):
            return f"{effect} is {there:.3g} in float64 and {here:.3g} here"
    return None
