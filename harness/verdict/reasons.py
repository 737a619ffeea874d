"""Reasons of decisions in words, for readers who do not know the article."""

from __future__ import annotations

import math

from harness.claim import Criterion, Kind, Scale
from harness.statistics.sequential import MOST_REPLICATES, least_fixed_n, least_n
from harness.verdict.evidence import Evidence, Part, Refutation, Replicate, null_of


def too_few(evidence: Evidence) -> str:
    """Before the first look."""
    first = evidence.looks[0][0]
    return f"{evidence.n} of {first} replicates so far: nothing is decided before {first}"


def invalid(evidence: Evidence) -> str:
    """Too many replicates failed."""
    count = sum(evidence.invalid.values())
    return (
        f"{count} of {evidence.n} replicates are invalid, more than a quarter: {_causes(evidence)}"
    )


def supported(evidence: Evidence) -> str:
    """The events were enough."""
    shares = dict.fromkeys(_share(part.criterion.share) for part in evidence.parts)
    each = "each " if len(evidence.parts) > 1 else ""
    return (
        f"{_all_seen(evidence)}: {each}more often than {' and '.join(shares)} of the time "
        f"({p_text(evidence.p[0], evidence.alpha)}){_notes(evidence)}"
    )


def refuted(evidence: Evidence, refutation: Refutation | None) -> str:
    """The events of one part were too few."""
    part = evidence.refuting
    how = ""
    if refutation is not None:
        side = "below" if part.criterion.above is not None else "above"
        other = f"it is {side} {_number(null_of(part.criterion) or 0.0, part.criterion.scale)}"
        how = f"; refuted ({refutation}): "
        how += other if refutation is Refutation.REVERSED else f"that {other} is not shown"
    return (
        f"{_seen(part, only=True)}: not more often than {_share(part.criterion.share)} of the "
        f"time ({p_text(evidence.p[1], evidence.alpha)}){how}{_notes(evidence)}"
    )


def not_decided_yet(evidence: Evidence) -> str:
    """Another look may still decide."""
    following = next(n for n, _ in evidence.looks if n > evidence.n)
    return (
        f"{_all_seen(evidence)}: not decided yet, the next look is at {following}{_notes(evidence)}"
    )


def undecided(evidence: Evidence, *, needed: int | None) -> str:
    """The looks are exhausted; how many replicates would have decided."""
    more = (
        f"about {needed} replicates would decide"
        if needed
        else f"not even {MOST_REPLICATES} replicates would decide"
    )
    shares = "this share" if len(evidence.parts) == 1 else "these shares"
    for_it, against_it = evidence.p
    both = for_it <= evidence.alpha and against_it <= evidence.alpha
    why = "both at most" if both else "neither at most"
    turned = ", since a part turned between looks" if both else ""
    return (
        f"{_all_seen(evidence)}: decided neither way (P = {probability(for_it)} for it and "
        f"{probability(against_it)} against it, {why} {probability(evidence.alpha)}{turned}); at "
        f"{shares} {more}{_notes(evidence)}"
    )


def counterexample(evidence: Evidence, found: Replicate) -> str:
    """One replicate refutes an exact claim."""
    missed = next(
        criterion
        for criterion in evidence.estimand.criteria
        if not criterion.holds(found.effects[criterion.effect])
    )
    value = _number(found.effects[missed.effect], missed.scale)
    return (
        f"counterexample: {f'{found.shown}; ' if found.shown else ''}in replicate {found.index} "
        f"{missed.label} is {value}, not {_beyond(missed)}"
    )


def without_exception(evidence: Evidence) -> str:
    """An exact claim held in all replicates."""
    held = " and ".join(f"{c.label} is {_beyond(c)}" for c in evidence.estimand.criteria)
    return f"{held} in all {evidence.n} replicates, without exception"


def not_all_judged(evidence: Evidence) -> str:
    """An exact claim held in every replicate that could be judged."""
    count = sum(evidence.invalid.values())
    return (
        f"no counterexample in {evidence.n - count} replicates, but {count} of "
        f"{evidence.n} could not be judged ({_causes(evidence)}), and all have to hold"
    )


def witness(evidence: Evidence, found: Replicate) -> str:
    """One replicate supports an existential claim."""
    shown = " and ".join(
        f"{c.label} is {_number(found.effects[c.effect], c.scale)}, {_beyond(c)}"
        for c in evidence.estimand.criteria
    )
    count = evidence.parts[0].events
    return (
        f"witness: in replicate {found.index} {shown} (one suffices; it is so in {count} of "
        f"{evidence.n})"
    )


def p_text(p: float, alpha: float) -> str:
    """A P compared with alpha: "P = .0024, at most .01"."""
    text = probability(p)
    shown = f"P {text[0]} {text[1:]}" if text[0] == "<" else f"P = {text}"
    return f"{shown}, {'at most' if p <= alpha else 'above'} {probability(alpha)}"


def probability(p: float) -> str:
    """A P, or a level, without its leading zero: ".0024", "<.0001", "1"."""
    if p >= 0.9995:
        return "1"
    if p < 0.0001:
        return "<.0001"
    return f"{p:.2g}".removeprefix("0")


def _number(value: float, scale: Scale) -> str:
    """A number in words; a log ratio is shown as the ratio."""
    if scale is Scale.LINEAR:
        return f"{value:.4g}"
    return f"{math.exp(value):.4g}" if abs(value) < 700 else f"10^{value / math.log(10):.0f}"


def _beyond(criterion: Criterion) -> str:
    side = "above" if criterion.above is not None else "below"
    return f"{side} {_number(criterion.margin, criterion.scale)}"


def _share(share: float) -> str:
    return "half" if share == 0.5 else f"{100 * share:.3g} %"


def _seen(part: Part, *, only: bool = False) -> str:
    counted = f"{'only ' if only else ''}{part.events}" if part.events else "none"
    return (
        f"{part.criterion.label} is {_beyond(part.criterion)} in {counted} of {part.n} replicates"
    )


def _all_seen(evidence: Evidence) -> str:
    return " and ".join(_seen(part) for part in evidence.parts)


def _causes(evidence: Evidence) -> str:
    return ", ".join(f"{cause}: {count}" for cause, count in sorted(evidence.invalid.items()))


def _notes(evidence: Evidence) -> str:
    """Notes on unusual shares, and on invalid replicates."""
    criteria = evidence.estimand.criteria
    shares = dict.fromkeys(c.share for c in criteria if c.share != 0.5)
    notes = [_least_n(share, evidence) for share in shares]
    count = sum(evidence.invalid.values())
    if count:
        notes.append(f"{count} invalid, counted as no event ({_causes(evidence)})")
    return "".join(f"; {note}" for note in notes)


def _least_n(share: float, evidence: Evidence) -> str:
    """The least n that can support, and that can refute, at a share."""
    found = least_n(share, alpha=evidence.alpha, looks=evidence.looks)
    fixed = least_fixed_n(share, alpha=evidence.alpha)
    to_support, to_refute = (
        str(n) if n is not None else f"{least}, beyond these looks,"
        for n, least in zip(found, fixed, strict=True)
    )
    if evidence.estimand.kind is Kind.EXISTENTIAL:
        return f"one witness supports, against {_share(share)} it takes {to_refute} to refute"
    return (
        f"against {_share(share)} it takes at least {to_support} to support and {to_refute} to "
        "refute"
    )
