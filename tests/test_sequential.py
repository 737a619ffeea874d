"""The sequential sign test, trends and families against known answers and other implementations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.claim import ALPHA, LOOKS
from harness.errors import ClaimError
from harness.statistics.multiplicity import holm
from harness.statistics.sequential import (
    boundaries,
    chances,
    check_looks,
    crossings,
    each_look,
    least_fixed_n,
    least_n,
    replicates_to_decide,
    tails,
)
from harness.statistics.trend import log_linear, theil_sen

events_of_48 = st.lists(st.booleans(), max_size=48)


def p_values(events: Sequence[bool], *, p0: float = 0.5) -> tuple[float, float]:
    """The sequential P of both directions at the last complete look."""
    found = (1.0, 1.0)
    for look in each_look(np.asarray(events, dtype=bool), p0=p0):
        found = float(look.p_supported), float(look.p_refuted)
    return found


def test_boundaries_are_those_of_the_design() -> None:
    assert boundaries() == ((12, 12, 0), (24, 20, 4), (48, 35, 13))


@given(st.integers(1, 60), st.data(), st.sampled_from([0.1, 0.25, 0.5, 0.75]))
def test_tails_are_the_one_sided_binomial_tests_doubled(
    n: int, data: st.DataObject, p0: float
) -> None:
    events = data.draw(st.integers(0, n))
    many = stats.binomtest(events, n, p0, alternative="greater").pvalue
    few = stats.binomtest(events, n, p0, alternative="less").pvalue
    assert tails(events, n, p0) == pytest.approx((min(1, 2 * many), min(1, 2 * few)))


@pytest.mark.parametrize(
    ("n", "critical"),
    # Critical values of the less frequent sign, two-tailed at .01, .02, .05 and .10: Dixon and
    # Mood, JASA 41 (1946) 557-566, as Triola, Elementary Statistics, table A-7, reprints them.
    [
        (8, (0, 0, 0, 1)),
        (12, (1, 1, 2, 2)),
        (20, (3, 4, 5, 5)),
        (24, (5, 5, 6, 7)),
        (25, (5, 6, 7, 7)),
    ],
)
def test_published_critical_values(n: int, critical: tuple[int, ...]) -> None:
    for alpha, value in zip((0.01, 0.02, 0.05, 0.10), critical, strict=True):
        assert boundaries(alpha=alpha, looks=((n, 1.0),)) == ((n, n - value, value),)


def test_sequential_p_is_the_least_over_the_looks() -> None:
    events = [True] * 10 + [False] * 2 + [True] * 10 + [False] * 2
    by_look = [tails(10, 12, 0.5)[0] / 0.2, tails(20, 24, 0.5)[0] / 0.3]
    assert p_values(events)[0] == pytest.approx(min(by_look))
    assert by_look[1] < by_look[0]
    later = [True] * 12 + [False] * 12
    assert p_values(later)[0] == p_values(later[:12])[0]


@given(events_of_48, st.sampled_from([0.25, 0.5, 0.75]))
def test_more_events_never_weaken_support(events: list[bool], p0: float) -> None:
    supported, refuted = p_values(events, p0=p0)
    for index, event in enumerate(events):
        if not event:
            more = p_values([*events[:index], True, *events[index + 1 :]], p0=p0)
            assert more[0] <= supported
            assert more[1] >= refuted


def test_exact_law_in_exact_arithmetic() -> None:
    """The paths that support by n = 24 at p = 3/4, counted one by one."""
    p, q = Fraction(3, 4), Fraction(1, 4)

    def pmf(k: int, n: int) -> Fraction:
        return math.comb(n, k) * p**k * q ** (n - k)

    at_first = pmf(12, 12)
    at_second = sum(
        pmf(first, 12) * pmf(second, 12)
        for first in range(1, 12)
        for second in range(13)
        if first + second >= 20
    )
    law = chances(0.75)
    assert law[0].supported == pytest.approx(float(at_first))
    assert law[1].supported == pytest.approx(float(at_first + at_second))


@pytest.mark.parametrize(
    ("p0", "p1", "first", "second", "expected_n", "early"),
    # Simon, Controlled Clinical Trials 10 (1989) 1-10, table 1: optimal two-stage designs with
    # alpha .05 and beta .20. A trial ends after n1 where at most r1 respond.
    [(0.1, 0.3, (1, 10), (5, 29), 15.0, 0.74), (0.2, 0.4, (3, 13), (12, 43), 20.6, 0.75)],
)
def test_published_two_stage_designs(
    p0: float,
    p1: float,
    first: tuple[int, int],
    second: tuple[int, int],
    expected_n: float,
    early: float,
) -> None:
    (r1, n1), (r, n) = first, second
    stops = ((n1, None, r1), (n, r + 1, r))
    law = crossings(p0, stops)
    assert law[0].refuted == pytest.approx(early, abs=0.005)
    assert n1 + (1 - law[0].refuted) * (n - n1) == pytest.approx(expected_n, abs=0.05)
    assert law[1].supported <= 0.05
    assert crossings(p1, stops)[1].supported >= 0.80


@given(st.floats(0, 1), st.sampled_from([0.25, 0.5, 0.75]))
@example(p=1.1125369292536007e-308, p0=0.25)
@settings(deadline=None, max_examples=40)
def test_the_law_is_a_law(p: float, p0: float) -> None:
    law = chances(p, p0=p0)
    for look, following in itertools.pairwise(law):
        assert look.supported <= following.supported
        assert look.refuted <= following.refuted
    assert law[-1].supported + law[-1].refuted <= 1 + 1e-12
    assert min(law[-1].supported if p <= p0 else law[-1].refuted, 1) <= ALPHA / 2


def test_looks_that_are_no_looks() -> None:
    for bad in [(), ((1, 0.5),), ((12, 0.5), (12, 0.5)), ((12, 0.6), (24, 0.6)), ((12, 0.0),)]:
        with pytest.raises(ClaimError):
            check_looks(bad)
    check_looks(LOOKS)
    check_looks(((15, 1.0),))


def test_least_n() -> None:
    assert least_n() == (12, 12)
    assert least_n(0.25) == (12, 24)  # refuted by 0 of 24, as the claims' table has it
    assert least_n(0.9) == (None, 12)
    assert least_fixed_n(0.5) == (8, 8)
    supports, refutes = least_fixed_n(0.9)
    for n, tail in ((supports, 0.9), (refutes, 0.1)):
        assert 2 * tail**n <= ALPHA < 2 * tail ** (n - 1)


@pytest.mark.parametrize("share", [0.9, 0.7, 0.3, 0.05])
def test_replicates_to_decide_is_the_first_that_does(share: float) -> None:
    def p(n: int) -> float:
        if share > 0.5:
            return tails(math.floor(share * n + 1e-9), n, 0.5)[0]
        return tails(math.ceil(share * n - 1e-9), n, 0.5)[1]

    assert replicates_to_decide(0.501) is None
    needed = replicates_to_decide(share, alpha=0.005)
    assert needed is not None
    assert p(needed) <= 0.005
    assert all(p(n) > 0.005 for n in range(1, needed))
    later = replicates_to_decide(share, alpha=0.005, more_than=needed)
    assert later is not None
    assert later > needed


def test_holm_published_example() -> None:
    # R: p.adjust(c(.01, .02, .03, .04), "holm")
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert holm([]) == ()


def test_theil_sen() -> None:
    # Pairwise slopes of (0, 0), (1, 1), (2, 5), (3, 3): 1, 2.5, 1, 4, 1, -2; their median is 1.
    assert theil_sen([0, 1, 5, 3]) == 1.0
    assert theil_sen([0, 2, 4], [0, 4, 8]) == 0.5
    y = np.random.default_rng(0).normal(size=9)
    assert theil_sen(list(y)) == pytest.approx(stats.theilslopes(y).slope)


def test_theil_sen_of_what_has_no_slope() -> None:
    assert math.isnan(theil_sen([1.0, math.nan, 2.0]))
    assert math.isnan(theil_sen([1.0]))
    assert math.isnan(theil_sen([1.0, 2.0], [3.0, 3.0]))


def test_log_linear() -> None:
    fit = log_linear([math.exp(1 - 0.5 * x) for x in range(6)], range(6))
    assert (fit.rate, fit.intercept, fit.r_squared) == pytest.approx((-0.5, 1.0, 1.0))
    assert log_linear([2.0] * 5, range(5)).r_squared == 0.0
    assert math.isnan(log_linear([1.0, 0.0, 2.0], range(3)).rate)
    assert math.isnan(log_linear([1.0, 2.0], range(2)).rate)
