"""Claims: frozen statements, what is estimated for each, and the margin that decides it.

A claim is a value. Everything that can move a verdict (estimands, margins, alpha, looks) is part
of it and therefore of its digest; nothing here measures or decides.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Iterable, Mapping

from harness.errors import ClaimError

ALPHA = 0.01
"""Error rate of every claim, fixed whatever else runs (five headlines: .05 together)."""

LOOKS: tuple[tuple[int, float], ...] = ((12, 0.2), (24, 0.3), (48, 0.5))
"""Replicates at each look, and the share of alpha that the look spends."""

USUAL_SHARES = (0.25, 0.75)
"""Shares p0 against which the usual looks can decide either way by the second of them."""

LN_11 = 0.09531017980432493
"""The default margin of a log ratio, ln 1.1."""


class Kind(enum.StrEnum):
    """How an estimand is judged; the value is the letter that the claims' table uses."""

    EXACT = "P"
    EXISTENTIAL = "Ex"
    EVENT = "S"
    PROPORTION = "Pr"
    TREND = "T"
    EQUIVALENCE = "E"
    CONJUNCTION = "IUT"
    UNTESTABLE = "-"


class Scale(enum.StrEnum):
    """How an effect is shown: as it is, or a log ratio shown as x-fold."""

    LINEAR = "linear"
    LOG = "log"


NOT_IN_DIGEST = {"digest": False}
"""Metadata of fields that cannot change a verdict and are left out of the digest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Criterion:
    """One event of a replicate: its effect lies beyond a margin.

    The event is `effect > margin` where `above` is given and `effect < margin` where `below` is;
    a tie is no event. The assertion is that the event's probability exceeds `share`.

    Parameters
    ----------
    effect : str
        Name of the effect, a key of what a replicate yields.
    above, below : float or None
        The margin; exactly one is given.
    share : float
        The probability p0 that the event's has to exceed, in (0, 1).
    scale : Scale
        How the effect is shown.
    label : str
        The effect in the words of a reader ("m_i / m_i(0)").
    null : float or None
        The value of no effect, 0 for a contrast; None where there is none. Logarithms of ratios
        (`Scale.LOG`) have 0 by default. Where the margin lies beyond it, a refutation says
        whether the effect is absent or reversed.
    joint : bool
        Whether the effect is the minimum or maximum of several, which has no value of no effect.
    """

    effect: str
    label: str
    above: float | None = None
    below: float | None = None
    share: float = 0.5
    scale: Scale = Scale.LINEAR
    null: float | None = None
    joint: bool = dataclasses.field(default=False, metadata=NOT_IN_DIGEST)

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ClaimError(
                self.effect,
                rule="a criterion has one margin, above or below",
                remedy="Give exactly one of above= and below=",
            )
        if not 0 < self.share < 1:
            raise ClaimError(
                self.share, rule="a share lies between 0 and 1", remedy="Give share=0.5"
            )

    @property
    def margin(self) -> float:
        """The margin, on the scale of the effect."""
        if self.above is not None:
            return self.above
        assert self.below is not None  # checked in __post_init__
        return self.below

    def past_margin(self, value: float) -> float:
        """How far a value lies beyond the margin; below 0 where it falls short of it."""
        return value - self.margin if self.above is not None else self.margin - value

    def holds(self, value: float) -> bool:
        """Whether a replicate's effect is an event; a non-finite effect never is."""
        return math.isfinite(value) and self.past_margin(value) > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimand:
    """What is estimated for a claim, and how it is judged.

    Parameters
    ----------
    kind : Kind
        The rule of decision.
    criteria : tuple of Criterion
        One for an event, a trend or an exact statement, one a part for a conjunction, and the two
        sides of the margin for an equivalence.
    text : str
        The estimand in plain words, for the report.
    presupposes_descent : bool
        Whether the statement is about runs in which m_g falls; then runs in which it does not
        (m_g(T) > m_g(0)/2) count towards "invalid".
    """

    kind: Kind
    criteria: tuple[Criterion, ...]
    text: str
    presupposes_descent: bool = False


def event(text: str, criterion: Criterion, *, presupposes_descent: bool = False) -> Estimand:
    """S (or Pr, where the share is not one half): an event in more than a share of replicates."""
    kind = Kind.EVENT if criterion.share == 0.5 else Kind.PROPORTION
    return Estimand(
        kind=kind, criteria=(criterion,), text=text, presupposes_descent=presupposes_descent
    )


