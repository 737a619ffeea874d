"""Simulate the decision procedure in a world, and compare the outcome with what is promised."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from harness.claim import ALPHA, LOOKS, Kind
from harness.statistics.calibration.worlds import World
from harness.statistics.decision import Ruling, decided
from harness.statistics.intervals import Floats, median_limits
from harness.statistics.sequential import Bools, boundaries, chances

LEAST_COVERAGE = 0.94
"""Least coverage of any interval, at any look."""

LEVEL = 0.99
"""Confidence of the Monte Carlo bounds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """Series of replicates that were drawn and decided as a run does it, look by look.

    Parameters
    ----------
    values : array, shape (series, parts, replicates)
        Effects; nan where a replicate failed.
    ruling : array of int, shape (series,)
        Values of `Ruling`.
    n : array of int, shape (series,)
        Replicates at which each series stopped.
    """

    values: Floats
    ruling: npt.NDArray[np.int_]
    n: npt.NDArray[np.int_]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """The outcome in one world.

    Parameters
    ----------
    simulations : int
        Series simulated.
    wrong_definite : float
        Share with a definite verdict that is wrong.
    wrong_exact : float or None
        The same by the binomial law, where it is known in closed form.
    power : float
        Share with the definite verdict that is right.
    power_exact : float or None
        The same by the binomial law.
    coverage : float
        Share whose interval, at the look at which the series stopped, holds the true median; the
        least over the parts.
    coverage_by_look : tuple of float
        The same, had every series stopped at this look.
    missed_by_look : tuple of float
        Share that stopped at this look with an interval that misses; the most over the parts.
    """

    simulations: int
    wrong_definite: float
    wrong_exact: float | None
    power: float
    power_exact: float | None
    coverage: float
    coverage_by_look: tuple[float, ...]
    missed_by_look: tuple[float, ...]


def run(
    world: World,
    rng: np.random.Generator,
    *,
    simulations: int,
    alpha: float = ALPHA,
    looks: Sequence[tuple[int, float]] = LOOKS,
) -> Simulated:
    """Draw series of replicates and decide them look by look, until each is decided.

    As in `harness.lab.runner`, `decided` sees the replicates drawn so far at each look, and a
    series that has been decided draws no more.
    """
    values = world.draw(rng, series=simulations, replicates=looks[-1][0])
    events, failed = world.events(values), np.isnan(values[:, 0])
    ruling = np.zeros(simulations, dtype=int)
    stopped = np.full(simulations, looks[-1][0])
    for n, _ in looks:
        going = np.flatnonzero(ruling == Ruling.OPEN)
        found = decided(
            world.kind,
            events[going, :, :n],
            failed=failed[going, :n],
            shares=world.shares,
            alpha=alpha,
            looks=looks,
        )
        ruling[going] = found.ruling
        stopped[going[found.ruling != Ruling.OPEN]] = n
    return Simulated(values=values, ruling=ruling, n=stopped)


def calibrate(
    world: World,
    rng: np.random.Generator,
    *,
    simulations: int,
    alpha: float = ALPHA,
    looks: Sequence[tuple[int, float]] = LOOKS,
) -> Row:
    """Simulate one world, and count."""
    found = run(world, rng, simulations=simulations, alpha=alpha, looks=looks)
    right, wrong = _right_and_wrong(world, found.ruling)
    truth = np.array(world.medians)
    at_stop = np.zeros((simulations, world.parts), dtype=bool)
    by_look, missed = [], []
    for n, share in looks:
        low, high = median_limits(found.values[..., :n], tail=share * alpha / 2)
        inside, here = (low <= truth) & (truth <= high), (found.n == n)[:, None]
        at_stop |= inside & here
        by_look.append(float(inside.mean(axis=0).min()))
        missed.append(float((~inside & here).mean(axis=0).max()))
    wrong_exact, power_exact = exact_rates(world, alpha=alpha, looks=looks)
    return Row(
        simulations=simulations,
        wrong_definite=float(wrong.mean()),
        wrong_exact=wrong_exact,
        power=float(right.mean()),
        power_exact=power_exact,
        coverage=float(at_stop.mean(axis=0).min()),
        coverage_by_look=tuple(by_look),
        missed_by_look=tuple(missed),
    )


