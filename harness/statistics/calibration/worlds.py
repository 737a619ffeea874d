"""Worlds for calibration: kinds of claim, effects and noises, with their truth computed exactly."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from scipy import optimize, stats

from harness.claim import Kind
from harness.statistics.intervals import Floats
from harness.statistics.sequential import Bools

MARGIN = 0.5
"""The margin of every world's claim, in units of the noise."""

BEYOND = 10.0
"""An effect far beyond the margin."""

RARE = 0.25
"""p0 of existential claims."""

PHOTOGRAPHS = 10
"""Photographs of the bundle; with clusters they are the population, drawn with replacement."""


class Law(Protocol):
    """A continuous distribution, frozen."""

    def sf(self, x: Floats) -> Floats:
        """Probability of exceeding x."""

    def std(self) -> float:
        """Standard deviation."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise with median 0: its law, and how to draw it."""

    law: Law
    draw: Callable[[np.random.Generator, tuple[int, ...]], Floats]


NOISES: Mapping[str, Noise] = {
    "normal": Noise(law=stats.norm(), draw=lambda rng, shape: rng.normal(size=shape)),
    "t3": Noise(law=stats.t(3), draw=lambda rng, shape: rng.standard_t(3, size=shape)),
    "lognormal": Noise(
        law=stats.lognorm(1, loc=-1), draw=lambda rng, shape: rng.lognormal(size=shape) - 1
    ),
    "uniform": Noise(
        law=stats.uniform(-1, 2), draw=lambda rng, shape: rng.uniform(-1, 1, size=shape)
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """One world: every replicate's effect is `effect` plus noise with median 0.

    Parameters
    ----------
    kind : Kind
        How the claim is judged. Its criterion is effect > margin; two for an equivalence.
    effect : float
        Median of the first part's effect over the population.
    noise : str
        A key of `NOISES`.
    icc : float
        Share of the noise's variance that belongs to the photograph. Where it is positive, each
        replicate draws one of `PHOTOGRAPHS` with replacement; all its parts share it.
    parts : int
        Parts of a conjunction.
    others : float
        Median of the effect of every part but the first.
    scale : float
        Factor of the noise.
    failing : float
        Probability that a replicate fails, whatever its effect.
    """

    kind: Kind
    effect: float
    noise: str
    icc: float = 0.0
    parts: int = 1
    others: float = BEYOND
    scale: float = 1.0
    failing: float = 0.0

    @property
    def shares(self) -> tuple[float, ...]:
        """p0 of each part."""
        return (RARE if self.kind is Kind.EXISTENTIAL else 0.5,) * self.parts

    @property
    def medians(self) -> tuple[float, ...]:
        """Median effect of each part."""
        if self.kind is Kind.EQUIVALENCE:
            return (self.effect,) * self.parts
        return (self.effect, *(self.others,) * (self.parts - 1))

    def draw(self, rng: np.random.Generator, *, series: int, replicates: int) -> Floats:
        """Effects, shape (series, parts, replicates); nan where the replicate failed."""
        # The two sides of an equivalence look at one effect.
        columns = 1 if self.kind is Kind.EQUIVALENCE else self.parts
        noise = NOISES[self.noise].draw(rng, (series, columns, replicates))
        offsets, shift = _population(self.noise, self.icc)
        drawn = offsets[rng.integers(len(offsets), size=(series, 1, replicates))]
        spread = self.scale * (drawn + math.sqrt(1 - self.icc) * noise - shift)
        values = np.array(self.medians)[:, None] + spread
        failed = rng.random((series, 1, replicates)) < self.failing
        return np.where(failed, np.nan, values)

    def events(self, values: Floats) -> Bools:
        """Whether each effect lies beyond its part's margin."""
        if self.kind is Kind.EQUIVALENCE:
            return np.stack([values[:, 0] < MARGIN, values[:, 1] > -MARGIN], axis=1)
        return values > MARGIN

    @functools.cached_property
    def probabilities(self) -> tuple[float, ...]:
        """True probability of each part's event in one replicate."""
        if self.kind is Kind.EQUIVALENCE:
            beyond = [1 - self._exceeds(MARGIN - self.effect), self._exceeds(-MARGIN - self.effect)]
        else:
            beyond = [self._exceeds(MARGIN - median) for median in self.medians]
        return tuple((1 - self.failing) * p for p in beyond)

    @property
    def holds(self) -> bool | None:
        """Whether the claim is true; None where neither verdict would be wrong.

        An existential claim holds where the event can happen at all, and its refutation says that
        it happens in less than `RARE` of all replicates: between the two both are right.
        """
        if self.kind is Kind.EXISTENTIAL:
            p = self.probabilities[0]
            return None if 0 < p < RARE - 1e-9 else p > 0
        return all(
            p > share + 1e-12 for p, share in zip(self.probabilities, self.shares, strict=True)
        )

    def _exceeds(self, threshold: float) -> float:
        """Probability that the scaled noise exceeds a threshold."""
        return _sf(self.noise, self.icc, threshold / self.scale)


@functools.cache
def _offsets(noise: str, icc: float) -> Floats:
    """What each photograph adds: evenly spaced normal scores with the share icc of the variance."""
    if not icc:
        return np.zeros(1)
    scores = stats.norm.ppf((np.arange(PHOTOGRAPHS) + 0.5) / PHOTOGRAPHS)
    size = math.sqrt(icc) * float(NOISES[noise].law.std())
    return np.asarray(size * scores / scores.std())


@functools.cache
def _population(noise: str, icc: float) -> tuple[Floats, float]:
    """The photographs' offsets, and the median of offset and noise over the population."""
    offsets = _offsets(noise, icc)
    if not icc:
        return offsets, 0.0
    reach = 10 + 2 * float(np.abs(offsets).max())
    return offsets, float(
        optimize.brentq(lambda x: _mixture(noise, icc, x) - 0.5, -reach, reach, xtol=1e-14)
    )


def _mixture(noise: str, icc: float, threshold: float) -> float:
    """Probability that offset and noise exceed a threshold, over the named photographs."""
    within = (threshold - _offsets(noise, icc)) / math.sqrt(1 - icc)
    return float(np.mean(NOISES[noise].law.sf(within)))


def _sf(noise: str, icc: float, threshold: float) -> float:
    """As `_mixture`, shifted to median 0."""
    return _mixture(noise, icc, threshold + _population(noise, icc)[1])


def _existential_border(noise: str, icc: float) -> float:
    """The effect at which the event happens in exactly `RARE` of the replicates."""
    return MARGIN - float(
        optimize.brentq(lambda x: _sf(noise, icc, x) - RARE, -20.0, 20.0, xtol=1e-14)
    )


EFFECTS = (-MARGIN, 0.0, MARGIN, 2 * MARGIN)
JUST_BEYOND = MARGIN + 1e-9
PLANNED = MARGIN + 1.0
"""One standard deviation beyond the margin under normal noise (d = 1), as the looks are planned."""


def worlds() -> tuple[World, ...]:
    """All worlds of the complete form.

    For every kind the effects {-margin, 0, margin, 2 margin} under every noise, independent and
    clustered. A conjunction's other parts lie far beyond their margins, the least favourable case
    for a wrong "supported". The worlds in which a wrong "refuted" is easiest are there, too:
    everything that is claimed only just holds.
    """
    population = [(noise, icc) for icc in (0.0, 0.5) for noise in ("normal", "t3", "lognormal")]
    made = []
    for noise, icc in population:
        event = World(kind=Kind.EVENT, effect=JUST_BEYOND, noise=noise, icc=icc)
        made += [dataclasses.replace(event, effect=effect) for effect in (*EFFECTS, JUST_BEYOND)]
    made += [World(kind=Kind.EVENT, effect=PLANNED, noise="normal")]
    made += [World(kind=Kind.EVENT, effect=e, noise="normal", failing=0.1) for e in EFFECTS]
    for parts in (2, 4):
        for noise, icc in population:
            both = World(
                kind=Kind.CONJUNCTION, effect=JUST_BEYOND, noise=noise, icc=icc, parts=parts
            )
            made += [dataclasses.replace(both, effect=effect) for effect in EFFECTS]
            made.append(dataclasses.replace(both, others=JUST_BEYOND))
    for noise, icc in population:
        same = World(kind=Kind.EQUIVALENCE, effect=0.0, noise=noise, icc=icc, parts=2, scale=0.25)
        made += [dataclasses.replace(same, effect=effect) for effect in EFFECTS]
        # Noise that dwarfs the margins: either side holds in little more than half.
        made.append(dataclasses.replace(same, scale=1e6))
    for noise, icc in population:
        border = _existential_border(noise, icc)
        once = World(kind=Kind.EXISTENTIAL, effect=border, noise=noise, icc=icc)
        made += [dataclasses.replace(once, effect=effect) for effect in (*EFFECTS, border)]
    # Here the event cannot happen: the noise ends below the margin.
    made.append(World(kind=Kind.EXISTENTIAL, effect=-MARGIN, noise="uniform"))
    return tuple(made)
