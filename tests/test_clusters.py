"""One fixed look at one mean per distinct photograph."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.claim import Criterion
from harness.statistics.clusters import beyond

CRITERION = Criterion(effect="x", label="X", above=1.0)


def test_a_photograph_counts_once_however_often_it_was_drawn() -> None:
    values = [2.0, 2.0, 2.0, 0.0, 3.0, 0.5, 5.0]
    photographs = ["a", "a", "a", "b", "b", "c", "c"]
    found = beyond(CRITERION, values, photographs=photographs)
    assert found.means == {"a": 2.0, "b": 1.5, "c": 2.75}
    assert (found.events, found.p_supported, found.p_refuted) == (3, 0.25, 1.0)


def test_the_test_is_the_sign_test_over_photographs() -> None:
    rng = np.random.default_rng(0)
    photographs = [str(number) for number in rng.integers(10, size=48)]
    values = list(rng.normal(1.3, 1.0, size=48))
    found = beyond(CRITERION, values, photographs=photographs)
    test = stats.binomtest(found.events, len(found.means), alternative="greater")
    assert found.p_supported == pytest.approx(min(1, 2 * test.pvalue))


def test_error_stays_where_pooled_replicates_err() -> None:
    """Photographs at large: what ten of them share is no evidence of the eleventh."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        offsets = rng.normal(size=10)  # a fresh sample of photographs, median 0
        drawn = rng.integers(10, size=48)
        values = offsets[drawn] + 0.1 * rng.normal(size=48)
        found = beyond(
            Criterion(effect="x", label="X", above=0.0),
            list(values),
            photographs=[str(number) for number in drawn],
        )
        wrong += min(found.p_supported, found.p_refuted) <= 0.05
    assert stats.binomtest(wrong, 400).proportion_ci(0.99).low <= 0.05


def test_a_replicate_that_is_not_finite_makes_its_photograph_no_event() -> None:
    found = beyond(CRITERION, [2.0, math.nan, 2.0, math.inf], photographs=["a", "a", "b", "c"])
    assert found.events == 1
    assert math.isnan(found.means["a"])
    assert math.isnan(found.means["c"])
