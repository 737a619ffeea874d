"""Tables that describe every condition: further numbers, and how its runs ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from harness.claim import Estimand
from harness.plan.cells import Inversion
from harness.store import Record
from harness.verdict.evidence import Replicate
from harness.verdict.results import Table
from harness.verdict.verdict import Decision


def describing_tables(
    estimand: Estimand,
    decision: Decision,
    replicates: Sequence[Replicate],
    records: Sequence[Mapping[str, Record]],
) -> tuple[Table, ...]:
    """The tables that every condition gets, whatever its test asks for.

    `records` are those of the replicates, by role.
    """
    return (
        *_counterexample(decision, records),
        *_unjudged(estimand, replicates),
        *_outcomes(records),
    )


def labelled(records: Mapping[str, Record], label: str) -> Iterator[str]:
    """The values of a label in the records of a replicate."""
    return (record.labels[label] for record in records.values() if label in record.labels)


def _counterexample(
    decision: Decision, records: Sequence[Mapping[str, Record]]
) -> tuple[Table, ...]:
    """The counterexample to an exact claim, if its search describes it."""
    if decision.counterexample is None:
        return ()
    found = records[decision.counterexample]
    columns = ("counterexample", "counterexample as JSON")
    rows = tuple(zip(*(labelled(found, column) for column in columns), strict=True))
    return (
        (Table(title="The simplest that was found.", columns=columns, rows=rows),) if rows else ()
    )


def _unjudged(estimand: Estimand, replicates: Sequence[Replicate]) -> tuple[Table, ...]:
    """Effects that the replicates yield but no criterion judges."""
    judged = {criterion.effect for criterion in estimand.criteria}
    names = [name for name in replicates[0].effects if name not in judged] if replicates else []
    if not names:
        return ()
    rows = []
    for name in names:
        values = [replicate.effects[name] for replicate in replicates]
        rows.append((name, _median(values), float(np.min(values)), float(np.max(values))))
    return (
        Table(
            title="Also measured; it decides nothing.",
            columns=("over replicates", "median", "least", "largest"),
            rows=tuple(rows),
        ),
    )


def _outcomes(records: Sequence[Mapping[str, Record]]) -> tuple[Table, ...]:
    """How the runs ended, by role, with the median of rho."""
    runs = {
        role: [seen[role] for seen in records]
        for role, record in (records[0].items() if records else ())
        if record.cell["type"] == Inversion.__name__
    }
    if not runs:
        return ()
    outcomes = sorted({record.outcome for ended in runs.values() for record in ended})
    rows: list[tuple[str | int | float, ...]] = []
    for role, ended in runs.items():
        counts = Counter(record.outcome for record in ended)
        rho = _median([record.values["rho"] for record in ended])
        # Decoders without a step have no rho.
        rows.append((role, *(counts[outcome] for outcome in outcomes), "" if rho != rho else rho))
    return (
        *_noted(
            runs,
            "memory",
            title="Memory ran out; these runs were split into smaller batches, which moves their "
            "rounding.",
            columns=("run", "replicates"),
        ),
        *_noted(
            runs,
            "left_out",
            title="The weights have a head of another number of classes behind the layer; these "
            "were left as they were drawn.",
            columns=("run", "weights"),
        ),
        Table(
            title="How many runs ended in each way, and the median of rho = step * |g|^2 / (2 f) "
            "at their ends.",
            columns=("run", *outcomes, "rho"),
            rows=tuple(rows),
        ),
    )


def _noted(
    runs: Mapping[str, Sequence[Record]], label: str, *, title: str, columns: tuple[str, str]
) -> tuple[Table, ...]:
    """What a label says of the runs that have it; no table where none has."""
    said = [
        (role, record.labels[label])
        for role, ended in runs.items()
        for record in ended
        if label in record.labels
    ]
    return (Table(title=title, columns=columns, rows=tuple(dict.fromkeys(said))),) if said else ()


def _median(values: Sequence[float]) -> float:
    # The median between infinities of both signs is NaN.
    with np.errstate(invalid="ignore"):
        return float(np.median(values))
