"""Verdicts: what a claim's evidence decides.

Pure functions of frozen values. A condition is decided by `decide`, a claim by `decide_claim`, a
headline by `decide_headline`; the rules are those of the section "Statistics" of the design, in
its order: events, looks, kinds, invalid, verdict, effects.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from harness.claim import ALPHA, LOOKS, Criterion, Estimand, Kind, Scale
from harness.errors import ClaimError, UnknownNameError
from harness.statistics.intervals import median_interval, share_interval
from harness.statistics.sequential import (
    MOST_REPLICATES,
    check_looks,
    least_fixed_n,
    least_n,
    replicates_to_decide,
    sequential,
)

INVALID_ABOVE = 0.25
"""A condition is invalid where more than this share of its replicates is."""

NO_DESCENT = "m_g did not fall to half"
"""Cause of an invalid replicate, a key of `Decision.invalid`."""


class Verdict(enum.StrEnum):
    """What the evidence says of a claim or of one of its conditions."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    MIXED = "mixed"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    NOT_RUN = "not run"
    NOT_TESTABLE = "not testable"


class Refutation(enum.StrEnum):
    """How an effect that had to pass a margin was refuted."""

    NULL = "null"
    REVERSED = "reversed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replicate:
    """What one replicate yields for one estimand.

    Parameters
    ----------
    index : int
        Number of the replicate, from 0.
    effects : mapping of str to float
        By the names that the criteria use; may be non-finite.
    descended : bool or None
        Whether m_g fell to half or less in every run; None where nothing descends.
    failed_control : str or None
        The control that failed, in words.
    """

    index: int
    effects: Mapping[str, float]
    descended: bool | None = None
    failed_control: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
    """An effect over replicates: the median with its order-statistic interval.

    `low` and `high` are None where unbounded; all other numbers are finite.
    """

    name: str
    label: str
    value: float
    low: float | None
    high: float | None
    level: float
    scale: Scale


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One criterion over the replicates: events, sequential P of both directions, effect.

    `share_low` and `share_high` are the Clopper-Pearson limits of the share of events, at the
    level of the effect's interval.
    """

    criterion: Criterion
    events: int
    n: int
    p_supported: float
    p_refuted: float
    effect: Effect | None
    share_low: float = 0.0
    share_high: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """The verdict of a condition with everything that led to it.

    Parameters
    ----------
    verdict : Verdict
        The verdict.
    reason : str
        Why, in words that need no article.
    n : int
        Replicates judged.
    parts : tuple of Part
        One per criterion, in order; empty where nothing was judged.
    p_supported, p_refuted : float
        Sequential P of the whole estimand in either direction. Exact claims stand outside every
        family; theirs are 0 in the direction decided and 1 otherwise.
    final : bool
        Whether more replicates cannot change it: it is decided, or the looks are exhausted.
    invalid : mapping of str to int
        Replicates by what made them invalid, each under one cause.
    values : mapping of str to tuple of float
        The effects of the replicates judged, by name, in the order of the replicates (non-finite
        ones as they were).
    refutation : Refutation or None
        For a refuted contrast, whether the effect is absent (null) or goes the other way.
    counterexample : int or None
        Index of the replicate that refutes an exact claim.
    """

    verdict: Verdict
    reason: str
    n: int
    parts: tuple[Part, ...] = ()
    p_supported: float = 1.0
    p_refuted: float = 1.0
    final: bool = True
    invalid: Mapping[str, int] = dataclasses.field(default_factory=dict)
    values: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    refutation: Refutation | None = None
    counterexample: int | None = None


# --- a condition ----------------------------------------------------------------------------


def decide(
    estimand: Estimand,
    replicates: Sequence[Replicate],
    *,
    alpha: float = ALPHA,
    looks: Sequence[tuple[int, float]] = LOOKS,
) -> Decision:
    """The verdict of one condition on the replicates at hand.

    The looks are taken in their order and the first that decides ends it: replicates beyond it do
    not count, so a fuller store gives the same verdict as the run that stopped there. "Invalid" at
    a look is as final as a decision. Nothing is decided between looks or before the first, with
    one exception: a counterexample refutes an exact claim wherever it turns up.

    Parameters
    ----------
    estimand : Estimand
        What is judged.
    replicates : sequence of Replicate
        All so far, one for every index from the first to the last. One that failed has to be
        among them; it counts as no event.
    alpha : float
        Error rate of the condition.
    looks : sequence of (int, float)
        Replicates at each look and its share of alpha. A profile that stops early gives the first
        of the claim's looks; their shares stay as they are.

    Returns
    -------
    Decision
        Not final where another look may still decide.
    """
    check_looks(looks)
    ordered = _in_order(replicates)
    if not ordered:
        return Decision(
            verdict=Verdict.NOT_RUN, reason="no replicate was measured", n=0, final=False
        )
    if estimand.kind is Kind.EXACT:
        return _decide_exact(estimand, ordered, alpha=alpha, looks=looks)
    reached = sum(n <= len(ordered) for n, _ in looks)
    if not reached:
        return _too_few(_Evidence.of(estimand, ordered, alpha=alpha, looks=looks))
    for n, _ in looks[:reached]:
        decision = _at_look(_Evidence.of(estimand, ordered[:n], alpha=alpha, looks=looks))
        if decision.final:
            break
    return decision


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Evidence:
    """Everything that the replicates of one look say, before any rule is applied to it."""

    estimand: Estimand
    replicates: tuple[Replicate, ...]
    alpha: float
    looks: tuple[tuple[int, float], ...]
    causes: tuple[str | None, ...]
    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls,
        estimand: Estimand,
        replicates: Sequence[Replicate],
        *,
        alpha: float,
        looks: Sequence[tuple[int, float]],
    ) -> _Evidence:
        """Judge each criterion at the last of `looks` that is complete."""
        causes = tuple(_cause(replicate, estimand) for replicate in replicates)
        values = {
            criterion.effect: _effects(replicates, causes, criterion.effect)
            for criterion in estimand.criteria
        }
        # Before the first look there is nothing to spend yet; its level is the one to show.
        reached = [share for n, share in looks if n <= len(replicates)] or [looks[0][1]]
        spent = reached[-1] * alpha
        parts = tuple(
            _part(criterion, values[criterion.effect], looks=looks, spent=spent)
            for criterion in estimand.criteria
        )
        return cls(
            estimand=estimand,
            replicates=tuple(replicates),
            alpha=alpha,
            looks=tuple(looks),
            causes=causes,
            parts=parts,
        )

    @property
    def n(self) -> int:
        return len(self.replicates)

    @property
    def invalid(self) -> dict[str, int]:
        return dict(Counter(cause for cause in self.causes if cause))

    @property
    def mostly_invalid(self) -> bool:
        return sum(self.invalid.values()) > INVALID_ABOVE * self.n

    @property
    def p_supported(self) -> float:
        """Intersection-union test (Berger 1982): all parts hold if each is shown to."""
        return max(part.p_supported for part in self.parts)

    @property
    def p_refuted(self) -> float:
        """One part that does not hold refutes all; Bonferroni over the parts."""
        return min(1.0, len(self.parts) * min(part.p_refuted for part in self.parts))

    def decision(self, verdict: Verdict, reason: str, *, final: bool = True) -> Decision:
        """A decision with this evidence."""
        names = dict.fromkeys(criterion.effect for criterion in self.estimand.criteria)
        return Decision(
            verdict=verdict,
            reason=reason,
            n=self.n,
            parts=self.parts,
            p_supported=self.p_supported,
            p_refuted=self.p_refuted,
            final=final,
            invalid=self.invalid,
            values={
                name: tuple(r.effects.get(name, math.nan) for r in self.replicates)
                for name in names
            },
        )


def _in_order(replicates: Sequence[Replicate]) -> tuple[Replicate, ...]:
    """The replicates by index, which must have no gap.

    The order in which workers finish may depend on the outcome, and a failure left out would be a
    replicate dropped.
    """
    ordered = tuple(sorted(replicates, key=lambda replicate: replicate.index))
    indices = [replicate.index for replicate in ordered]
    if indices and indices != list(range(indices[0], indices[0] + len(indices))):
        raise ClaimError(
            indices,
            rule="every replicate counts once, one that failed included",
            remedy="Give one Replicate for each index, with failed_control= where it failed",
        )
    return ordered


def _cause(replicate: Replicate, estimand: Estimand) -> str | None:
    """What makes a replicate invalid, if anything."""
    if replicate.failed_control is not None:
        return replicate.failed_control
    for criterion in estimand.criteria:
        if criterion.effect not in replicate.effects:
            raise UnknownNameError.nearest(criterion.effect, replicate.effects, what="effect")
        if not math.isfinite(replicate.effects[criterion.effect]):
            return f"{criterion.label} is not finite"
    if estimand.presupposes_descent and replicate.descended is False:
        return NO_DESCENT
    return None


def _effects(
    replicates: Sequence[Replicate], causes: Sequence[str | None], name: str
) -> tuple[float, ...]:
    """One effect by replicate; what an invalid replicate would have shown is unknown.

    An infinity of a control that passed stays: the order of the values is all that is used of it.
    """
    found = []
    for replicate, cause in zip(replicates, causes, strict=True):
        value = replicate.effects.get(name, math.nan)
        known = cause is None or (replicate.failed_control is None and math.isinf(value))
        found.append(value if known else math.nan)
    return tuple(found)


def _part(
    criterion: Criterion,
    values: Sequence[float],
    *,
    looks: Sequence[tuple[int, float]],
    spent: float,
) -> Part:
    events = [criterion.holds(value) for value in values]
    test = sequential(events, p0=criterion.share, looks=looks)
    interval = median_interval(values, tail=spent / 2)
    share_low, share_high = share_interval(sum(events), len(events), level=1 - spent)
    effect = None
    if interval is not None:
        effect = Effect(
            name=criterion.effect,
            label=criterion.label,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            level=interval.level,
            scale=criterion.scale,
        )
    return Part(
        criterion=criterion,
        events=sum(events),
        n=len(events),
        p_supported=test.p_supported,
        p_refuted=test.p_refuted,
        effect=effect,
        share_low=share_low,
        share_high=share_high,
    )


def _at_look(evidence: _Evidence) -> Decision:
    """The rules, in their order, at a complete look."""
    if evidence.mostly_invalid:
        return evidence.decision(Verdict.INVALID, _why_invalid(evidence))
    supported = evidence.p_supported <= evidence.alpha
    refuted = evidence.p_refuted <= evidence.alpha
    # A conjunction can be shown both ways only if a part turned between looks; then nothing is.
    if supported and not refuted:
        return evidence.decision(Verdict.SUPPORTED, _why_supported(evidence))
    if refuted and not supported:
        refutation = _refutation(evidence)
        decision = evidence.decision(Verdict.REFUTED, _why_refuted(evidence, refutation))
        return dataclasses.replace(decision, refutation=refutation)
    last = evidence.n >= evidence.looks[-1][0]
    reason = _why_undecided(evidence) if last else _why_open(evidence)
    return evidence.decision(Verdict.INCONCLUSIVE, reason, final=last)


def _too_few(evidence: _Evidence) -> Decision:
    first = evidence.looks[0][0]
    reason = f"{evidence.n} of {first} replicates so far: nothing is decided before {first}"
    return evidence.decision(Verdict.INCONCLUSIVE, reason, final=False)


def _decide_exact(
    estimand: Estimand,
    replicates: tuple[Replicate, ...],
    *,
    alpha: float,
    looks: Sequence[tuple[int, float]],
) -> Decision:
    """P: one counterexample refutes, whatever else holds; so every replicate at hand counts.

    A replicate that is invalid is no counterexample: a residual that is not a number says nothing
    of a theorem. It is no confirmation either.
    """
    evidence = _Evidence.of(estimand, replicates, alpha=alpha, looks=looks)
    for replicate, cause in zip(replicates, evidence.causes, strict=True):
        for criterion in estimand.criteria if cause is None else ():
            value = replicate.effects[criterion.effect]
            if not criterion.holds(value):
                reason = (
                    f"counterexample: in replicate {replicate.index} {criterion.label} is "
                    f"{_number(value, criterion.scale)}, not {_beyond(criterion)}"
                )
                decision = evidence.decision(Verdict.REFUTED, reason)
                return dataclasses.replace(
                    _outside_families(decision), counterexample=replicate.index
                )
    invalid = sum(evidence.invalid.values())
    if evidence.n < looks[0][0]:
        decision = _too_few(evidence)
    elif evidence.mostly_invalid:
        decision = evidence.decision(Verdict.INVALID, _why_invalid(evidence))
    elif invalid:
        reason = (
            f"no counterexample in {evidence.n - invalid} replicates, but {invalid} of "
            f"{evidence.n} could not be judged ({_causes(evidence)}), and all have to hold"
        )
        decision = evidence.decision(Verdict.INCONCLUSIVE, reason, final=evidence.n >= looks[-1][0])
    else:
        held = " and ".join(f"{c.label} is {_beyond(c)}" for c in estimand.criteria)
        reason = f"{held} in all {evidence.n} replicates, without exception"
        decision = evidence.decision(Verdict.SUPPORTED, reason)
    return _outside_families(decision)


def _outside_families(decision: Decision) -> Decision:
    """An exact decision with P values by convention: 0 in the direction decided, otherwise 1."""
    p_supported = float(decision.verdict is not Verdict.SUPPORTED)
    p_refuted = float(decision.verdict is not Verdict.REFUTED)
    return dataclasses.replace(
        decision,
        p_supported=p_supported,
        p_refuted=p_refuted,
        parts=tuple(
            dataclasses.replace(part, p_supported=p_supported, p_refuted=p_refuted)
            for part in decision.parts
        ),
    )


def _refutation(evidence: _Evidence) -> Refutation | None:
    """Whether the part that refutes goes the other way, or only falls short of its margin.

    None where the criterion has no value of "no effect" on the near side of its margin.
    """
    if evidence.estimand.kind is Kind.EQUIVALENCE:
        return None
    part = min(evidence.parts, key=lambda part: part.p_refuted)
    null = _null(part.criterion)
    if null is None:
        return None
    upwards = part.criterion.above is not None
    if part.criterion.margin < null if upwards else part.criterion.margin > null:
        return None
    other_way = [
        cause is None and (effect < null if upwards else effect > null)
        for cause, effect in zip(
            evidence.causes,
            _effects(evidence.replicates, evidence.causes, part.criterion.effect),
            strict=True,
        )
    ]
    p = sequential(other_way, looks=evidence.looks).p_supported
    reversed_ = len(evidence.parts) * p <= evidence.alpha
    return Refutation.REVERSED if reversed_ else Refutation.NULL


def _null(criterion: Criterion) -> float | None:
    """The value of no effect: the criterion's own, or 0 for the logarithm of a ratio."""
    if criterion.null is None and criterion.scale is Scale.LOG:
        return 0.0
    return criterion.null