def trend(text: str, criterion: Criterion, *, presupposes_descent: bool = False) -> Estimand:
    """T: the effect is a slope per replicate (Theil-Sen), then judged as an event.

    A slope of 0 is no effect, so that a refuted trend may be reported as reversed.
    """
    if criterion.null is None:
        criterion = dataclasses.replace(criterion, null=0.0)
    return Estimand(
        kind=Kind.TREND, criteria=(criterion,), text=text, presupposes_descent=presupposes_descent
    )


def exact(text: str, criterion: Criterion) -> Estimand:
    """P: holds in every replicate; one counterexample refutes."""
    return Estimand(kind=Kind.EXACT, criteria=(criterion,), text=text)


def existential(text: str, criterion: Criterion, *, presupposes_descent: bool = False) -> Estimand:
    """Ex: it happens at all; one witness supports.

    Refuted where the event is shown to be rarer than the criterion's share, .25 by convention: with
    the usual looks that takes 0 of 24 replicates.
    """
    return Estimand(
        kind=Kind.EXISTENTIAL,
        criteria=(criterion,),
        text=text,
        presupposes_descent=presupposes_descent,
    )


def conjunction(text: str, *criteria: Criterion, presupposes_descent: bool = False) -> Estimand:
    """IUT: all parts hold (intersection-union test)."""
    return Estimand(
        kind=Kind.CONJUNCTION,
        criteria=criteria,
        text=text,
        presupposes_descent=presupposes_descent,
    )


def equivalence(
    text: str,
    *,
    effect: str,
    label: str,
    centre: float,
    margin: float,
    scale: Scale = Scale.LINEAR,
) -> Estimand:
    """E: the effect lies within `margin` of `centre` from both sides, each in a majority."""
    return Estimand(
        kind=Kind.EQUIVALENCE,
        criteria=(
            Criterion(effect=effect, label=label, below=centre + margin, scale=scale),
            Criterion(effect=effect, label=label, above=centre - margin, scale=scale),
        ),
        text=text,
    )


def untestable(reason: str) -> Estimand:
    """Nothing could be estimated: a sentence that no measurement could contradict, and why."""
    return Estimand(kind=Kind.UNTESTABLE, criteria=(), text=reason)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of the article with its estimands.

    Parameters
    ----------
    id : str
        Stable identity ("B8"), used by tests, records and reports.
    statement : str
        The claim in one sentence.
    section : str
        The section of the article that makes it.
    source : str
        Words of the paragraph that makes it, as the article has them (its slips of the pen
        included), by which a reader finds it.
    method : str
        How it is measured: network, decoder, blur or none, what is contrasted.
    estimands : mapping of str to Estimand
        By name; most claims have one.
    headline : str or None
        Key of the headline that it belongs to.
    related_headline : str or None
        Key of a headline with which it is shown without deciding it.
    """

    id: str
    statement: str
    section: str
    method: str
    estimands: Mapping[str, Estimand]
    headline: str | None = None
    related_headline: str | None = None
    alpha: float = ALPHA
    looks: tuple[tuple[int, float], ...] = LOOKS
    source: str = dataclasses.field(default="", metadata=NOT_IN_DIGEST)

    def __post_init__(self) -> None:
        for key in (self.headline, self.related_headline):
            if key is not None and key not in HEADLINES:
                raise ClaimError(
                    key, rule="no such headline", remedy=f"Choose one of {', '.join(HEADLINES)}"
                )
        if not self.estimands:
            raise ClaimError(
                self.id, rule="a claim has at least one estimand", remedy="Give estimands="
            )
        low, high = USUAL_SHARES
        for estimand in self.estimands.values():
            for criterion in estimand.criteria:
                if self.looks == LOOKS and not low <= criterion.share <= high:
                    raise ClaimError(
                        f"{self.id}, share {criterion.share:g}",
                        rule=f"the usual looks decide against shares from {low:g} to {high:g}",
                        remedy="Give the claim looks= of its own",
                    )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical claim; the statement's wording is part of it."""
        return freeze([self])


HEADLINES: Mapping[str, str] = {
    "autoencoding": "Deep layers fail trivial autoencoding",
    "disconnect": "m_g falls below m_r while m_i grows",
    "width": "A width below the input size blocks exact recovery",
    "relu": "ReLU needs about twice the width",
    "precision": "float64 is needed for inversion",
}
"""The five headlines, in the order in which they are shown."""


def freeze(claims: Iterable[Claim]) -> str:
    """SHA-256 (hex) of the canonical claims: margins, alpha and looks included."""
    ordered = sorted(claims, key=lambda claim: claim.id)
    canonical = json.dumps(
        [_plain(claim) for claim in ordered], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: _plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.metadata.get("digest", True)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
