"""The rules of decision on arrays: each against its definition, and every series by itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.claim import Kind
from harness.statistics.decision import Ruling, SequentialRun, decided

Bools = npt.NDArray[np.bool_]


def series(*counts: int) -> Bools:
    """One series, one part: so many events up to n = 12, then between 12 and 24, then to 48."""
    sizes = (12, 12, 24)
    return np.concatenate([np.arange(n) < s for n, s in zip(sizes, counts, strict=False)])[None]


def ruled(
    kind: Kind,
    events: Bools,
    *,
    failed: Bools | None = None,
    shares: Sequence[float] | None = None,
    opposite: Bools | None = None,
) -> SequentialRun:
    return decided(
        kind,
        events,
        failed=np.zeros(events[..., 0, :].shape, bool) if failed is None else failed,
        shares=shares or [0.5] * events.shape[-2],
        opposite=opposite,
    )


def by_the_text(counts: tuple[int, int, int]) -> tuple[Ruling, int]:
    """An event per replicate, at alpha .01, in exact arithmetic, straight from the text."""
    events = n = 0
    for look, (size, count) in enumerate(zip((12, 12, 24), counts, strict=True), start=1):
        events, n = events + count, n + size
        share = {12: Fraction(2, 10), 24: Fraction(3, 10), 48: Fraction(5, 10)}[n]
        many = sum(math.comb(n, k) for k in range(events, n + 1))
        few = sum(math.comb(n, k) for k in range(events + 1))
        if 2 * Fraction(many, 2**n) / share <= Fraction(1, 100):
            return Ruling.SUPPORTED, look
        if 2 * Fraction(few, 2**n) / share <= Fraction(1, 100):
            return Ruling.REFUTED, look
    return Ruling.OPEN, 3


def test_every_path_of_one_event_a_replicate() -> None:
    """All 13 x 13 x 25 ways in which events can fall between the looks."""
    paths = list(itertools.product(range(13), range(13), range(25)))
    events = np.stack([series(*path) for path in paths])
    found = ruled(Kind.EVENT, events)
    for path, ruling, looks in zip(paths, found.ruling, found.looks, strict=True):
        assert (ruling, looks) == by_the_text(path), path


def test_failures_are_no_events_and_too_many_are_invalid() -> None:
    failed = np.arange(12) < 3
    few = ruled(Kind.EVENT, series(12), failed=failed)
    assert few.ruling == Ruling.OPEN
    assert few.p_supported == pytest.approx(2 * stats.binom.sf(8, 12, 0.5) / 0.2)  # 9 of 12
    many = ruled(Kind.EVENT, series(12), failed=np.arange(12) < 4)
    assert (many.ruling, many.looks) == (Ruling.INVALID, 1)
    # They speak against the claim as any other replicate without the event does.
    assert ruled(Kind.EVENT, series(0), failed=failed).ruling == Ruling.REFUTED


# --- existential ----------------------------------------------------------------------------


def test_a_failed_replicate_is_no_witness() -> None:
    events = np.arange(24)[None] == 7
    failed = np.arange(24) == 7
    assert ruled(Kind.EXISTENTIAL, events, failed=failed, shares=[0.25]).ruling == Ruling.REFUTED
    # A witness outweighs whatever else failed.
    failed = np.arange(24) > 7
    assert ruled(Kind.EXISTENTIAL, events, failed=failed, shares=[0.25]).ruling == Ruling.SUPPORTED
    assert ruled(Kind.EXISTENTIAL, ~events & events, failed=failed, shares=[0.25]).ruling == (
        Ruling.INVALID
    )


# --- reversed -------------------------------------------------------------------------------


def test_reversed_only_if_no_effect_is_rejected_too() -> None:
    none = np.zeros((1, 24), bool)
    for opposite, expected in [(24, True), (20, True), (19, False), (0, False)]:
        # In an order in which the first look does not reach 12 of 12.
        order = np.random.default_rng(1).permutation(24)
        other_way = (np.arange(24) < opposite)[order][None]
        events = none.copy()
        events[0, [0, 12]] = True  # 1 of 12 leaves the first look open
        found = ruled(Kind.EVENT, events, opposite=other_way)
        assert (found.ruling, found.looks) == (Ruling.REFUTED, 2)
        assert found.reversed == expected


def test_of_several_parts_the_one_that_refutes_is_asked() -> None:
    events = np.stack([np.ones(12, bool), np.zeros(12, bool)])
    other_way = np.stack([np.zeros(12, bool), np.ones(12, bool)])
    assert ruled(Kind.CONJUNCTION, events, opposite=other_way).reversed
    assert not ruled(Kind.CONJUNCTION, events, opposite=other_way[::-1]).reversed


# --- arrays ---------------------------------------------------------------------------------


@given(st.sampled_from(list(Kind)), st.integers(0, 2**32 - 1), st.sampled_from([5, 12, 24, 30, 48]))
@settings(deadline=None, max_examples=60)
def test_many_series_at_once_are_each_by_itself(kind: Kind, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    parts = int(rng.integers(1, 4))
    events = rng.random((6, parts, n)) < rng.random((6, parts, 1)) ** 0.3
    opposite = ~events & (rng.random(events.shape) < 0.9)
    failed = rng.random((6, n)) < rng.choice([0.0, 0.1, 0.3])
    shares = list(rng.choice([0.25, 0.5, 0.75], size=parts))
    together = ruled(kind, events, failed=failed, shares=shares, opposite=opposite)
    for number in range(6):
        alone = ruled(
            kind, events[number], failed=failed[number], shares=shares, opposite=opposite[number]
        )
        assert alone.ruling == together.ruling[number]
        assert alone.looks == together.looks[number]
        assert alone.reversed == together.reversed[number]
        assert alone.p_supported == pytest.approx(together.p_supported[number])
        assert alone.p_refuted == pytest.approx(together.p_refuted[number])