# --- reasons --------------------------------------------------------------------------------


def _number(value: float, scale: Scale) -> str:
    """A number as a reader wants it, a log ratio as the ratio."""
    if scale is Scale.LINEAR:
        return f"{value:.4g}"
    return f"{math.exp(value):.4g}" if abs(value) < 700 else f"10^{value / math.log(10):.0f}"


def _beyond(criterion: Criterion) -> str:
    side = "above" if criterion.above is not None else "below"
    return f"{side} {_number(criterion.margin, criterion.scale)}"


def _p(p: float) -> str:
    """A P, or a level, without its leading zero."""
    if p >= 0.9995:
        return "1"
    if p < 0.0001:
        return "<.0001"
    return f"{p:.2g}".removeprefix("0")


def _p_is(p: float, alpha: float) -> str:
    text = _p(p)
    shown = f"P {text[0]} {text[1:]}" if text[0] == "<" else f"P = {text}"
    return f"{shown}, {'at most' if p <= alpha else 'above'} {_p(alpha)}"


def _share(share: float) -> str:
    return "half" if share == 0.5 else f"{100 * share:.3g} %"


def _seen(part: Part, *, only: bool = False) -> str:
    counted = f"{'only ' if only else ''}{part.events}" if part.events else "none"
    return (
        f"{part.criterion.label} is {_beyond(part.criterion)} in {counted} of {part.n} replicates"
    )


