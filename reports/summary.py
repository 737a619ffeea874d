"""A run summarised by claim and by headline."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Protocol

from harness.claim import HEADLINES, Claim, Kind
from harness.statistics.multiplicity import Family
from harness.verdict import verdict as verdicts
from harness.verdict.evidence import Effect, Part
from harness.verdict.family import family
from harness.verdict.results import ConditionResult, Run
from harness.verdict.verdict import Decision, Verdict
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
        """The conditions that are reported without deciding the claim."""
        return tuple(item for item in self.conditions if not item.confirmatory)

    @property
    def selected(self) -> bool:
        """Whether any of its conditions was selected."""
        return any(item.selected for item in self.conditions)

    @property
    def weakest(self) -> ConditionResult | None:
        """The condition whose effect represents the claim: the one that supports it least.

        Among equals with the same criterion, the one whose effect is the least beyond its margin.
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
    """A headline with the claims that decide it and the exploratory ones."""

    key: str
    statement: str
    verdict: Verdict
    reason: str
    claims: tuple[ClaimSummary, ...]
    exploratory: tuple[ClaimSummary, ...]

    @property
    def representative(self) -> ClaimSummary | None:
        """The claim that represents the headline: the first with its verdict, else the first."""
        same = [item for item in self.claims if item.verdict is self.verdict]
        return next(iter(same or self.claims), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """A run, its claims and headlines in order, and the claims as one family.

    `left_out` are the claims that were not selected, once `selected` has set them apart.
    """

    run: Run
    claims: tuple[ClaimSummary, ...]
    headlines: tuple[HeadlineSummary, ...]
    family: Family
    left_out: tuple[ClaimSummary, ...] = ()

    @property
    def others(self) -> tuple[ClaimSummary, ...]:
        """Claims that are shown with no headline."""
        return tuple(
            item
            for item in self.claims
            if item.claim.headline is None and item.claim.related_headline is None
        )

    def selected(self) -> Summary:
        """The summary of the selected claims; the others are in `left_out`.

        A headline keeps the verdict that all its claims give it; one without any selected claim is
        left out.
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
    """Judge the claims and headlines of a run by the decisions on their conditions."""
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
    """The family of a run, from its document if it has one."""
    if run.family is None:
        return family(run.conditions, whole=run.whole)
    # Older documents treat a partial run as a whole one.
    return run.family if run.whole else dataclasses.replace(run.family, complete=False, holm={})


def setting_text(run: Run) -> str:
    """The settings of a run, "quick on cpu", with any other precision and the user's subjects."""
    own = [f"{name} {value}" for name, value in sorted(run.custom.items())]
    precision = run.provenance.get("precision")
    if isinstance(precision, str) and not precision.startswith("IEEE float32"):
        own.insert(0, precision)
    return ", ".join((f"{run.profile} on {run.device}", *own))


def own_subjects(run: Run) -> dict[str, str]:
    """The user's own subjects, and how many of the conditions have them where not all do."""
    measured = [item for item in run.conditions if item.measured]
    counts = {name: sum(name in item.custom for item in measured) for name in run.custom}
    return {
        # Older documents do not say which conditions.
        name: value
        if counts[name] in (0, len(measured))
        else f"{value} (in {counts[name]} of {len(measured)} conditions)"
        for name, value in run.custom.items()
    }


def extent_text(run: Run) -> str:
    """How much of the claims a run covers, "whole" or "partial, 3 of 60 claims measured"."""
    if run.whole:
        return "whole"
    measured = {item.claim.id for item in run.conditions if item.measured}
    return f"partial, {len(measured)} of {len(run.claims)} claims measured"


def run_text(run: Run) -> str:
    """Which run it is: when it ended, its settings, and how much it covers."""
    return f"{run.ended}, {setting_text(run)}, {extent_text(run)}"


def left_out_text(summary: Summary) -> str:
    """How many claims were not selected, "59 others not selected"; empty if none."""
    count = len(summary.left_out)
    return f"{count} other{'' if count == 1 else 's'} not selected" if count else ""


class Stated(Protocol):
    """A condition of a claim, measured or not."""

    @property
    def claim(self) -> Claim: ...  # noqa: D102 - as in `ConditionResult`

    @property
    def estimand(self) -> str: ...  # noqa: D102

    @property
    def parameters(self) -> Mapping[str, str | int | float]: ...  # noqa: D102


def condition_name(condition: Stated) -> str:
    """What distinguishes a condition from the others of its claim, in words."""
    name = parameters_text(condition.parameters)
    several = len(condition.claim.estimands) > 1
    return " · ".join(text for text in (condition.estimand if several else "", name) if text)


def full_name(condition: Stated) -> str:
    """A claim's id, and the name of its condition."""
    return f"{condition.claim.id} {condition_name(condition)}".strip()


def deciding_part(condition: ConditionResult) -> Part | None:
    """The part of a condition with the weakest support; among equals, the most refuted."""
    return max(condition.decision.parts, key=_weight, default=None)


def claimed_text(condition: ConditionResult, part: Part) -> str:
    """What is claimed of a part's effect, with both sides if there are two."""
    criteria = condition.judged_by.criteria
    same = [criterion for criterion in criteria if criterion.effect == part.criterion.effect]
    return bounds_text(same or [part.criterion])


def effect_of(part: Part | None) -> Effect | None:
    """The effect of a part if it is a finite number; infinite ends are open."""
    if part is None or part.effect is None or not math.isfinite(part.effect.value):
        return None
    low, high = (
        None if end is None or not math.isfinite(end) else end
        for end in (part.effect.low, part.effect.high)
    )
    return dataclasses.replace(part.effect, low=low, high=high)


def _weight(found: Decision | Part) -> tuple[float, float]:
    """How strongly a decision or a part contradicts the claim, as a sort key."""
    return found.p_supported, -found.p_refuted


def _summarise_claim(claim: Claim, conditions: tuple[ConditionResult, ...]) -> ClaimSummary:
    if all(estimand.kind is Kind.UNTESTABLE for estimand in claim.estimands.values()):
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
