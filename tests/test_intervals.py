"""Order-statistic intervals and their neighbours against tables and other implementations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from harness.claim import ALPHA, LOOKS
from harness.statistics.intervals import (
    hodges_lehmann,
    median_interval,
    median_limits,
    median_rank,
    share_interval,
    superiority,
)
from harness.statistics.sequential import boundaries

finite = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("n", "rank", "confidence"),
    # Ranks of the 95 % interval of the median with their exact confidence, as in David &
    # Nagaraja 2003, section 7.1, and Gibbons & Chakraborti, Nonparametric Statistical Inference.
    [(6, 1, 0.9688), (10, 2, 0.9785), (12, 3, 0.9614), (15, 4, 0.9648), (20, 6, 0.9586)],
)
def test_published_ranks(n: int, rank: int, confidence: float) -> None:
    assert median_rank(n, 0.025) == rank
    assert 1 - 2 * stats.binom.cdf(rank - 1, n, 0.5) == pytest.approx(confidence, abs=5e-5)


def test_no_finite_interval_for_few() -> None:
    assert median_rank(5, 0.025) is None
    assert median_rank(0, 0.025) is None
    assert median_rank(9, 0.001) is None  # 1 / 512
    assert median_rank(10, 0.001) == 1  # 1 / 1024
    assert median_rank(10, 2**-10) == 1  # a tail that is spent to the last bit


def test_ranks_at_the_looks_are_the_boundaries() -> None:
    """The interval excludes a margin exactly where the sign test decides."""
    for (n, share), (_, support, refute) in zip(LOOKS, boundaries(), strict=True):
        rank = median_rank(n, share * ALPHA / 2)
        assert rank is not None
        assert (n + 1 - rank, rank - 1) == (support, refute)
    assert median_rank(12, 0.001) == 1  # the extremes


@pytest.mark.parametrize("n", [6, 12, 24, 48])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_same_limits_as_scipy(n: int, level: float) -> None:
    """`scipy.stats.quantile_test` inverts its test into the same order statistics."""
    values = np.sort(np.random.default_rng(n).normal(size=n))
    theirs = stats.quantile_test(values, q=0.0, p=0.5).confidence_interval(level)
    low, high = median_limits(values, tail=(1 - level) / 2)
    for ours, limit in ((low, theirs.low), (high, theirs.high)):
        assert ours == limit or (math.isinf(ours) and math.isnan(limit))


@pytest.mark.parametrize(
    ("values", "tail", "expected"),
    [
        (range(1, 25), 0.3 * ALPHA / 2, (5, 12.5, 20)),
        ([1.0, 2.0], 0.001, (None, 1.5, None)),  # too few
        ([*range(11), math.inf], 0.001, (0, 5, None)),
        ([*range(-10, 1), -math.inf], 0.001, (None, -5, 0)),
        # Rank 14 is the value 13; the finite values' median is 9.5.
        ([*range(20), *[math.inf] * 28], 0.0025, (9.5, 9.5, None)),
        ([*range(11), math.nan], 0.001, (None, 5, None)),
        # Rank 5 of 24: one value that may be anything moves both limits one place outwards.
        ([*range(1, 24), math.nan], 0.0015, (4, 12, 20)),
    ],
)
def test_interval_by_hand(
    values: Sequence[float], tail: float, expected: tuple[float | None, ...]
) -> None:
    interval = median_interval(list(values), tail=tail)
    assert interval is not None
    assert (interval.low, interval.value, interval.high) == expected
    if len(values) == 24:
        assert interval.level == pytest.approx(1 - 2 * tail)


@pytest.mark.parametrize("values", [[], [math.nan, math.inf]])
def test_without_a_finite_value_there_is_no_interval(values: list[float]) -> None:
    assert median_interval(values, tail=0.001) is None


@given(
    st.lists(st.one_of(finite, st.sampled_from([math.nan, math.inf, -math.inf])), max_size=48),
    st.sampled_from([0.001, 0.025]),
)
def test_interval_holds_its_estimate_and_is_finite(values: list[float], tail: float) -> None:
    interval = median_interval(values, tail=tail)
    if interval is None:
        assert not any(map(math.isfinite, values))
        return
    assert math.isfinite(interval.value)
    assert interval.low is None or -math.inf < interval.low <= interval.value
    assert interval.high is None or interval.value <= interval.high < math.inf


@given(st.lists(finite, min_size=12, max_size=30), st.integers(0, 29), finite)
def test_nan_widens_whatever_it_stands_for(values: list[float], at: int, real: float) -> None:
    at %= len(values)
    known = median_interval([*values[:at], real, *values[at + 1 :]], tail=0.001)
    unknown = median_interval([*values[:at], math.nan, *values[at + 1 :]], tail=0.001)
    assert known is not None
    assert unknown is not None
    # Its median may differ, but what it excludes is excluded whatever the value was.
    assert unknown.low is None or known.low is None or unknown.low <= known.low
    assert unknown.high is None or known.high is None or unknown.high >= known.high


def test_hodges_lehmann() -> None:
    # Walsh averages of 1, 2, 6: 1, 1.5, 2, 3.5, 4, 6.
    assert hodges_lehmann([1, 2, 6]) == 2.75
    assert math.isnan(hodges_lehmann([]))
    x = np.random.default_rng(1).normal(size=30)
    pairs = [(a + b) / 2 for i, a in enumerate(x) for b in x[i:]]
    assert hodges_lehmann(x) == pytest.approx(np.median(pairs))


@pytest.mark.parametrize(("events", "n"), [(0, 12), (5, 12), (12, 12), (35, 48)])
def test_shares_as_statsmodels_has_them(events: int, n: int) -> None:
    assert share_interval(events, n, level=0.95) == pytest.approx(
        proportion_confint(events, n, alpha=0.05, method="beta")
    )


def test_superiority_is_the_mann_whitney_u_over_the_pairs() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.integers(6, size=20) + 1.0, rng.integers(6, size=15) * 1.0
    u = stats.mannwhitneyu(first, second, method="asymptotic").statistic
    assert superiority(list(first), list(second)) == pytest.approx(u / 300)
