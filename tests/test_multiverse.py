"""The multiverse: planted factors, other implementations, and cells that show nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from harness.statistics.multiverse import Choice, Level, Multiverse, multiverse
from harness.verdict.verdict import Verdict

S, R, U = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
LEVELS: dict[str, tuple[Level, ...]] = {
    "decoder": ("article", "adam", "l-bfgs"),
    "step": (1.0, 0.1),
    "blur": ("none", "3 x 3"),
    "precision": ("float32", "float64"),
}


def factorial(
    verdict: Callable[[dict[str, Level]], str], effect: Callable[[dict[str, Level]], float | None]
) -> list[Choice]:
    """Every combination of the levels."""
    made = []
    for chosen in itertools.product(*LEVELS.values()):
        factors = dict(zip(LEVELS, chosen, strict=True))
        made.append(Choice(factors=factors, verdict=verdict(factors), effect=effect(factors)))
    return made


def star(
    verdict: Callable[[dict[str, Level]], str], effect: Callable[[dict[str, Level]], float | None]
) -> list[Choice]:
    """The first level of everything, and each other level by itself."""
    confirmatory = {name: levels[0] for name, levels in LEVELS.items()}
    cells = [confirmatory]
    cells += [confirmatory | {name: level} for name in LEVELS for level in LEVELS[name][1:]]
    return [Choice(factors=f, verdict=verdict(f), effect=effect(f)) for f in cells]


def shares(found: Multiverse, which: str) -> dict[str, float]:
    return {factor.name: getattr(factor, f"{which}_share") for factor in found.factors}


def test_shares_of_the_verdicts() -> None:
    found = multiverse(star(lambda f: S if f["decoder"] != "adam" else R, lambda f: 1.0))
    assert found.cells == 6
    assert found.shares == pytest.approx({S: 5 / 6, R: 1 / 6})
    assert list(found.shares) == [S, R]


@pytest.mark.parametrize("design", [factorial, star])
def test_a_planted_factor_comes_first(design: Callable[..., list[Choice]]) -> None:
    rng = np.random.default_rng(0)
    found = multiverse(
        design(
            lambda f: R if f["decoder"] == "l-bfgs" else S,
            lambda f: 3.0 * (f["step"] == 0.1) + 0.1 * rng.normal(),
        )
    )
    decoder = found.factors[0]
    assert decoder.name == "decoder"
    # Varied one at a time, a level of one factor says a little of the others.
    assert decoder.verdict_share is not None
    assert decoder.verdict_share > 0.8
    assert set(decoder.verdicts["l-bfgs"]) == {R}
    assert set(decoder.verdicts["adam"]) == {S}
    step = max(found.factors, key=lambda factor: factor.effect_share or 0.0)
    assert step.name == "step"
    assert step.effect_share is not None
    assert step.effect_share > 0.8
    assert step.effects[0.1] == pytest.approx(3.0, abs=0.3)


def test_same_as_the_average_over_all_orders_in_statsmodels() -> None:
    """The definition of LMG: sequential sums of squares, averaged over the orders of entry."""
    rng = np.random.default_rng(2)
    cells = [
        Choice(
            factors={"a": int(a), "b": int(b), "c": int(c)},
            verdict=S,
            effect=float(a + 2 * b * c + rng.normal()),
        )
        for a, b, c in rng.integers(3, size=(20, 3))  # far from balanced
    ]
    data = pd.DataFrame([{**cell.factors, "y": cell.effect} for cell in cells])
    orders = list(itertools.permutations("abc"))
    expected = dict.fromkeys("abc", 0.0)
    for order in orders:
        formula = "y ~ " + " + ".join(f"C({name})" for name in order)
        table = anova_lm(ols(formula, data).fit(), typ=1)["sum_sq"]
        for name in order:
            expected[name] += table[f"C({name})"] / table.sum() / len(orders)
    assert shares(multiverse(cells), "effect") == pytest.approx(expected)


def test_one_factor_and_verdicts_is_goodman_and_kruskals_tau() -> None:
    """By hand: rows (8, 2) and (3, 7) of 20; Gini 1 - (.55^2 + .45^2) = .495, within .37."""
    rows = [("one", S)] * 8 + [("one", R)] * 2 + [("two", S)] * 3 + [("two", R)] * 7
    cells = [Choice(factors={"f": level}, verdict=v, effect=None) for level, v in rows]
    (factor,) = multiverse(cells).factors
    within = (1 - 0.8**2 - 0.2**2) / 2 + (1 - 0.3**2 - 0.7**2) / 2
    assert factor.verdict_share == pytest.approx(1 - within / 0.495)
    assert factor.effect_share is None
    assert factor.effects == {"one": None, "two": None}


def test_interactions_are_what_is_left() -> None:
    def checkerboard(f: dict[str, Level]) -> float:
        return float((f["blur"] == "none") == (f["precision"] == "float32"))

    found = multiverse(factorial(lambda f: S, checkerboard))
    assert found.effect_together == pytest.approx(0.0)


def test_cells_without_an_effect_count_for_the_verdict_alone() -> None:
    cells = factorial(
        lambda f: "invalid" if f["decoder"] == "adam" else S,
        lambda f: None if f["decoder"] == "adam" else math.inf if f["step"] == 0.1 else 1.0,
    )
    found = multiverse(cells)
    assert found.factors[0].name == "decoder"
    assert len(found.curve) == sum(cell.effect == 1.0 for cell in cells)
    assert shares(found, "effect") == dict.fromkeys(LEVELS)


def test_nothing_varied_nothing_ranked() -> None:
    one = Choice(factors={"decoder": "adam"}, verdict=U, effect=1.0)
    for cells in ([one], [one, one]):
        found = multiverse(cells)
        assert (found.factors, found.shares) == ((), {U: 1.0})
    assert multiverse([]).cells == 0


cells_of_three = st.lists(
    st.builds(
        lambda a, b, c, verdict, effect: Choice(
            factors={"a": a, "b": b, "c": c}, verdict=verdict, effect=effect
        ),
        st.integers(0, 2),
        st.integers(0, 1),
        st.integers(0, 2),
        st.sampled_from([S, R, U]),
        st.none() | st.floats(-5, 5),
    ),
    min_size=1,
    max_size=14,
)


@given(cells_of_three)
@settings(deadline=None, max_examples=40)
def test_shares_are_shares(cells: Sequence[Choice]) -> None:
    found = multiverse(cells)
    assert math.fsum(found.shares.values()) == pytest.approx(1.0)
    for which, together in (
        ("verdict", found.verdict_together),
        ("effect", found.effect_together),
    ):
        parts = [share for share in shares(found, which).values() if share is not None]
        assert all(-1e-9 <= share <= 1 + 1e-9 for share in parts)
        if together is not None:
            assert 0 <= together <= 1 + 1e-9
            assert math.fsum(parts) == pytest.approx(together)