def _all_seen(evidence: _Evidence) -> str:
    return " and ".join(_seen(part) for part in evidence.parts)


def _causes(evidence: _Evidence) -> str:
    return ", ".join(f"{cause}: {count}" for cause, count in sorted(evidence.invalid.items()))


def _notes(evidence: _Evidence) -> str:
    """What a reader has to know beside the count: odd shares, and failures counted as no event."""
    criteria = evidence.estimand.criteria
    shares = dict.fromkeys(c.share for c in criteria if c.share != 0.5)
    notes = [_least_n(share, evidence) for share in shares]
    count = sum(evidence.invalid.values())
    if count:
        notes.append(f"{count} invalid, counted as no event ({_causes(evidence)})")
    return "".join(f"; {note}" for note in notes)


def _least_n(share: float, evidence: _Evidence) -> str:
    """The least n that can decide against a share, either way."""
    found = least_n(share, alpha=evidence.alpha, looks=evidence.looks)
    fixed = least_fixed_n(share, alpha=evidence.alpha)
    to_support, to_refute = (
        str(n) if n is not None else f"{least}, beyond these looks,"
        for n, least in zip(found, fixed, strict=True)
    )
    return (
        f"against {_share(share)} it takes at least {to_support} to support and {to_refute} to "
        "refute"
    )


