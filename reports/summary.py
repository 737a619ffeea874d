"""What a run found, claim by claim and headline by headline."""

from __future__ import annotations

import dataclasses
import math

from harness import verdict as verdicts
from harness.claim import HEADLINES, Claim
from harness.families import family
from harness.results import ConditionResult, Run
from harness.statistics.multiplicity import Family
from harness.verdict import Effect, Part, Verdict
from reports.words import bounds_text, parameters_text


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClaimSummary:
    """A claim with its verdict and its conditions, in their order."""

    claim: Claim
    verdict: Verdict
    reason: str
    conditions: tuple[ConditionResult, ...]

    @property
    def confirmatory(self) -> tuple[ConditionResult, ...]:
        """The conditions that decide the claim."""
        return tuple(item for item in self.conditions if item.confirmatory)

    @property
    def beside(self) -> tuple[ConditionResult, ...]:
        """The conditions that are reported beside it."""
        return tuple(item for item in self.conditions if not item.confirmatory)

    @property
    def shown(self) -> ConditionResult | None:
        """The condition whose effect stands for the claim: the one that supports it least."""
        measured = [item for item in self.confirmatory if effect_of(deciding_part(item))]
        return max(
            measured,
            key=lambda item: (item.decision.p_supported, -item.decision.p_refuted),
            default=None,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadlineSummary:
    """A headline with the claims that decide it and those beside it."""

    key: str
    statement: str
    verdict: Verdict
    reason: str
    claims: tuple[ClaimSummary, ...]
    beside: tuple[ClaimSummary, ...]

    @property
    def spoken(self) -> ClaimSummary | None:
        """The claim that speaks for the headline: the first with its verdict, else the first."""
        same = [item for item in self.claims if item.verdict is self.verdict]
        return next(iter(same or self.claims), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """A run, its claims in their order, the headlines in theirs, and the claims as one family."""

    run: Run
    claims: tuple[ClaimSummary, ...]
    headlines: tuple[HeadlineSummary, ...]
    family: Family

    @property
    def others(self) -> tuple[ClaimSummary, ...]:
        """Claims that belong to no headline and stand beside none."""
        return tuple(
            item
            for item in self.claims
            if item.claim.headline is None and item.claim.beside_headline is None
        )


def summarise(run: Run) -> Summary:
    """Judge the claims and headlines of a run from the decisions on their conditions."""
    own: dict[str, list[ConditionResult]] = {claim.id: [] for claim in run.claims}
    for condition in run.conditions:
        own[condition.claim.id].append(condition)
    claims = tuple(_summarise_claim(claim, tuple(own[claim.id])) for claim in run.claims)
    return Summary(
        run=run,
        claims=claims,
        headlines=tuple(_summarise_headline(key, claims) for key in HEADLINES),
        family=run.family or family(run.conditions),
    )


def condition_name(condition: ConditionResult) -> str:
    """What tells a condition from the others of its claim, in words."""
    name = parameters_text(condition.parameters)
    several = len(condition.claim.estimands) > 1
    return " · ".join(text for text in (condition.estimand if several else "", name) if text)


def deciding_part(condition: ConditionResult) -> Part | None:
    """The part of a condition that is weakest for support; of equals, strongest against it."""
    return max(
        condition.decision.parts,
        key=lambda part: (part.p_supported, -part.p_refuted),
        default=None,
    )


def claimed_text(condition: ConditionResult, part: Part) -> str:
    """What is claimed of a part's effect, both sides where there are two."""
    criteria = condition.judged_by.criteria
    same = [criterion for criterion in criteria if criterion.effect == part.criterion.effect]
    return bounds_text(same or [part.criterion])


def effect_of(part: Part | None) -> Effect | None:
    """The effect of a part, where there is one and it is a number; infinite ends are open."""
    if part is None or part.effect is None or not math.isfinite(part.effect.value):
        return None
    low, high = (
        None if end is None or not math.isfinite(end) else end
        for end in (part.effect.low, part.effect.high)
    )
    return dataclasses.replace(part.effect, low=low, high=high)


def _summarise_claim(claim: Claim, conditions: tuple[ConditionResult, ...]) -> ClaimSummary:
    verdict, reason = verdicts.decide_claim(
        [item.decision for item in conditions if item.confirmatory]
    )
    return ClaimSummary(claim=claim, verdict=verdict, reason=reason, conditions=conditions)


def _summarise_headline(key: str, claims: tuple[ClaimSummary, ...]) -> HeadlineSummary:
    deciding = tuple(item for item in claims if item.claim.headline == key)
    beside = tuple(item for item in claims if item.claim.beside_headline == key)
    verdict, reason = verdicts.decide_headline(
        {
            item.claim.id: [condition.decision for condition in item.confirmatory]
            for item in deciding
        }
    )
    return HeadlineSummary(
        key=key,
        statement=HEADLINES[key],
        verdict=verdict,
        reason=reason,
        claims=deciding,
        beside=beside,
    )
