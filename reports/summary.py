"""What a run found, claim by claim and headline by headline."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from harness.claim import HEADLINES, Claim, Kind
from harness.statistics.multiplicity import Family
from harness.verdict import verdict as verdicts
from harness.verdict.family import family
from harness.verdict.results import ConditionResult, Run
from harness.verdict.verdict import Decision, Effect, Part, Verdict
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
    def exploratory(self) -> tuple[ConditionResult, ...]:
        """The conditions that are reported and do not decide it."""
        return tuple(item for item in self.conditions if not item.confirmatory)

    @property
    def selected(self) -> bool:
        """Whether the run was asked for any of it."""
        return any(item.selected for item in self.conditions)

    @property
    def shown(self) -> ConditionResult | None:
        """The condition whose effect stands for the claim: the one that supports it least.

        Of equals that are judged alike it is the one whose effect lies least beyond its margin.
        """
        measured = [
            (item, part, effect)
            for item in self.confirmatory
            if (part := deciding_part(item)) and (effect := effect_of(part))
        ]
        if not measured:
            return None
        least = max(_weight(item.decision) for item, _, _ in measured)
        equals = [each for each in measured if _weight(each[0].decision) == least]
        alike = [each for each in equals if each[1].criterion == equals[0][1].criterion]
        return min(alike, key=lambda each: each[1].criterion.past_margin(each[2].value))[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadlineSummary:
    """A headline with the claims that decide it and those beside it."""

    key: str
    statement: str
    verdict: Verdict
    reason: str
    claims: tuple[ClaimSummary, ...]
    exploratory: tuple[ClaimSummary, ...]

    @property
    def spoken(self) -> ClaimSummary | None:
        """The claim that speaks for the headline: the first with its verdict, else the first."""
        same = [item for item in self.claims if item.verdict is self.verdict]
        return next(iter(same or self.claims), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """A run, its claims in their order, the headlines in theirs, and the claims as one family.

    `left_out` are claims that the run was not asked for, where they are kept apart.
    """

    run: Run
    claims: tuple[ClaimSummary, ...]
    headlines: tuple[HeadlineSummary, ...]
    family: Family
    left_out: tuple[ClaimSummary, ...] = ()

    @property
    def others(self) -> tuple[ClaimSummary, ...]:
        """Claims that belong to no headline and stand beside none."""
        return tuple(
            item
            for item in self.claims
            if item.claim.headline is None and item.claim.related_headline is None
        )

    def selected(self) -> Summary:
        """What to show to a reader: claims that the run was asked for, the others kept apart.

        Headlines keep the verdict that all their claims give them; those without a claim that was
        asked for are left out.
        """
        if all(item.selected for item in self.claims):
            return self
        headlines = (
            dataclasses.replace(
                headline,
                claims=_selected(headline.claims),
                exploratory=_selected(headline.exploratory),
            )
            for headline in self.headlines
        )
        return dataclasses.replace(
            self,
            claims=_selected(self.claims),
            headlines=tuple(item for item in headlines if item.claims or item.exploratory),
            left_out=tuple(item for item in self.claims if not item.selected),
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
        family=_family(run),
    )


def _family(run: Run) -> Family:
    """The family of a run, as its document tells it or found afresh."""
    if run.family is None:
        return family(run.conditions, whole=run.whole)
    # Older documents tell of a part as if it were a whole run.
    return run.family if run.whole else dataclasses.replace(run.family, complete=False, holm={})


def setting_text(run: Run) -> str:
    """Under what a run measured, "quick on cpu", with another precision and the user's subjects."""
    own = [f"{name} {value}" for name, value in sorted(run.custom.items())]
    precision = run.provenance.get("precision")
    if isinstance(precision, str) and not precision.startswith("IEEE float32"):
        own.insert(0, precision)
    return ", ".join((f"{run.profile} on {run.device}", *own))


def extent_text(run: Run) -> str:
    """How much of the claims a run was asked for and measured, "whole" or "partial, ..."."""
    if run.whole:
        return "whole"
    measured = {item.claim.id for item in run.conditions if item.measured}
    return f"partial, {len(measured)} of {len(run.claims)} claims measured"


def run_text(run: Run) -> str:
    """Which run it is: when it ended, under what it measured, and how much."""
    return f"{run.ended}, {setting_text(run)}, {extent_text(run)}"


def left_out_text(summary: Summary) -> str:
    """How many claims a run was not asked for, "59 others not selected"; empty where none."""
    count = len(summary.left_out)
    return f"{count} other{'' if count == 1 else 's'} not selected" if count else ""


def condition_name(condition: ConditionResult) -> str:
    """What tells a condition from the others of its claim, in words."""
    name = parameters_text(condition.parameters)
    several = len(condition.claim.estimands) > 1
    return " · ".join(text for text in (condition.estimand if several else "", name) if text)


def deciding_part(condition: ConditionResult) -> Part | None:
    """The part of a condition that is weakest for support; of equals, strongest against it."""
    return max(condition.decision.parts, key=_weight, default=None)


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


def _weight(found: Decision | Part) -> tuple[float, float]:
    """How much a decision or a part of one weighs against what is claimed, to be compared."""
    return found.p_supported, -found.p_refuted


def _summarise_claim(claim: Claim, conditions: tuple[ConditionResult, ...]) -> ClaimSummary:
    if all(estimand.kind is Kind.UNTESTABLE for estimand in claim.estimands.values()):
        # Whatever was selected.
        verdict, reason = Verdict.NOT_TESTABLE, "no measurement could contradict it"
    else:
        verdict, reason = verdicts.decide_claim(
            [item.decision for item in conditions if item.confirmatory]
        )
    return ClaimSummary(claim=claim, verdict=verdict, reason=reason, conditions=conditions)


def _selected(claims: Iterable[ClaimSummary]) -> tuple[ClaimSummary, ...]:
    return tuple(item for item in claims if item.selected)


def _summarise_headline(key: str, claims: tuple[ClaimSummary, ...]) -> HeadlineSummary:
    deciding = tuple(item for item in claims if item.claim.headline == key)
    exploratory = tuple(item for item in claims if item.claim.related_headline == key)
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
        exploratory=exploratory,
    )