def _why_invalid(evidence: _Evidence) -> str:
    count = sum(evidence.invalid.values())
    return (
        f"{count} of {evidence.n} replicates are invalid, more than a quarter: {_causes(evidence)}"
    )


def _why_supported(evidence: _Evidence) -> str:
    shares = dict.fromkeys(_share(part.criterion.share) for part in evidence.parts)
    each = "each " if len(evidence.parts) > 1 else ""
    return (
        f"{_all_seen(evidence)}: {each}more often than {' and '.join(shares)} of the time "
        f"({_p_is(evidence.p_supported, evidence.alpha)}){_notes(evidence)}"
    )


def _why_refuted(evidence: _Evidence, refutation: Refutation | None) -> str:
    part = min(evidence.parts, key=lambda part: part.p_refuted)
    how = ""
    if refutation is not None:
        side = "below" if part.criterion.above is not None else "above"
        other = f"it is {side} {_number(_null(part.criterion) or 0.0, part.criterion.scale)}"
        how = f"; refuted ({refutation}): "
        how += other if refutation is Refutation.REVERSED else f"that {other} is not shown"
    return (
        f"{_seen(part, only=True)}: not more often than {_share(part.criterion.share)} of the "
        f"time ({_p_is(evidence.p_refuted, evidence.alpha)}){how}{_notes(evidence)}"
    )


