"""The evidence of a condition over its replicates: looks, distinct photographs, single cases."""

from __future__ import annotations

import dataclasses
import math

from harness.claim import Kind
from harness.statistics.sequential import boundaries
from harness.verdict.evidence import Part
from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Look
from reports import words
from reports.summary import deciding_part


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseView:
    """One replicate that decides a claim alone: a counterexample or a witness."""

    kind: str
    replicate: int
    effects: tuple[tuple[str, str], ...]
    records: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvidenceView:
    """How a condition was decided.

    Each look comes with what decides there, in words; `photographs` has the mean effect of each
    distinct one in words, and whether it is as claimed.
    """

    stop: str
    looks: tuple[tuple[Look, str], ...]
    case: CaseView | None
    photographs: tuple[tuple[str, str, bool], ...]
    further: tuple[tuple[str, str], ...]


def evidence(condition: ConditionResult) -> EvidenceView:
    """The view of a condition's evidence."""
    decision = condition.decision
    bounds = _bounds(condition)
    return EvidenceView(
        stop=_stop(condition),
        looks=tuple((look, bounds.get(look.n, "")) for look in decision.path),
        case=_case(condition),
        photographs=_photographs(condition),
        further=tuple(text for part in decision.parts for text in _further(part)),
    )


def _stop(condition: ConditionResult) -> str:
    """When and why no more replicates were drawn."""
    decision = condition.decision
    if not decision.n:
        return "Nothing was measured."
    looks = len(decision.path)
    at = f"{decision.n} replicates" + (f", look {looks}" if looks else "")
    if decision.stop is None:
        too_few = "too few for a look; they only describe"
        return f"{at}: {'open, the next look may decide' if looks else too_few}."
    needed = ""
    if decision.needed is not None:
        needed = f"; at the share seen about {decision.needed:,} replicates would decide"
    return f"{at}: {words.STOP_WORDS[decision.stop]}{needed}."


def _bounds(condition: ConditionResult) -> dict[int, str]:
    """How many events of the deciding part decide at each look, in words."""
    part = deciding_part(condition)
    if part is None or condition.judged_by.kind is Kind.EXACT:
        return {}
    claim, share = condition.claim, part.criterion.share
    # Refuting shares alpha among the parts, supporting does not.
    parts = len(condition.decision.parts)
    supporting = boundaries(p0=share, alpha=claim.alpha, looks=claim.looks)
    refuting = boundaries(p0=share, alpha=claim.alpha / parts, looks=claim.looks)
    return {
        n: _decides(n, supports, refutes)
        for (n, supports, _), (_, _, refutes) in zip(supporting, refuting, strict=True)
    }


def _decides(n: int, supports: int | None, refutes: int | None) -> str:
    ways = []
    if supports is not None:
        ways.append("all support" if supports == n else f"{supports} or more support")
    if refutes is not None:
        ways.append(f"{refutes} or fewer refute" if refutes else "none refutes")
    return ", ".join(ways)


def _case(condition: ConditionResult) -> CaseView | None:
    decision = condition.decision
    found = decision.counterexample if decision.counterexample is not None else decision.witness
    if found is None:
        return None
    judged = {criterion.effect: criterion for criterion in condition.judged_by.criteria}
    return CaseView(
        kind="Counterexample" if condition.judged_by.kind is Kind.EXACT else "Witness",
        replicate=found,
        effects=tuple(
            (judged[name].label, words.quantity(values[found], judged[name].scale))
            for name, values in decision.values.items()
            if found < len(values) and name in judged
        ),
        records=tuple(
            (role, ids[found]) for role, ids in condition.records.items() if found < len(ids)
        ),
    )


def _photographs(condition: ConditionResult) -> tuple[tuple[str, str, bool], ...]:
    if condition.beyond is None:
        return ()
    criterion = condition.judged_by.criteria[0]
    return tuple(
        (
            name,
            words.quantity(mean, criterion.scale) if math.isfinite(mean) else "invalid",
            criterion.holds(mean),
        )
        for name, mean in condition.beyond.means.items()
    )


def _further(part: Part) -> list[tuple[str, str]]:
    """Descriptions of a part's replicates that have no interval of their own."""
    limits = f"{words.percent(part.share_low)} to {words.percent(part.share_high)}"
    found = [(f"{part.criterion.label}, as claimed", f"{part.events} of {part.n} ({limits})")]
    effect = part.effect
    if effect is not None and effect.hodges_lehmann is not None:
        found.append(("Hodges-Lehmann", words.quantity(effect.hodges_lehmann, effect.scale)))
    if effect is not None and effect.superiority is not None:
        found.append(("on the claimed side of no effect", words.percent(effect.superiority)))
    return found
