"""The sequential sign test, trends and families against known answers and other implementations."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.claim import ALPHA, LOOKS
from harness.errors import ClaimError
from harness.statistics.multiplicity import expected_wrong, holm
from harness.statistics.sequential import (
    boundaries,
    check_looks,
    least_fixed_n,
    least_n,
    replicates_to_decide,
    sequential,
    tails,
)
from harness.statistics.trend import log_linear, theil_sen

events_of_48 = st.lists(st.booleans(), max_size=48)


def upper_tail(events: int, n: int) -> Fraction:
    """P(S >= events) for a fair coin, in exact arithmetic."""
    return Fraction(sum(math.comb(n, k) for k in range(events, n + 1)), 2**n)


def test_boundaries_are_those_of_the_design() -> None:
    assert boundaries() == ((12, 12, 0), (24, 20, 4), (48, 35, 13))


@pytest.mark.parametrize(("events", "n", "share"), [(12, 12, 0.2), (20, 24, 0.3), (35, 48, 0.5)])
def test_boundaries_in_exact_arithmetic(events: int, n: int, share: float) -> None:
    spend = Fraction(str(share)) * Fraction(1, 100)
    assert 2 * upper_tail(events, n) <= spend < 2 * upper_tail(events - 1, n)


def test_one_sided_form_would_decide_earlier_than_the_interval() -> None:
    assert upper_tail(34, 48) <= Fraction(5, 1000) < 2 * upper_tail(34, 48)


def test_tails_by_hand() -> None:
    # 11 or 12 heads of 12: 13 of 4096; doubled.
    assert tails(11, 12, 0.5) == pytest.approx((26 / 4096, 1.0))
    assert tails(0, 24, 0.25) == pytest.approx((1.0, 2 * 0.75**24))


@given(st.integers(1, 60), st.data(), st.sampled_from([0.1, 0.25, 0.5, 0.75]))
def test_tails_are_the_one_sided_binomial_tests_doubled(
    n: int, data: st.DataObject, p0: float
) -> None:
    events = data.draw(st.integers(0, n))
    many = stats.binomtest(events, n, p0, alternative="greater").pvalue
    few = stats.binomtest(events, n, p0, alternative="less").pvalue
    assert tails(events, n, p0) == pytest.approx((min(1, 2 * many), min(1, 2 * few)))


def test_unanimous_first_look() -> None:
    found = sequential([True] * 12)
    assert (found.n, found.events) == (12, 12)
    assert found.p_supported == pytest.approx(2 / 4096 / 0.2)
    assert found.p_refuted == 1.0


def test_only_complete_looks_count() -> None:
    assert sequential([True] * 11).p_supported == 1.0
    assert sequential([True] * 12 + [False] * 11) == sequential([True] * 12)


def test_sequential_p_is_the_least_over_the_looks() -> None:
    events = [True] * 10 + [False] * 2 + [True] * 10 + [False] * 2
    by_look = [tails(10, 12, 0.5)[0] / 0.2, tails(20, 24, 0.5)[0] / 0.3]
    assert sequential(events).p_supported == pytest.approx(min(by_look))
    assert by_look[1] < by_look[0]
    later = [True] * 12 + [False] * 12
    assert sequential(later).p_supported == sequential(later[:12]).p_supported


@given(events_of_48, st.sampled_from([0.25, 0.5, 0.75]))
def test_more_events_never_weaken_support(events: list[bool], p0: float) -> None:
    before = sequential(events, p0=p0)
    for index, event in enumerate(events):
        if not event:
            after = sequential([*events[:index], True, *events[index + 1 :]], p0=p0)
            assert after.p_supported <= before.p_supported
            assert after.p_refuted >= before.p_refuted


@given(st.lists(st.booleans(), min_size=48, max_size=48), st.randoms(use_true_random=False))
def test_order_within_a_look_does_not_matter(events: list[bool], random: object) -> None:
    blocks = [events[:12], events[12:24], events[24:]]
    shuffled = [e for block in blocks for e in random.sample(block, len(block))]  # type: ignore[attr-defined]
    assert sequential(shuffled) == sequential(events)


@given(events_of_48)
def test_directions_mirror_each_other(events: list[bool]) -> None:
    found, mirrored = sequential(events), sequential([not event for event in events])
    assert found.p_supported == pytest.approx(mirrored.p_refuted)


def test_exact_error_of_the_whole_procedure() -> None:
    """All paths through the looks, by convolution: at p0 each direction errs by alpha / 2."""
    alive, start, wrong = np.array([1.0]), 0, 0.0
    for n, support, refute in boundaries():
        assert support is not None
        assert refute is not None
        alive = np.convolve(alive, stats.binom.pmf(np.arange(n - start + 1), n - start, 0.5))
        wrong += alive[support:].sum()
        alive[support:] = alive[: refute + 1] = 0
        start = n
    assert 0.001 < wrong <= ALPHA / 2


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

    needed = replicates_to_decide(share, alpha=0.005)
    assert needed is not None
    assert p(needed) <= 0.005
    assert all(p(n) > 0.005 for n in range(1, needed))
    later = replicates_to_decide(share, alpha=0.005, more_than=needed)
    assert later is not None
    assert later > needed


def test_no_number_decides_at_the_border() -> None:
    assert replicates_to_decide(0.5) is None
    assert replicates_to_decide(0.501) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None, max_examples=15)  # statsmodels collects garbage at each call
def test_holm_by_its_definition(p: list[float]) -> None:
    order = np.argsort(p, kind="stable")
    running, expected = 0.0, dict.fromkeys(range(len(p)), 0.0)
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        expected[int(index)] = running
    assert holm(p) == pytest.approx(tuple(expected.values()))


def test_holm_published_example() -> None:
    # R: p.adjust(c(.01, .02, .03, .04), "holm")
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert holm([]) == ()


def test_expected_wrong_adds_up() -> None:
    assert expected_wrong([0.01] * 40) == pytest.approx(0.4)


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