def _why_open(evidence: _Evidence) -> str:
    following = next(n for n, _ in evidence.looks if n > evidence.n)
    return (
        f"{_all_seen(evidence)}: not decided yet, the next look is at {following}{_notes(evidence)}"
    )


def _why_undecided(evidence: _Evidence) -> str:
    needed = _needed(evidence)
    more = (
        f"about {needed} replicates would decide"
        if needed
        else f"not even {MOST_REPLICATES} replicates would decide"
    )
    shares = "this share" if len(evidence.parts) == 1 else "these shares"
    return (
        f"{_all_seen(evidence)}: decided neither way (P = {_p(evidence.p_supported)} for it and "
        f"{_p(evidence.p_refuted)} against it, neither at most {_p(evidence.alpha)}); at "
        f"{shares} {more}{_notes(evidence)}"
    )


def _needed(evidence: _Evidence) -> int | None:
    """Replicates with which the looks would have decided at the shares seen.

    Where the looks given leave some of alpha, one more look spends it; otherwise the last look is
    put off.
    """
    left = 1 - math.fsum(share for _, share in evidence.looks)
    spend = evidence.alpha * (left if left > 1e-9 else evidence.looks[-1][1])
    shares = [(part.events / part.n, part.criterion.share) for part in evidence.parts]
    if all(share > p0 for share, p0 in shares):
        numbers = [
            replicates_to_decide(share, p0=p0, alpha=spend, more_than=evidence.n)
            for share, p0 in shares
        ]
        return None if None in numbers else max(n for n in numbers if n is not None)
    numbers = [
        replicates_to_decide(share, p0=p0, alpha=spend / len(shares), more_than=evidence.n)
        for share, p0 in shares
        if share < p0
    ]
    return min((n for n in numbers if n is not None), default=None)


