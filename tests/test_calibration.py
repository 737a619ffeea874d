"""The whole procedure, looks and stopping included, in worlds whose truth is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from harness.claim import (
    ALPHA,
    LOOKS,
    Criterion,
    Estimand,
    Kind,
    conjunction,
    equivalence,
    event,
    existential,
)
from harness.statistics.calibration.simulation import Row, calibrate, complaints, exact_rates, run
from harness.statistics.calibration.worlds import MARGIN, NOISES, PLANNED, World, worlds
from harness.statistics.decision import Ruling, decided
from harness.statistics.intervals import median_limits
from harness.verdict.evidence import Replicate
from harness.verdict.verdict import Verdict, decide

WORLDS = worlds()
SHORT, COMPLETE = 2_000, 10_000


def name(world: World) -> str:
    odd = f"-x{world.scale:g}" * (world.scale != 1) + "-failing" * bool(world.failing)
    return f"{world.kind}{world.parts}-{world.effect:.3g}-{world.noise}-icc{world.icc:g}{odd}"


@pytest.mark.parametrize("number", range(len(WORLDS)), ids=[name(world) for world in WORLDS])
@pytest.mark.parametrize("simulations", [SHORT, pytest.param(COMPLETE, marks=pytest.mark.slow)])
def test_no_world_breaks_what_is_promised(number: int, simulations: int) -> None:
    row = calibrate(WORLDS[number], np.random.default_rng([11, number]), simulations=simulations)
    assert complaints(row, strict=simulations == COMPLETE) == ()


# --- the worlds' own truth ------------------------------------------------------------------


@pytest.mark.parametrize(
    "world",
    [
        World(kind=Kind.EVENT, effect=effect, noise=noise, icc=icc)
        for effect, noise, icc in [
            (0.0, "normal", 0.0),
            (1.0, "t3", 0.5),
            (0.3, "lognormal", 0.5),
            (-0.2, "uniform", 0.0),
        ]
    ],
    ids=name,
)
def test_medians_and_probabilities_are_the_true_ones(world: World) -> None:
    values = world.draw(np.random.default_rng(0), series=4_000, replicates=48)
    for seen, truth in [
        ((values > world.effect).mean(), 0.5),
        (world.events(values).mean(), world.probabilities[0]),
    ]:
        assert seen == pytest.approx(truth, abs=4 * math.sqrt(0.25 / values.size))


def test_clusters_share_their_photograph() -> None:
    """The population is named: ten photographs, and half of the variance is theirs."""
    world = World(kind=Kind.CONJUNCTION, effect=0.0, others=0.0, noise="normal", icc=0.5, parts=2)
    values = world.draw(np.random.default_rng(1), series=2_000, replicates=48)
    one, other = values[:, 0].ravel(), values[:, 1].ravel()
    # Two parts of a replicate share its photograph and nothing else.
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(0.5, abs=0.01)
    assert one.var() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("world", "holds"),
    [
        (World(kind=Kind.EVENT, effect=MARGIN, noise="t3", icc=0.5), False),
        (World(kind=Kind.EVENT, effect=MARGIN + 1e-9, noise="t3", icc=0.5), True),
        (World(kind=Kind.EVENT, effect=MARGIN + 0.05, noise="normal", failing=0.1), False),
        (World(kind=Kind.CONJUNCTION, effect=0.0, noise="normal", parts=2), False),
        (World(kind=Kind.EQUIVALENCE, effect=0.0, noise="normal", parts=2), True),
        (World(kind=Kind.EQUIVALENCE, effect=MARGIN, noise="normal", parts=2), False),
        (World(kind=Kind.EXISTENTIAL, effect=0.0, noise="normal"), True),
        (World(kind=Kind.EXISTENTIAL, effect=-MARGIN, noise="normal"), None),  # P = .16
        (World(kind=Kind.EXISTENTIAL, effect=-MARGIN, noise="uniform"), False),
    ],
    ids=lambda value: name(value) if isinstance(value, World) else str(value),
)
def test_what_holds(world: World, holds: bool | None) -> None:
    assert world.holds is holds


# --- theory ---------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["normal", "t3", "lognormal"])
@pytest.mark.parametrize("effect", [-MARGIN, 0.0, MARGIN, 2 * MARGIN, PLANNED])
def test_simulation_agrees_with_the_binomial_law(noise: str, effect: float) -> None:
    """Wrong and right verdicts of an event a replicate are known exactly."""
    world = World(kind=Kind.EVENT, effect=effect, noise=noise)
    p = float(NOISES[noise].law.sf(np.array(MARGIN - effect)))
    assert world.probabilities == pytest.approx((p,))
    wrong, power = exact_rates(world)
    assert wrong is not None
    assert power is not None
    assert wrong <= ALPHA / 2
    row = calibrate(
        world, np.random.default_rng([12, round(10 * (effect + 1))]), simulations=10_000
    )
    for seen, exact in ((row.wrong_definite, wrong), (row.power, power)):
        assert abs(seen - exact) <= 4 * math.sqrt(exact * (1 - exact) / 10_000) + 1e-9


def test_existential_claims_err_by_the_chance_of_none() -> None:
    """At P = .25 none of 24 has a probability of .75 to the 24."""
    border = MARGIN - float(stats.norm.ppf(0.75))
    wrong, power = exact_rates(World(kind=Kind.EXISTENTIAL, effect=border, noise="normal"))
    assert wrong == pytest.approx(0.75**24)
    assert power == pytest.approx(1 - 0.75**24)


@pytest.mark.parametrize("icc", [0.0, 0.5])
def test_reversed_errs_as_rarely(icc: float) -> None:
    """ "Reversed" asserts an effect below 0; at 0 it is wrong."""
    world = World(kind=Kind.EVENT, effect=0.0, noise="normal", icc=icc)
    values = world.draw(np.random.default_rng(14), series=10_000, replicates=48)
    found = decided(
        world.kind,
        world.events(values),
        failed=np.zeros((10_000, 48), bool),
        shares=world.shares,
        opposite=values < 0,
    )
    assert (found.ruling == Ruling.REFUTED).mean() > 0.3
    wrong = int(found.reversed.sum())
    assert stats.binomtest(wrong, 10_000).proportion_ci(0.99).low <= ALPHA / 2


# --- the simulation is the procedure --------------------------------------------------------


@pytest.mark.parametrize(
    ("estimand", "world"),
    [
        (
            event("s", Criterion(effect="x", label="x", above=MARGIN)),
            World(kind=Kind.EVENT, effect=0.0, noise="t3", failing=0.05),
        ),
        (
            conjunction(
                "iut",
                Criterion(effect="x", label="x", above=MARGIN),
                Criterion(effect="y", label="y", above=MARGIN),
            ),
            World(kind=Kind.CONJUNCTION, effect=0.0, others=0.0, noise="normal", parts=2),
        ),
        (
            equivalence("e", effect="x", label="x", centre=0.0, margin=MARGIN),
            World(kind=Kind.EQUIVALENCE, effect=0.0, noise="normal", parts=2, scale=0.3),
        ),
        (
            existential("ex", Criterion(effect="x", label="x", above=MARGIN, share=0.25)),
            World(kind=Kind.EXISTENTIAL, effect=-1.0, noise="normal"),
        ),
    ],
    ids=["event", "conjunction", "equivalence", "existential"],
)
def test_simulation_is_the_procedure(estimand: Estimand, world: World) -> None:
    """Ruling, stop and interval of `run` are those of `decide`, replicate by replicate."""
    rng = np.random.default_rng(17)
    verdicts = {Ruling.OPEN: Verdict.INCONCLUSIVE, Ruling.SUPPORTED: Verdict.SUPPORTED}
    verdicts |= {Ruling.REFUTED: Verdict.REFUTED, Ruling.INVALID: Verdict.INVALID}
    seen = set()
    for moved in rng.uniform(-1.5, 2.5, size=60):
        here = dataclasses.replace(world, effect=float(moved), others=float(moved + 0.5))
        found = run(here, rng, simulations=5)
        for values, ruling, n in zip(found.values, found.ruling, found.n, strict=True):
            rows = {"x": values[0], "y": values[-1]}
            replicates = [
                Replicate(index=j, effects={key: float(row[j]) for key, row in rows.items()})
                for j in range(48)
            ]
            # As the lab does it: no more replicates than the looks ask for.
            for size, _ in LOOKS:
                decision = decide(estimand, replicates[:size])
                if decision.final:
                    break
            seen.add(decision.verdict)
            assert decision.verdict is verdicts[Ruling(ruling)]
            assert decision.n == n
            for part, own in zip(decision.parts, values, strict=True):
                assert part.effect is not None
                share = dict(LOOKS)[int(n)]
                low, high = median_limits(own[:n], tail=share * ALPHA / 2)
                assert (part.effect.low, part.effect.high) == (
                    low if np.isfinite(low) else None,
                    high if np.isfinite(high) else None,
                )
    assert {Verdict.SUPPORTED, Verdict.REFUTED} <= seen


# --- what a broken promise looks like -------------------------------------------------------

KEPT = Row(
    simulations=10_000,
    wrong_definite=0.004,
    wrong_exact=None,
    power=0.004,
    power_exact=None,
    coverage=0.997,
    coverage_by_look=(0.999, 0.998, 0.997),
    missed_by_look=(0.0005, 0.001, 0.002),
)


@pytest.mark.parametrize(
    "change",
    [
        {"wrong_definite": 0.02},
        {"coverage": 0.98},
        {"coverage_by_look": (0.999, 0.99, 0.997)},
        {"missed_by_look": (0.005, 0.001, 0.002)},
        {"wrong_exact": 0.0001},
        {"power_exact": 0.5},
    ],
)
def test_what_is_broken_is_reported(change: dict[str, object]) -> None:
    assert complaints(KEPT, strict=True) == ()
    assert len(complaints(dataclasses.replace(KEPT, **change), strict=True)) == 1  # type: ignore[arg-type]


def test_the_short_form_fails_only_beyond_the_monte_carlo_bound() -> None:
    scarce = dataclasses.replace(KEPT, simulations=1_000, wrong_definite=0.015)
    assert complaints(scarce, strict=False) == ()
    assert complaints(scarce, strict=True) != ()
    assert complaints(dataclasses.replace(scarce, wrong_definite=0.03), strict=False) != ()