def exact_rates(
    world: World, *, alpha: float = ALPHA, looks: Sequence[tuple[int, float]] = LOOKS
) -> tuple[float | None, float | None]:
    """Wrong and right definite verdicts by the binomial law, where it decides alone.

    For one event per replicate that is so as long as hardly any series can become invalid; for an
    existential claim refutation is the probability of no event up to the first look at which none
    refutes.
    """
    if world.failing or world.kind not in (Kind.EVENT, Kind.EXISTENTIAL):
        return None, None
    p, p0 = world.probabilities[0], world.shares[0]
    if world.kind is Kind.EXISTENTIAL:
        first = next(
            n
            for n, _, refutes in boundaries(p0=p0, alpha=alpha, looks=looks)
            if refutes is not None
        )
        refuted = (1 - p) ** first
        supported = 1 - refuted
    else:
        last = chances(p, p0=p0, alpha=alpha, looks=looks)[-1]
        supported, refuted = last.supported, last.refuted
    if world.holds is None:
        return 0.0, supported + refuted
    return (refuted, supported) if world.holds else (supported, refuted)


def complaints(
    row: Row,
    *,
    strict: bool,
    alpha: float = ALPHA,
    looks: Sequence[tuple[int, float]] = LOOKS,
) -> tuple[str, ...]:
    """The promises that a world's row breaks; empty if it breaks none.

    Parameters
    ----------
    row : Row
        The outcome.
    strict : bool
        Whether the share of wrong verdicts itself has to be at most alpha, or only its lower Monte
        Carlo bound, as after few simulations.
    alpha, looks
        As simulated.
    """
    found = []
    wrong = row.wrong_definite if strict else _lower(row.wrong_definite, row.simulations)
    if wrong > alpha:
        found.append(f"{row.wrong_definite:.4f} wrong definite verdicts, {alpha:g} are allowed")
    # At the stop every look's tails may have been spent: Bonferroni leaves 1 - alpha.
    nominal = [1 - alpha, *(1 - share * alpha for _, share in looks)]
    for where, covered, level in zip(
        ["the stop", *(f"n = {n}" for n, _ in looks)],
        [row.coverage, *row.coverage_by_look],
        nominal,
        strict=True,
    ):
        error = math.sqrt(level * (1 - level) / row.simulations)
        if covered < max(LEAST_COVERAGE, level - 2 * error):
            found.append(f"coverage {covered:.4f} at {where}, {level:g} is promised")
    for (n, share), missed in zip(looks, row.missed_by_look, strict=True):
        if _lower(missed, row.simulations) > share * alpha:
            found.append(f"{missed:.4f} stopped at n = {n} with an interval that misses")
    for name, seen, exact in (
        ("wrong definite verdicts", row.wrong_definite, row.wrong_exact),
        ("power", row.power, row.power_exact),
    ):
        if exact is not None and not _agrees(seen, exact, row.simulations):
            found.append(f"{name}: {seen:.4f}, by the binomial law {exact:.4f}")
    return tuple(found)


def _right_and_wrong(world: World, ruling: npt.NDArray[np.int_]) -> tuple[Bools, Bools]:
    supported, refuted = ruling == Ruling.SUPPORTED, ruling == Ruling.REFUTED
    if world.holds is None:
        return supported | refuted, np.zeros_like(supported)
    return (supported, refuted) if world.holds else (refuted, supported)


def _lower(share: float, simulations: int) -> float:
    count = round(share * simulations)
    test = stats.binomtest(count, simulations)
    return float(test.proportion_ci(LEVEL, method="exact").low)


def _agrees(share: float, exact: float, simulations: int) -> bool:
    """Whether a simulated share agrees with its exact value, at a level of one in a million."""
    count = round(share * simulations)
    return bool(stats.binomtest(count, simulations, min(1.0, max(0.0, exact))).pvalue > 1e-6)
