"""The course of a condition: events counted replicate by replicate against what decides.

The geometry of a small figure, in units of its view box; the templates draw it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from harness.claim import Kind
from harness.statistics.sequential import boundaries
from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Part
from reports.summary import deciding_part

WIDTH, HEIGHT = 340.0, 168.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 30.0, 10.0, 8.0, 22.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """A look: how many events support and how many refute, and whether it was taken.

    Places are in the view box; None where no number of events decides that way.
    """

    n: int
    supports: int | None
    refutes: int | None
    taken: bool
    x: float
    supports_y: float | None
    refutes_y: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course:
    """Events of one part over the replicates, and the gates they passed.

    `path` is the line through the counts, in SVG's notation. It has a step a replicate, or only a
    point a look where an older document does not tell which replicates are invalid.
    """

    label: str
    share: float
    path: str
    even: str
    gates: tuple[Gate, ...]
    first_x: float
    top_y: float
    base_y: float
    right_x: float
    ticks: tuple[tuple[float, int], ...]
    description: str


def course(condition: ConditionResult) -> Course | None:
    """The course of a condition's deciding part; None where nothing was counted at looks."""
    decision = condition.decision
    part = deciding_part(condition)
    if part is None or not decision.path or condition.judged_by.kind is Kind.EXACT:
        return None
    claim = condition.claim
    most = max(claim.looks[-1][0], decision.n)
    steps = _counts(condition, part)
    share = part.criterion.share

    def across(n: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * n / most, 1)

    def up(events: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * events / most, 1)

    taken = {look.n for look in decision.path}
    # Refuting shares alpha among the parts, supporting does not.
    supporting = boundaries(p0=share, alpha=claim.alpha, looks=claim.looks)
    refuting = boundaries(p0=share, alpha=claim.alpha / len(decision.parts), looks=claim.looks)
    gates = tuple(
        Gate(
            n=n,
            supports=supports,
            refutes=refutes,
            taken=n in taken,
            x=across(n),
            supports_y=None if supports is None else up(supports),
            refutes_y=None if refutes is None else up(refutes),
        )
        for (n, supports, _), (_, _, refutes) in zip(supporting, refuting, strict=True)
    )
    last_n, last_events = steps[-1]
    return Course(
        label=part.criterion.label,
        share=share,
        path="M" + " ".join(f"{across(n)} {up(events)}" for n, events in steps),
        even=f"M{across(0)} {up(0)} {across(most)} {up(share * most)}",
        gates=gates,
        first_x=across(0),
        top_y=up(most),
        base_y=up(0),
        right_x=across(most),
        ticks=tuple((across(n), n) for n in (0, *(gate.n for gate in gates))),
        description=f"{last_events} of {last_n} replicates as claimed at the last look",
    )


def _counts(condition: ConditionResult, part: Part) -> Sequence[tuple[int, int]]:
    """Replicates and events so far, from none on."""
    decision = condition.decision
    number = next(k for k, other in enumerate(decision.parts) if other is part)
    looks = [(0, 0), *((look.n, look.events[number]) for look in decision.path)]
    events = decision.events(part.criterion)
    if events is None or len(events) < looks[-1][0]:
        return looks
    return list(enumerate(itertools.accumulate(events[: looks[-1][0]], initial=0)))
