"""Searches for counterexamples to exact statements."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from harness.measurements.exact.falsify import falsify
from harness.measurements.exact.statements import statement
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import Search
from harness.plan.seeds import Source


def search(cell: Search) -> Measurement:
    """The largest residual of all examples, or the simplest counterexample and its residual."""
    searched = statement(cell.statement)
    found = falsify(
        searched.examples,
        lambda example: searched.residual(example) < cell.below,
        examples=cell.examples,
        seed=cell.seeds.seed(Source.EXAMPLES),
    )
    values = {"tried": float(len(found.held))}
    labels = {"statement": cell.statement}
    if found.counterexample is None:
        values["residual"] = max(map(searched.residual, found.held))
    else:
        values["residual"] = searched.residual(found.counterexample)
        labels["counterexample"] = str(found.counterexample)
        labels["counterexample as JSON"] = _json(found.counterexample)
    return Measurement(values=values, outcome=outcome_of(values), labels=labels)


def _json(example: Any) -> str:
    # Fractions are written as text, "1/1000".
    return json.dumps(dataclasses.asdict(example), default=str)
