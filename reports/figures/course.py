"""The course of a condition: events counted replicate by replicate, and what decides."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from harness.claim import Kind
from harness.statistics.sequential import boundaries
from harness.verdict.evidence import Part
from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Verdict
from reports.figures.geometry import Axis, Drawing, Stroke, css_of, polyline
from reports.summary import deciding_part

Counts = Sequence[tuple[int, int]]
"""Replicates and events so far, starting from 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """A look: how many events support and how many refute, and whether it was taken.

    None if no number of events decides that way.
    """

    n: int
    supports: int | None
    refutes: int | None
    taken: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course:
    """Events of one part over the replicates, its gates, and both drawn.

    `counts` has an entry per replicate, or per look if an older document does not say which
    replicates are invalid.
    """

    label: str
    share: float
    counts: Counts
    gates: tuple[Gate, ...]
    drawing: Drawing


def course(condition: ConditionResult) -> Course | None:
    """The course of a condition's deciding part; None if no look counted events."""
    decision = condition.decision
    part = deciding_part(condition)
    if part is None or not decision.path or condition.judged_by.kind is Kind.EXACT:
        return None
    claim, share = condition.claim, part.criterion.share
    counts = _counts(condition, part)
    taken = {look.n for look in decision.path}
    # Refuting shares alpha among the parts, supporting does not.
    supporting = boundaries(p0=share, alpha=claim.alpha, looks=claim.looks)
    refuting = boundaries(p0=share, alpha=claim.alpha / len(decision.parts), looks=claim.looks)
    gates = tuple(
        Gate(n=n, supports=supports, refutes=refutes, taken=n in taken)
        for (n, supports, _), (_, _, refutes) in zip(supporting, refuting, strict=True)
    )
    return Course(
        label=part.criterion.label,
        share=share,
        counts=counts,
        gates=gates,
        drawing=_drawing(part.criterion.label, share, counts, gates, last=decision.n),
    )


def _drawing(
    label: str, share: float, counts: Counts, gates: Sequence[Gate], *, last: int
) -> Drawing:
    on = Axis(first=0, last=max(gates[-1].n, last), inset=0.0)
    strokes, notes = [], []
    for gate in gates:
        x, pale = on.place(gate.n), "" if gate.taken else " pale"
        for count, end, verdict in (
            (gate.supports, 0, Verdict.SUPPORTED),
            (gate.refutes, 100, Verdict.REFUTED),
        ):
            if count is not None:
                path, css = f"M{x} {on.up(count)}V{end}", f"gate {css_of(verdict)}{pale}"
                strokes.append(Stroke(path=path, css=css))
            if count:
                notes.append((x, on.up(count), str(count)))
    walk = polyline((on.place(n), on.up(events)) for n, events in counts)
    n, events = counts[-1]
    return Drawing(
        description=f"{label}: {events} of {n} replicates as claimed at the last look",
        height=140,
        strokes=(
            Stroke(path=f"M0 100L100 {on.up(share * on.last)}", css="margin"),
            *strokes,
            Stroke(path=walk, css="line s-1"),
        ),
        x_ticks=tuple((on.place(n), str(n)) for n in (0, *(gate.n for gate in gates))),
        notes=tuple(notes),
        framed=True,
    )


def _counts(condition: ConditionResult, part: Part) -> Counts:
    decision = condition.decision
    number = next(k for k, other in enumerate(decision.parts) if other is part)
    looks = [(0, 0), *((look.n, look.events[number]) for look in decision.path)]
    events = decision.events(part.criterion)
    if events is None or len(events) < looks[-1][0]:
        return looks
    return list(enumerate(itertools.accumulate(events[: looks[-1][0]], initial=0)))
