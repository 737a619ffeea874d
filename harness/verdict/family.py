"""The family of a complete run's claims: Holm-adjusted P, and how many verdicts may be wrong.

It changes no verdict: a verdict never depends on which other claims ran.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.claim import Kind
from harness.statistics.multiplicity import Family, expected_wrong, holm
from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Stop, Verdict


def family(conditions: Iterable[ConditionResult], *, whole: bool) -> Family:
    """The family of the claims that confirmatory conditions judge, in a whole run or in a part.

    It leaves out what is decided without an error rate: exact estimands, existential ones with a
    witness, and what cannot be tested.
    """
    confirmatory = [condition for condition in conditions if condition.confirmatory]
    by_claim: dict[str, list[ConditionResult]] = {}
    for condition in confirmatory:
        certain = condition.judged_by.kind in (Kind.EXACT, Kind.UNTESTABLE)
        outside = certain or condition.decision.stop is Stop.WITNESS
        if not outside and condition.decision.verdict is not Verdict.NOT_RUN:
            by_claim.setdefault(condition.claim.id, []).append(condition)
    p = {
        name: min(
            max(condition.decision.p_supported for condition in own),
            max(condition.decision.p_refuted for condition in own),
        )
        for name, own in by_claim.items()
    }
    measured = all(condition.decision.verdict is not Verdict.NOT_RUN for condition in confirmatory)
    complete = whole and measured and bool(confirmatory)
    adjusted = dict(zip(p, holm(list(p.values())), strict=True)) if complete else {}
    return Family(
        complete=complete,
        p=p,
        holm=adjusted,
        expected_wrong=expected_wrong(own[0].claim.alpha for own in by_claim.values()),
    )
