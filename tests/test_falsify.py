"""The search for counterexamples: what fails is found, reduced, and found again."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import strategies as st

from harness.measurements.exact.falsify import falsify


def test_the_simplest_counterexample_is_returned() -> None:
    found = falsify(st.integers(0, 10**6), lambda x: x < 37, examples=100)
    assert found.counterexample == 37
    assert all(x < 37 for x in found.held)


def test_a_corner_that_seeds_do_not_find() -> None:
    """True of almost all pairs, and of no pair with a zero."""
    pairs = st.tuples(st.integers(-50, 50), st.integers(-50, 50))
    assert falsify(pairs, lambda p: p[0] * p[1] != 0, examples=200).counterexample == (0, 0)


def test_what_holds_is_tried_as_often_as_asked() -> None:
    fractions = st.fractions(min_value=0, max_value=1)
    found = falsify(fractions, lambda x: x * x <= x, examples=50)
    assert found.counterexample is None
    assert len(found.held) == 50
    assert all(isinstance(x, Fraction) for x in found.held)


def test_the_search_is_seeded() -> None:
    floats = st.floats(-1e3, 1e3)
    first, again = (falsify(floats, math.isfinite, examples=40) for _ in range(2))
    assert first == again
