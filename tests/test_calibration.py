"""The whole procedure, looks and stopping included, in worlds whose truth is known.

Short form: each world is simulated some thousand times at once with the P values of
`harness.statistics.sequential`; `test_simulation_is_the_procedure` ties it to `decide`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from harness.claim import ALPHA, LOOKS, Criterion, conjunction, equivalence, event
from harness.statistics.intervals import median_rank
from harness.statistics.sequential import tails
from harness.verdict import Replicate, Verdict, decide

SIMULATIONS = 10_000
MARGIN = 0.5

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Simulated:
    """By simulation: supported, refuted, and the number of the look at which it stopped."""

    supported: Bools
    refuted: Bools
    look: npt.NDArray[np.int_]


def simulate(events: Bools) -> Simulated:
    """Decide simulations by their events, an array of simulations x parts x replicates."""
    count, parts, _ = events.shape
    p_up, p_down = np.ones((count, parts)), np.ones((count, parts))
    supported, refuted = np.zeros(count, bool), np.zeros(count, bool)
    look = np.full(count, len(LOOKS) - 1)
    for number, (n, share) in enumerate(LOOKS):
        table = np.array([tails(s, n, 0.5) for s in range(n + 1)]) / share
        p = table[events[:, :, :n].sum(axis=2)]
        p_up, p_down = np.minimum(p_up, p[..., 0]), np.minimum(p_down, p[..., 1])
        up = p_up.max(axis=1) <= ALPHA
        down = parts * p_down.min(axis=1) <= ALPHA
        open_ = ~supported & ~refuted
        look[open_ & (up ^ down)] = number
        supported |= open_ & up & ~down
        refuted |= open_ & down & ~up
    return Simulated(supported=supported, refuted=refuted, look=look)


def covered(values: Floats, look: npt.NDArray[np.int_], truth: float) -> Bools:
    """Whether the interval at the look at which each simulation stopped holds the median."""
    inside = np.zeros(len(values), bool)
    for number, (n, share) in enumerate(LOOKS):
        rank = median_rank(n, share * ALPHA / 2)
        assert rank is not None
        ordered = np.sort(values[:, :n], axis=1)
        here = (ordered[:, rank - 1] <= truth) & (truth <= ordered[:, n - rank])
        inside |= (look == number) & here
    return inside


def at_most(wrong: Bools, rate: float) -> None:
    """Fail only where the lower Monte Carlo bound of a rate exceeds what is allowed."""
    bound = stats.binomtest(int(wrong.sum()), len(wrong)).proportion_ci(0.99).low
    assert bound <= rate, f"{wrong.mean():.4f} of {len(wrong)} where {rate} is allowed"


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.normal(size=shape)


def t3(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.standard_t(3, size=shape)


def lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.lognormal(size=shape) - 1  # its median is 0


def photographs(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Clusters: 15 photographs, drawn with replacement; the population is these photographs."""
    population = stats.norm.ppf((np.arange(15) + 0.5) / 15)  # symmetric: the median is 0
    return population[rng.integers(15, size=shape)] + rng.normal(size=shape) / 2


Noise = Callable[[np.random.Generator, tuple[int, ...]], Floats]
noises = pytest.mark.parametrize("noise", [normal, t3, lognormal, photographs])


@noises
@pytest.mark.parametrize("effect", [-MARGIN, 0.0, MARGIN, 2 * MARGIN])
def test_wrong_verdicts_and_coverage(noise: Noise, effect: float) -> None:
    rng = np.random.default_rng([11, round(10 * (effect + 1))])
    values = effect + noise(rng, (SIMULATIONS, 48))
    found = simulate((values > MARGIN)[:, None])
    # At the margin p = 1/2, which the refutation asserts: there it cannot be wrong.
    at_most(found.refuted if effect > MARGIN else found.supported, ALPHA)
    inside = covered(values, found.look, effect)
    assert inside.mean() >= 0.95
    for number, (_, share) in enumerate(LOOKS):
        at_most(~inside & (found.look == number), share * ALPHA)


@pytest.mark.parametrize("noise", [normal, lognormal])
def test_just_beyond_the_margin_refutation_errs_as_rarely(noise: Noise) -> None:
    values = noise(np.random.default_rng(12), (SIMULATIONS, 48)) + MARGIN + 1e-9
    at_most(simulate((values > MARGIN)[:, None]).refuted, ALPHA)