# --- a claim, a headline --------------------------------------------------------------------


def decide_claim(decisions: Iterable[Decision]) -> tuple[Verdict, str]:
    """The verdict of a claim on its confirmatory conditions.

    Supported or refuted where all of them are, mixed where at least one is supported and one
    refuted; not run, not testable or invalid where all are; otherwise inconclusive.
    """
    verdicts = [decision.verdict for decision in decisions]
    if not verdicts:
        return Verdict.NOT_RUN, "no condition was run"
    return _combine(verdicts), _counts(verdicts, "condition")


def _combine(verdicts: Sequence[Verdict]) -> Verdict:
    present = set(verdicts)
    if len(present) == 1:
        return verdicts[0]
    if {Verdict.SUPPORTED, Verdict.REFUTED} <= present or Verdict.MIXED in present:
        return Verdict.MIXED
    return Verdict.INCONCLUSIVE


def _counts(verdicts: Sequence[Verdict], what: str) -> str:
    counts = Counter(verdicts)
    if len(verdicts) == 1:
        return f"its only {what} is {verdicts[0]}"
    if len(counts) == 1:
        return f"all {len(verdicts)} {what}s are {verdicts[0]}"
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    return f"of {len(verdicts)} {what}s: {told}"


def decide_headline(
    claims: Mapping[str, Sequence[Decision]], *, alpha: float = ALPHA
) -> tuple[Verdict, str]:
    """The verdict of a headline on its claims.

    Supported if all its claims are. Refuted if one is at its share of alpha: the refuted P of a
    claim is the largest of its confirmatory conditions', and it is multiplied by the number of
    claims (Bonferroni, since any of them would refute). Otherwise mixed, inconclusive, invalid or
    not run by the rule for the conditions of a claim.

    Parameters
    ----------
    claims : mapping of str to sequence of Decision
        The confirmatory decisions of each claim, by the claim's id.
    alpha : float
        Error rate of the headline.
    """
    if not claims:
        return Verdict.NOT_RUN, "no claim was run"
    verdicts = {key: decide_claim(decisions)[0] for key, decisions in claims.items()}
    counts = _counts(list(verdicts.values()), "claim")
    refuted = {
        key: min(1.0, len(claims) * max(decision.p_refuted for decision in claims[key]))
        for key, verdict in verdicts.items()
        if verdict is Verdict.REFUTED
    }
    named = "; ".join(f"{key} {verdict}" for key, verdict in verdicts.items())
    if refuted and min(refuted.values()) <= alpha:
        least = min(refuted, key=lambda key: refuted[key])
        return Verdict.REFUTED, (
            f"{least} is refuted, over {len(claims)} claims {_p_is(refuted[least], alpha)} "
            f"({named})"
        )
    combined = _combine(list(verdicts.values()))
    if combined is Verdict.REFUTED:
        combined = Verdict.INCONCLUSIVE
        counts += f", but none at its share of alpha: {_p_is(min(refuted.values()), alpha)}"
    return combined, f"{counts} ({named})"
