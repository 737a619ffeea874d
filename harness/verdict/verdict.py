"""Verdicts: conditions, claims and headlines decided by their evidence.

Pure functions of frozen values. A condition is decided by `decide`, a claim by `decide_claim`, a
headline by `decide_headline`. The rules for conditions are in `harness.statistics.decision`; here
they are applied to the events of replicates, and the decision is reported with its evidence.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from harness.claim import ALPHA, LOOKS, Criterion, Estimand, Kind
from harness.statistics.decision import Ruling, combined_p, decided
from harness.statistics.sequential import Bools, check_looks, each_look, replicates_to_decide
from harness.verdict import reasons
from harness.verdict.evidence import (
    Events,
    Evidence,
    Part,
    Refutation,
    Replicate,
    in_order,
    is_null_or_reversed,
)


class Verdict(enum.StrEnum):
    """The verdict on a claim or on one of its conditions."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    MIXED = "mixed"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    NOT_RUN = "not run"
    NOT_TESTABLE = "not testable"


class Stop(enum.StrEnum):
    """Why no more replicates are drawn for a condition."""

    DECIDED = "decided"
    COUNTEREXAMPLE = "a counterexample"
    WITNESS = "a witness"
    INVALID = "too many invalid"
    EXHAUSTED = "looks exhausted"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """A look that was taken.

    Parameters
    ----------
    n : int
        Replicates.
    spends : float
        Its share of alpha.
    events : tuple of int
        Events of each part among the replicates.
    p_supported, p_refuted : float
        Sequential P of the whole estimand up to this look.
    """

    n: int
    spends: float
    events: tuple[int, ...]
    p_supported: float
    p_refuted: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """The verdict of a condition with everything that led to it.

    Parameters
    ----------
    verdict : Verdict
        The verdict.
    reason : str
        Why, in words for readers who do not know the article.
    n : int
        Replicates judged.
    parts : tuple of Part
        One per criterion, in order; empty if nothing was judged.
    p_supported, p_refuted : float
        Sequential P of the whole estimand in either direction. Exact claims stand outside every
        family, and so does the support of an existential one; theirs are 0 in the direction decided
        and 1 otherwise.
    final : bool
        Whether more replicates cannot change it: it is decided, or the looks are exhausted.
    invalid : mapping of str to int
        Replicates by what made them invalid, each under one cause.
    failed : tuple of int
        Indices of the invalid replicates among those judged; they are never events.
    values : mapping of str to tuple of float
        The effects of the replicates judged, by name, in the order of the replicates (non-finite
        ones as they were).
    refutation : Refutation or None
        For a refuted contrast, whether the effect is absent (null) or goes the other way.
    counterexample : int or None
        Index of the replicate that refutes an exact claim.
    witness : int or None
        Index of the first replicate that supports an existential claim.
    stop : Stop or None
        Why no more replicates are drawn; None if it is not final.
    path : tuple of Look
        The looks that were taken, in order.
    needed : int or None
        If the looks are exhausted, the replicates that would decide at the observed shares; None if
        no reasonable number would.
    """

    verdict: Verdict
    reason: str
    n: int
    parts: tuple[Part, ...] = ()
    p_supported: float = 1.0
    p_refuted: float = 1.0
    final: bool = True
    invalid: Mapping[str, int] = dataclasses.field(default_factory=dict)
    failed: tuple[int, ...] = ()
    values: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    refutation: Refutation | None = None
    counterexample: int | None = None
    witness: int | None = None
    stop: Stop | None = None
    path: tuple[Look, ...] = ()
    needed: int | None = None

    def events(self, criterion: Criterion) -> tuple[bool, ...] | None:
        """Whether each replicate judged is an event; None if it is unknown which are invalid.

        Older documents only have the number of invalid replicates.
        """
        if len(self.failed) < sum(self.invalid.values()):
            return None
        return tuple(
            criterion.holds(value) and place not in self.failed
            for place, value in enumerate(self.values.get(criterion.effect, ()))
        )


# --- a condition ----------------------------------------------------------------------------


