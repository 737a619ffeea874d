"""Variance components: which source of randomness causes the spread of an effect.

In the block, every network is crossed with every image and every start; it is measured once per
family of claims. It is descriptive: judging a claim by it would be pseudo-replication.

The model is the crossed random one, an independent normal term for every network, image, start and
each of their interactions; the interaction of all factors and the noise are one, since each
combination is measured once. Components are estimated from the mean squares of the balanced
analysis of variance (unbiased, and equal to REML where none is negative); their intervals are
generalised confidence intervals, in which each mean square is divided by its own chi-squared over
its degrees of freedom. In a balanced block least squares is averaging, so the mean squares are
written out here; statsmodels' `anova_lm`, with which the tests compare them, takes seconds to
minutes for a block of a few hundred values.

References
----------
Searle, S. R., Casella, G. and McCulloch, C. E. (1992). Variance Components. Wiley, chapter 4.
Weerahandi, S. (1995). Exact Statistical Methods for Data Analysis. Springer, chapter 5.
Hannig, J., Iyer, H. and Patterson, P. (2006). Fiducial generalized confidence intervals. JASA 101,
254-269.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness.errors import ClaimError

Floats = npt.NDArray[np.float64]
Source = tuple[str, ...]

DRAWS = 4_000
"""Draws of the generalised pivots."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Component:
    """What one source adds to the variance of the effect.

    Parameters
    ----------
    source : tuple of str
        One factor, or several for their interaction; that of all factors holds the noise as well.
    variance : float
        The estimate, not below 0.
    share : float
        Of the sum of all components, in [0, 1].
    low, high : float
        Interval of the share.
    largest : float
        How often this component is the largest among the draws of the pivots: a degree of belief,
        not a P.
    """

    source: Source
    variance: float
    share: float
    low: float
    high: float
    largest: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Components:
    """The variance components of a crossed block.

    Parameters
    ----------
    levels : mapping of str to int
        Levels of each factor, in the order of the block's axes.
    mean, variance : float
        Grand mean, and the sum of all components: the variance of one freshly drawn replicate.
    level : float
        Of the intervals.
    parts : tuple of Component
        Largest share first.
    """

    levels: Mapping[str, int]
    mean: float
    variance: float
    level: float
    parts: tuple[Component, ...]

    @property
    def dominant(self) -> Component | None:
        """The source that is the largest in at least a share `level` of the draws, if any."""
        first = max(self.parts, key=lambda part: part.largest)
        return first if first.largest >= self.level else None

    @property
    def statement(self) -> str:
        """Which source dominates, in a sentence for the report."""
        first = self.dominant or self.parts[0]
        if self.dominant is None:
            verb = "holds most, though not clearly more than others"
        else:
            verb = "dominates"
        source = " x ".join(first.source)
        return (
            f"{source[:1].upper()}{source[1:]} {verb}: {100 * first.share:.0f} % of the variance "
            f"[{100 * first.low:.0f} %, {100 * first.high:.0f} %]."
        )


def components(
    block: npt.ArrayLike,
    *,
    factors: Sequence[str],
    rng: np.random.Generator,
    level: float = 0.95,
) -> Components | None:
    """Estimate the variance components of a fully crossed block.

    Parameters
    ----------
    block : array, one axis per factor
        The effect of every combination, on the scale on which the claim is judged.
    factors : sequence of str
        Names of the axes ("network", "image", "start").
    rng : numpy.random.Generator
        Source of the pivots' draws.
    level : float
        Of the intervals.

    Returns
    -------
    Components or None
        None where a value is not finite (the block is not balanced without it), or where all are
        equal.

    Raises
    ------
    ClaimError
        Where a factor has fewer than two levels or an axis has no name.
    """
    values = np.asarray(block, dtype=float)
    if values.ndim != len(factors) or len(set(factors)) != len(factors) or min(values.shape) < 2:
        raise ClaimError(
            f"{' x '.join(map(str, values.shape))} values, {', '.join(factors)}",
            rule="a crossed block has one axis a factor, each with two levels or more",
            remedy="Measure more levels, or leave the factor out",
        )
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return None
    levels = dict(zip(factors, values.shape, strict=True))
    sources = _sources(factors)
    squares, freedom = _mean_squares(values, factors, sources)
    estimates = _solve(squares, sources, levels)
    pivots = freedom[:, None] / rng.chisquare(freedom[:, None], (len(sources), DRAWS))
    drawn = _solve(squares[:, None] * pivots, sources, levels)
    total = estimates.sum()
    shares = drawn / drawn.sum(axis=0)
    low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2], axis=1)
    largest = np.bincount(shares.argmax(axis=0), minlength=len(sources)) / DRAWS
    parts = [
        Component(
            source=source,
            variance=float(estimates[number]),
            share=float(estimates[number] / total),
            low=float(low[number]),
            high=float(high[number]),
            largest=float(largest[number]),
        )
        for number, source in enumerate(sources)
    ]
    return Components(
        levels=levels,
        mean=float(values.mean()),
        variance=float(total),
        level=level,
        parts=tuple(sorted(parts, key=lambda part: -part.share)),
    )


def _sources(factors: Sequence[str]) -> list[Source]:
    """All sets of factors: main effects first, the interaction of all (with the noise) last."""
    return [
        source
        for size in range(1, len(factors) + 1)
        for source in itertools.combinations(factors, size)
    ]


def _mean_squares(
    values: Floats, factors: Sequence[str], sources: Sequence[Source]
) -> tuple[Floats, Floats]:
    """Mean square and degrees of freedom of each source in a balanced block."""
    axes = {factor: axis for axis, factor in enumerate(factors)}
    means = {
        source: values.mean(
            axis=tuple(axes[factor] for factor in factors if factor not in source), keepdims=True
        )
        for source in [(), *sources]
    }
    squares, freedom = np.zeros(len(sources)), np.zeros(len(sources))
    for number, source in enumerate(sources):
        # What the source adds to all narrower ones, by inclusion and exclusion.
        effect = sum(
            (-1) ** (len(source) - len(narrower)) * mean
            for narrower, mean in means.items()
            if set(narrower) <= set(source)
        )
        freedom[number] = math.prod(values.shape[axes[factor]] - 1 for factor in source)
        squares[number] = np.square(np.broadcast_to(effect, values.shape)).sum() / freedom[number]
    return squares, freedom


def _solve(squares: Floats, sources: Sequence[Source], levels: Mapping[str, int]) -> Floats:
    """Components, not below 0, from mean squares along the first axis.

    In a balanced crossed block the expected mean square of a source is the sum of the components
    of all sources that contain it, each times the number of replicates that share its levels. By
    inclusion and exclusion a component is the alternating sum of those mean squares, over the
    number of combinations of the factors outside it.
    """
    found = np.zeros_like(squares)
    for number, source in enumerate(sources):
        for other, wider in enumerate(sources):
            if set(source) <= set(wider):
                found[number] += (-1) ** (len(wider) - len(source)) * squares[other]
        outside = math.prod(count for factor, count in levels.items() if factor not in source)
        found[number] /= outside
    return np.maximum(found, 0.0)
