"""Evidence: events, parts and effects of the replicates of a condition.

The step between measurements and decision. Nothing is decided here: events go to
`harness.statistics.decision`, whose P values come back as parts.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from harness.claim import Criterion, Estimand, Kind, Scale
from harness.errors import ClaimError, UnknownNameError
from harness.statistics.decision import combined_p
from harness.statistics.intervals import (
    hodges_lehmann,
    median_interval,
    share_interval,
    superiority,
)
from harness.statistics.sequential import Bools

NO_DESCENT = "m_g did not fall to half"
"""Cause of an invalid replicate, a key of `Evidence.invalid`."""


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
        Whether m_g fell to half or less in every run; None if nothing descends.
    failed_control : str or None
        The control that failed, in words.
    shown : str or None
        What the replicate found, in words, if it is a counterexample.
    """

    index: int
    effects: Mapping[str, float]
    descended: bool | None = None
    failed_control: str | None = None
    shown: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
    """An effect over replicates: the median with its order-statistic interval.

    `low` and `high` are None where unbounded; all other numbers are finite. The last two have no
    interval.

    Parameters
    ----------
    name, label, scale
        As in the criterion.
    value, low, high, level : float
        The median of the finite values, its limits and their level.
    hodges_lehmann : float or None
        The Hodges-Lehmann estimate over the finite values.
    superiority : float or None
        Share of the finite values on the claimed side of no effect, ties counting half; None where
        the criterion has no value of no effect.
    """

    name: str
    label: str
    value: float
    low: float | None
    high: float | None
    level: float
    scale: Scale
    hodges_lehmann: float | None = None
    superiority: float | None = None


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
class Events:
    """What the decision rests on, by replicate.

    Parameters
    ----------
    happened, opposite : array of bool, shape (parts, replicates)
        Whether the effect lies beyond the margin, and whether it lies on the far side of no effect.
    failed : array of bool, shape (replicates,)
        Whether the replicate is invalid.
    """

    happened: Bools
    opposite: Bools
    failed: Bools

    @classmethod
    def of(cls, estimand: Estimand, replicates: Sequence[Replicate]) -> Events:
        """The events of all parts of an estimand."""
        causes = [_cause(replicate, estimand) for replicate in replicates]
        values = {
            criterion.effect: _effects(replicates, causes, criterion.effect)
            for criterion in estimand.criteria
        }
        return cls(
            happened=np.array([[c.holds(x) for x in values[c.effect]] for c in estimand.criteria]),
            opposite=np.array([_opposite(c, values[c.effect]) for c in estimand.criteria]),
            failed=np.array([cause is not None for cause in causes]),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the judged replicates show for one estimand.

    Parameters
    ----------
    estimand : Estimand
        What is judged.
    replicates : tuple of Replicate
        Those judged.
    alpha, looks
        Of the condition.
    causes : tuple of (str or None)
        What makes each replicate invalid.
    parts : tuple of Part
        One per criterion.
    """

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
        p_supported: Sequence[float],
        p_refuted: Sequence[float],
        alpha: float,
        looks: Sequence[tuple[int, float]],
    ) -> Evidence:
        """The evidence of replicates, given the sequential P of each part."""
        causes = tuple(_cause(replicate, estimand) for replicate in replicates)
        # Before the first look the intervals have its level.
        reached = [share for n, share in looks if n <= len(replicates)] or [looks[0][1]]
        parts = tuple(
            _part(
                criterion,
                _effects(replicates, causes, criterion.effect),
                p_supported=float(for_it),
                p_refuted=float(against_it),
                spent=reached[-1] * alpha,
            )
            for criterion, for_it, against_it in zip(
                estimand.criteria, p_supported, p_refuted, strict=True
            )
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
        """Replicates judged."""
        return len(self.replicates)

    @property
    def invalid(self) -> dict[str, int]:
        """Replicates by what made them invalid."""
        return dict(Counter(cause for cause in self.causes if cause))

    @property
    def failed(self) -> tuple[int, ...]:
        """Indices of the invalid replicates among those judged."""
        return tuple(place for place, cause in enumerate(self.causes) if cause)

    @property
    def p(self) -> tuple[float, float]:
        """P of the whole estimand, supported and refuted."""
        of_parts = np.array([(part.p_supported, part.p_refuted) for part in self.parts])
        for_it, against_it = combined_p(of_parts[:, 0], of_parts[:, 1])
        return float(for_it), float(against_it)

    @property
    def refuting(self) -> Part:
        """The part with the strongest evidence against the estimand."""
        return min(self.parts, key=lambda part: part.p_refuted)

    @property
    def values(self) -> dict[str, tuple[float, ...]]:
        """The effects of the replicates judged, by name, non-finite ones as they were."""
        names = dict.fromkeys(criterion.effect for criterion in self.estimand.criteria)
        return {
            name: tuple(r.effects.get(name, math.nan) for r in self.replicates) for name in names
        }

    def first(self, *, event: bool) -> Replicate | None:
        """The first valid replicate in which all parts hold, or in which one does not."""
        for replicate, cause in zip(self.replicates, self.causes, strict=True):
            if cause is None and event == all(
                criterion.holds(replicate.effects[criterion.effect])
                for criterion in self.estimand.criteria
            ):
                return replicate
        return None


def in_order(replicates: Sequence[Replicate]) -> tuple[Replicate, ...]:
    """The replicates by index, which must have no gap.

    The order in which workers finish may depend on the outcome, and leaving out a failure would
    drop a replicate.
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


def null_of(criterion: Criterion) -> float | None:
    """The value of no effect: the criterion's own, or 0 for the logarithm of a ratio."""
    usual = 0.0 if criterion.scale is Scale.LOG and not criterion.joint else None
    return usual if criterion.null is None else criterion.null


def is_null_or_reversed(estimand: Estimand, criterion: Criterion) -> bool:
    """Whether a refutation by a criterion is classified as null or reversed.

    Only if a value of "no effect" lies on the near side of the margin, and never for the sides of
    an equivalence.
    """
    null = null_of(criterion)
    if null is None or estimand.kind in (Kind.EQUIVALENCE, Kind.EXACT, Kind.EXISTENTIAL):
        return False
    return criterion.margin >= null if criterion.above is not None else criterion.margin <= null


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
    """One effect by replicate; NaN for invalid replicates.

    Infinite effects stay if the control passed, since only the order of the values is used.
    """
    found = []
    for replicate, cause in zip(replicates, causes, strict=True):
        value = replicate.effects.get(name, math.nan)
        known = cause is None or (replicate.failed_control is None and math.isinf(value))
        found.append(value if known else math.nan)
    return tuple(found)


def _opposite(criterion: Criterion, values: Sequence[float]) -> list[bool]:
    """Whether each value lies on the far side of no effect; never if there is no such value."""
    null = null_of(criterion)
    if null is None:
        return [False] * len(values)
    return [value < null if criterion.above is not None else value > null for value in values]


def _part(
    criterion: Criterion,
    values: Sequence[float],
    *,
    p_supported: float,
    p_refuted: float,
    spent: float,
) -> Part:
    events = sum(map(criterion.holds, values))
    share_low, share_high = share_interval(events, len(values), level=1 - spent)
    return Part(
        criterion=criterion,
        events=events,
        n=len(values),
        p_supported=p_supported,
        p_refuted=p_refuted,
        effect=_effect(criterion, values, spent=spent),
        share_low=share_low,
        share_high=share_high,
    )


def _effect(criterion: Criterion, values: Sequence[float], *, spent: float) -> Effect | None:
    interval = median_interval(values, tail=spent / 2)
    if interval is None:
        return None
    finite = [value for value in values if math.isfinite(value)]
    null = null_of(criterion)
    claimed_side = None
    if null is not None:
        above = superiority(finite, [null])
        claimed_side = above if criterion.above is not None else 1 - above
    return Effect(
        name=criterion.effect,
        label=criterion.label,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        level=interval.level,
        scale=criterion.scale,
        hodges_lehmann=hodges_lehmann(finite),
        superiority=claimed_side,
    )