def test_power_as_planned() -> None:
    """One standard deviation beyond the margin: about .67 by n = 24 and .99 by n = 48."""
    values = 1 + MARGIN + normal(np.random.default_rng(13), (SIMULATIONS, 48))
    found = simulate((values > MARGIN)[:, None])
    by_24 = (found.supported & (found.look <= 1)).mean()
    assert by_24 == pytest.approx(0.67, abs=0.04)
    assert found.supported.mean() == pytest.approx(0.99, abs=0.01)


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_conjunctions(parts: int, correlation: float) -> None:
    rng = np.random.default_rng([14, parts, round(10 * correlation)])
    shared = rng.normal(size=(SIMULATIONS, 1, 48))
    own = rng.normal(size=(SIMULATIONS, parts, 48))
    values = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own
    # Hardest for refutation: every part holds by the slightest.
    at_most(simulate(values > -1e-9).refuted, ALPHA)
    # Hardest for support: all but one hold beyond doubt, and that one is at the border.
    values[:, 1:] += 10
    at_most(simulate(values > 0).supported, ALPHA)


def test_equivalence() -> None:
    rng = np.random.default_rng(15)
    at_border = MARGIN + rng.normal(size=(SIMULATIONS, 48)) / 20
    both = np.stack([at_border < MARGIN, at_border > -MARGIN], axis=1)
    at_most(simulate(both).supported, ALPHA)
    # Both sides hold by the slightest where the noise dwarfs the margins.
    wide = 1e6 * rng.normal(size=(SIMULATIONS, 48))
    at_most(simulate(np.stack([wide < MARGIN, wide > -MARGIN], axis=1)).refuted, ALPHA)


def test_crossed_draws_are_not_replicates() -> None:
    """Why a replicate draws everything anew: 4 networks x 12 images pooled err far above alpha."""
    rng = np.random.default_rng(16)
    networks, images = rng.normal(size=(2000, 4, 1)), rng.normal(size=(2000, 1, 12))
    pooled = (networks + images).reshape(2000, 48)
    order = rng.permutation(48)
    found = simulate((pooled[:, order] > 0)[:, None])
    assert (found.supported | found.refuted).mean() > 0.1


@pytest.mark.parametrize(
    ("estimand", "margins"),
    [
        (event("s", Criterion(effect="x", label="x", above=MARGIN)), "S"),
        (
            conjunction(
                "iut",
                Criterion(effect="x", label="x", above=MARGIN),
                Criterion(effect="y", label="y", above=MARGIN),
            ),
            "IUT",
        ),
        (equivalence("e", effect="x", label="x", centre=0.0, margin=MARGIN), "E"),
    ],
    ids=["event", "conjunction", "equivalence"],
)
def test_simulation_is_the_procedure(estimand: object, margins: str) -> None:
    rng = np.random.default_rng(17)
    x, y = rng.normal(size=(2, 120, 48)) + rng.uniform(-1.5, 2.5, size=(2, 120, 1))
    events = {
        "S": (x > MARGIN)[:, None],
        "IUT": np.stack([x > MARGIN, y > MARGIN], axis=1),
        "E": np.stack([x < MARGIN, x > -MARGIN], axis=1),
    }[margins]
    found = simulate(events)
    held = covered(x, found.look, 0.3)
    seen = set()
    for i in range(len(x)):
        replicates = [
            Replicate(index=j, effects={"x": float(x[i, j]), "y": float(y[i, j])})
            for j in range(48)
        ]
        decision = decide(estimand, replicates)  # type: ignore[arg-type]
        seen.add(decision.verdict)
        assert (decision.verdict is Verdict.SUPPORTED) == found.supported[i]
        assert (decision.verdict is Verdict.REFUTED) == found.refuted[i]
        assert decision.n == LOOKS[found.look[i]][0]
        effect = decision.parts[0].effect
        assert effect is not None
        assert effect.low is not None
        assert effect.high is not None
        assert (effect.low <= 0.3 <= effect.high) == held[i]
    assert {Verdict.REFUTED, Verdict.INCONCLUSIVE} < seen
