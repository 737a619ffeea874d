"""Conditions of a claim as rows: effects in words and drawn, and how they were judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from harness.claim import Criterion, Estimand, Kind
from harness.verdict.evidence import Part
from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Verdict
from reports import words
from reports.figures import intervals
from reports.figures.geometry import Axis, Drawing
from reports.page.evidence import EvidenceView, evidence
from reports.summary import condition_name, deciding_part, effect_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class EffectView:
    """One effect of a condition, in words and as a drawing."""

    label: str
    text: str
    paraphrase: str
    finding: str
    claimed: str
    drawing: Drawing | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConditionView:
    """A row of a table of conditions."""

    condition: ConditionResult
    name: str
    effects: tuple[EffectView, ...]
    deciding: EffectView | None
    evidence: EvidenceView


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplicatesView:
    """Every replicate's effect, a row a condition, above their common axis."""

    title: str
    rows: tuple[tuple[str, Drawing], ...]
    axis: Drawing


@dataclasses.dataclass(frozen=True, kw_only=True)
class EstimandView:
    """How one estimand of a claim was judged, and its conditions."""

    judged_by: Estimand
    kind: str
    claimed: str
    axes: tuple[tuple[str, Drawing], ...]
    confirmatory: tuple[ConditionView, ...]
    exploratory: tuple[ConditionView, ...]
    replicates: tuple[ReplicatesView, ...]


def condition_view(condition: ConditionResult, axes: Mapping[str, Axis]) -> ConditionView:
    """The view of one condition on the axes of its estimand."""
    effects = {
        name: _effect(part, group, axes.get(name), verdict=_mark(part, condition))
        for name, group in by_effect(condition.judged_by.criteria).items()
        if (part := _weakest(condition.decision.parts, group)) is not None
    }
    weakest = deciding_part(condition)
    return ConditionView(
        condition=condition,
        name=condition_name(condition),
        effects=tuple(effects.values()),
        deciding=None if weakest is None else effects.get(weakest.criterion.effect),
        evidence=evidence(condition),
    )


def parts_shown(
    condition: ConditionResult, *, weakest: bool = False
) -> list[tuple[Part, Verdict, str]]:
    """The parts of a condition that have an effect: one per effect, with verdict and name.

    The name of the condition that represents its claim says so.
    """
    found = []
    called = ("weakest" if weakest else "", condition_name(condition))
    groups = by_effect(condition.judged_by.criteria)
    for group in groups.values():
        part = _weakest(condition.decision.parts, group)
        if part is not None and effect_of(part):
            label = group[0].label if len(groups) > 1 else ""
            name = " · ".join(text for text in (*called, label) if text)
            found.append((part, _mark(part, condition), name))
    return found


def axes_of(conditions: Sequence[ConditionResult]) -> dict[str, Axis]:
    """One axis per effect, common to all conditions of an estimand."""
    found = {}
    for name, group in by_effect(conditions[0].judged_by.criteria).items():
        parts = [part for c in conditions for part in c.decision.parts if part.criterion in group]
        on = intervals.axis(parts)
        if on is not None:
            found[name] = on
    return found


def by_effect(criteria: Iterable[Criterion]) -> dict[str, list[Criterion]]:
    """Criteria by the effect that they are about, both sides of a margin together."""
    grouped: dict[str, list[Criterion]] = {}
    for criterion in criteria:
        grouped.setdefault(criterion.effect, []).append(criterion)
    return grouped


def by_estimand(conditions: Iterable[ConditionResult]) -> dict[str, list[ConditionResult]]:
    """Conditions by the estimand that judges them."""
    grouped: dict[str, list[ConditionResult]] = {}
    for condition in conditions:
        grouped.setdefault(condition.estimand, []).append(condition)
    return grouped


def _effect(
    part: Part, group: Sequence[Criterion], on: Axis | None, *, verdict: Verdict
) -> EffectView:
    effect = effect_of(part)
    return EffectView(
        label=part.criterion.label,
        text=words.effect_text(effect),
        paraphrase="" if effect is None else words.paraphrase(effect),
        finding="" if effect is None else words.finding(effect),
        claimed=words.bounds_text(group),
        drawing=None if on is None else intervals.track(part, group, on, verdict=verdict),
    )


def _mark(part: Part, condition: ConditionResult) -> Verdict:
    """The verdict that a part's interval is marked with: its own if there are several parts."""
    decision = condition.decision
    decided = decision.verdict in (Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE)
    if condition.judged_by.kind is not Kind.CONJUNCTION or not decided:
        return decision.verdict
    alpha = condition.claim.alpha
    if part.p_supported <= alpha:
        return Verdict.SUPPORTED
    refuted = len(decision.parts) * part.p_refuted <= alpha
    return Verdict.REFUTED if refuted else Verdict.INCONCLUSIVE


def _weakest(parts: Iterable[Part], group: Sequence[Criterion]) -> Part | None:
    own = [part for part in parts if part.criterion in group]
    return max(own, key=lambda part: (part.p_supported, -part.p_refuted), default=None)