def decide(
    estimand: Estimand,
    replicates: Sequence[Replicate],
    *,
    alpha: float = ALPHA,
    looks: Sequence[tuple[int, float]] = LOOKS,
) -> Decision:
    """The verdict of one condition on the replicates so far.

    Looks are taken in order and the first that decides ends the series: replicates beyond it do not
    count, so a fuller store gives the same verdict as the run that stopped there. "Invalid" at a
    look is as final as a decision. Nothing is decided between looks or before the first, with two
    exceptions: any counterexample refutes an exact claim, and any witness supports an existential
    one.

    Parameters
    ----------
    estimand : Estimand
        What is judged.
    replicates : sequence of Replicate
        All so far, one for every index from the first to the last. Failed ones have to be among
        them; they count as no event.
    alpha : float
        Error rate of the condition.
    looks : sequence of (int, float)
        Replicates at each look and its share of alpha. A profile that stops early gives the first
        of the claim's looks; their shares stay as they are.

    Returns
    -------
    Decision
        Not final if another look may still decide.
    """
    check_looks(looks)
    ordered = in_order(replicates)
    if not ordered:
        return Decision(
            verdict=Verdict.NOT_RUN, reason="no replicate was measured", n=0, final=False
        )
    events = Events.of(estimand, ordered)
    run = decided(
        estimand.kind,
        events.happened,
        failed=events.failed,
        opposite=events.opposite,
        shares=[criterion.share for criterion in estimand.criteria],
        alpha=alpha,
        looks=looks,
    )
    ruling, taken = Ruling(int(run.ruling)), int(run.looks)
    # A counterexample or witness counts wherever it is; before the first look, all replicates do.
    single = estimand.kind is Kind.EXACT or (
        estimand.kind is Kind.EXISTENTIAL and ruling is Ruling.SUPPORTED
    )
    n = looks[taken - 1][0] if taken and not single else len(ordered)
    evidence = Evidence.of(
        estimand,
        ordered[:n],
        p_supported=run.p_supported.tolist(),
        p_refuted=run.p_refuted.tolist(),
        alpha=alpha,
        looks=looks,
    )
    refutation = None
    if ruling is Ruling.REFUTED and is_null_or_reversed(estimand, evidence.refuting.criterion):
        refutation = Refutation.REVERSED if run.reversed else Refutation.NULL
    final = ruling is not Ruling.OPEN or n >= looks[-1][0]
    found = evidence.first(event=ruling is Ruling.SUPPORTED) if single else None
    decision = Decision(
        verdict=_VERDICTS[ruling],
        reason="",
        n=n,
        parts=evidence.parts,
        p_supported=evidence.p[0],
        p_refuted=evidence.p[1],
        final=final,
        invalid=evidence.invalid,
        failed=evidence.failed,
        values=evidence.values,
        refutation=refutation,
        counterexample=found.index if found and ruling is Ruling.REFUTED else None,
        witness=found.index if found and estimand.kind is Kind.EXISTENTIAL else None,
        stop=_stop(estimand.kind, ruling) if final else None,
        path=_path(evidence, events.happened[:, :n], taken=taken),
        needed=_needed(evidence) if final and ruling is Ruling.OPEN else None,
    )
    return dataclasses.replace(decision, reason=_reason(evidence, decision, found))


_VERDICTS: Mapping[Ruling, Verdict] = {
    Ruling.OPEN: Verdict.INCONCLUSIVE,
    Ruling.SUPPORTED: Verdict.SUPPORTED,
    Ruling.REFUTED: Verdict.REFUTED,
    Ruling.INVALID: Verdict.INVALID,
}


def _stop(kind: Kind, ruling: Ruling) -> Stop:
    """Why no more replicates are drawn."""
    match ruling, kind:
        case Ruling.OPEN, _:
            return Stop.EXHAUSTED
        case Ruling.INVALID, _:
            return Stop.INVALID
        case Ruling.REFUTED, Kind.EXACT:
            return Stop.COUNTEREXAMPLE
        case Ruling.SUPPORTED, Kind.EXISTENTIAL:
            return Stop.WITNESS
    return Stop.DECIDED


def _reason(evidence: Evidence, decision: Decision, found: Replicate | None) -> str:
    """The words for a decision; `found` is the one replicate that decided, if one did."""
    exact = evidence.estimand.kind is Kind.EXACT
    match decision.verdict:
        case Verdict.INVALID:
            return reasons.invalid(evidence)
        case Verdict.SUPPORTED if exact:
            return reasons.without_exception(evidence)
        case Verdict.SUPPORTED:
            return reasons.witness(evidence, found) if found else reasons.supported(evidence)
        case Verdict.REFUTED:
            if found is not None:
                return reasons.counterexample(evidence, found)
            return reasons.refuted(evidence, decision.refutation)
    if not decision.path:
        return reasons.too_few(evidence)
    if exact:
        return reasons.not_all_judged(evidence)
    if decision.final:
        return reasons.undecided(evidence, needed=decision.needed)
    return reasons.not_decided_yet(evidence)


def _path(evidence: Evidence, happened: Bools, *, taken: int) -> tuple[Look, ...]:
    """The looks taken, with what they saw."""
    shares = [criterion.share for criterion in evidence.estimand.criteria]
    by_part = zip(
        *(
            each_look(events, p0=share, looks=evidence.looks)
            for events, share in zip(happened, shares, strict=True)
        ),
        strict=True,
    )
    path = []
    for tests in itertools.islice(by_part, taken):
        p_supported, p_refuted = combined_p(
            np.array([test.p_supported for test in tests]),
            np.array([test.p_refuted for test in tests]),
        )
        path.append(
            Look(
                n=tests[0].n,
                spends=tests[0].spends,
                events=tuple(int(test.events) for test in tests),
                p_supported=float(p_supported),
                p_refuted=float(p_refuted),
            )
        )
    return tuple(path)


def _needed(evidence: Evidence) -> int | None:
    """Replicates with which the looks would have decided at the observed shares.

    If the looks leave some of alpha, one more look spends it; otherwise the last look is postponed.
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
    left_out = counts.pop(Verdict.NOT_RUN, 0)
    listed = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    if left_out:
        return f"{left_out} of {len(verdicts)} {what}s not run; of the others: {listed}"
    return f"of {len(verdicts)} {what}s: {listed}"


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
        p = reasons.p_text(refuted[least], alpha)
        return Verdict.REFUTED, f"{least} is refuted, over {len(claims)} claims {p} ({named})"
    combined = _combine(list(verdicts.values()))
    if combined is Verdict.REFUTED:
        combined = Verdict.INCONCLUSIVE
        counts += (
            f", but none at its share of alpha: {reasons.p_text(min(refuted.values()), alpha)}"
        )
    return combined, f"{counts} ({named})"
