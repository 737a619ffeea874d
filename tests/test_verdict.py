"""The rules of a verdict, one by one."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.claim import (
    LOOKS,
    Criterion,
    Estimand,
    Scale,
    conjunction,
    equivalence,
    event,
    exact,
    existential,
    trend,
)
from harness.errors import ClaimError, UnknownNameError
from harness.verdict.verdict import (
    NO_DESCENT,
    Decision,
    Refutation,
    Replicate,
    Stop,
    Verdict,
    decide,
    decide_claim,
    decide_headline,
)

NAN, INF = math.nan, math.inf
LN2 = math.log(2)

RATIO = event("ratio", Criterion(effect="x", label="m_g / m_r", above=LN2, scale=Scale.LOG))
PLAIN = event("plain", Criterion(effect="x", label="r", below=0.25))
BOTH = conjunction(
    "both",
    Criterion(effect="x", label="X", above=0.0),
    Criterion(effect="y", label="Y", above=0.0),
)
SAME = equivalence("same", effect="x", label="width", centre=2.0, margin=0.05)
THEOREM = exact("theorem", Criterion(effect="x", label="residual", below=1e-12))
ONCE = existential("once", Criterion(effect="x", label="X", above=0.0, share=0.25))
RARE = event("rare", Criterion(effect="x", label="X", above=0.0, share=0.9))


def given_values(*values: float, **more: Sequence[float]) -> list[Replicate]:
    """Replicates with effect x, and other effects by name."""
    return [
        Replicate(index=i, effects={"x": x} | {name: column[i] for name, column in more.items()})
        for i, x in enumerate(values)
    ]


def judged(estimand: Estimand, *values: float, **more: Sequence[float]) -> Decision:
    return decide(estimand, given_values(*values, **more))


# --- looks ----------------------------------------------------------------------------------


def test_nothing_measured_is_not_run() -> None:
    found = decide(PLAIN, [])
    assert (found.verdict, found.n, found.final) == (Verdict.NOT_RUN, 0, False)


@pytest.mark.parametrize("n", [1, 2, 11])
def test_nothing_is_decided_before_the_first_look(n: int) -> None:
    found = judged(PLAIN, *[0.0] * n)
    assert (found.verdict, found.final, found.n) == (Verdict.INCONCLUSIVE, False, n)
    assert (found.p_supported, found.p_refuted) == (1.0, 1.0)
    assert found.reason == f"{n} of 12 replicates so far: nothing is decided before 12"


def test_twelve_of_twelve_supports() -> None:
    found = judged(PLAIN, *[0.1] * 12)
    assert (found.verdict, found.final, found.n) == (Verdict.SUPPORTED, True, 12)
    assert found.p_supported == pytest.approx(2 / 4096 / 0.2)
    assert found.reason == (
        "r is below 0.25 in 12 of 12 replicates: more often than half of the time "
        "(P = .0024, at most .01)"
    )


def test_eleven_of_twelve_waits() -> None:
    found = judged(PLAIN, *[0.1] * 11, 0.9)
    assert (found.verdict, found.final) == (Verdict.INCONCLUSIVE, False)
    assert "the next look is at 24" in found.reason


def test_none_of_twelve_refutes() -> None:
    found = judged(PLAIN, *[0.9] * 12)
    assert (found.verdict, found.final, found.refutation) == (Verdict.REFUTED, True, None)
    assert found.reason == (
        "r is below 0.25 in none of 12 replicates: not more often than half of the time "
        "(P = .0024, at most .01)"
    )


@pytest.mark.parametrize(
    ("n", "events", "verdict"),
    [
        (24, 20, Verdict.SUPPORTED),
        (24, 19, Verdict.INCONCLUSIVE),
        (24, 4, Verdict.REFUTED),
        (24, 5, Verdict.INCONCLUSIVE),
        (48, 35, Verdict.SUPPORTED),
        (48, 34, Verdict.INCONCLUSIVE),
        (48, 13, Verdict.REFUTED),
        (48, 14, Verdict.INCONCLUSIVE),
    ],
)
def test_later_boundaries(n: int, events: int, verdict: Verdict) -> None:
    # Spread evenly, so that no earlier look decides.
    hits = [(i + 1) * events // n > i * events // n for i in range(n)]
    found = judged(PLAIN, *[0.1 if hit else 0.9 for hit in hits])
    assert (found.verdict, found.n, found.parts[0].events) == (verdict, n, events)
    assert found.final == (verdict is not Verdict.INCONCLUSIVE or n == 48)


def test_the_first_look_that_decides_ends_it() -> None:
    found = judged(PLAIN, *[0.1] * 12, *[0.9] * 36)
    assert found == judged(PLAIN, *[0.1] * 12)
    assert len(found.values["x"]) == 12


def test_only_complete_looks_count() -> None:
    found = judged(PLAIN, *[0.1] * 11, 0.9, *[0.1] * 11)
    assert (found.n, found.verdict, found.final) == (12, Verdict.INCONCLUSIVE, False)


def test_a_profile_may_stop_earlier() -> None:
    values = [0.1] * 11 + [0.9]
    found = decide(PLAIN, given_values(*values), looks=LOOKS[:1])
    assert (found.verdict, found.final) == (Verdict.INCONCLUSIVE, True)
    # 13 of 15 has P = .0074, within the .008 that the first look left.
    assert "at this share about 15 replicates would decide" in found.reason


def test_undecided_tells_how_many_would_decide() -> None:
    values = [0.1 if i % 8 < 5 else 0.9 for i in range(48)]
    found = judged(PLAIN, *values)
    assert found.parts[0].events == 30
    assert found.reason.startswith("r is below 0.25 in 30 of 48 replicates: decided neither way")
    # 85 of 136 is the first at this share whose doubled tail is within half of alpha.
    assert "about 136 replicates would decide" in found.reason
    even = judged(PLAIN, *[0.1, 0.9] * 24)
    assert "not even 10000 replicates would decide" in even.reason


def test_the_record_tells_when_it_stopped_and_why() -> None:
    found = judged(PLAIN, *[0.1] * 11, 0.9, *[0.1] * 20)
    assert (found.stop, found.needed) == (Stop.DECIDED, None)
    first, second = found.path
    assert (first.n, first.spends, first.events) == (12, 0.2, (11,))
    assert first.p_supported == pytest.approx(26 / 4096 / 0.2)
    assert (second.n, second.events) == (24, (23,))
    assert (second.p_supported, second.p_refuted) == (found.p_supported, found.p_refuted)


@pytest.mark.parametrize(
    ("estimand", "values", "stop", "looks"),
    [
        (PLAIN, [0.1] * 11, None, 0),
        (PLAIN, [0.1] * 11 + [0.9], None, 1),
        (PLAIN, [0.1] * 12, Stop.DECIDED, 1),
        (PLAIN, [0.9] * 12, Stop.DECIDED, 1),
        (PLAIN, [0.1, 0.9] * 24, Stop.EXHAUSTED, 3),
        (PLAIN, [NAN] * 12, Stop.INVALID, 1),
        (THEOREM, [0.0] * 12, Stop.DECIDED, 1),
        (THEOREM, [1.0], Stop.COUNTEREXAMPLE, 0),
        (ONCE, [1.0], Stop.WITNESS, 0),
        (ONCE, [-1.0] * 24, Stop.DECIDED, 2),
    ],
)
def test_stops(estimand: Estimand, values: list[float], stop: Stop | None, looks: int) -> None:
    found = judged(estimand, *values)
    assert (found.stop, len(found.path), found.final) == (stop, looks, stop is not None)


def test_what_would_decide_is_a_number_too() -> None:
    values = [0.1 if i % 8 < 5 else 0.9 for i in range(48)]
    assert judged(PLAIN, *values).needed == 136
    assert judged(PLAIN, *[0.1, 0.9] * 24).needed is None
    assert judged(PLAIN, *values[:24]).needed is None  # another look comes first


def test_other_alpha_and_looks() -> None:
    loose = decide(PLAIN, given_values(*[0.1] * 10), alpha=0.05, looks=((10, 1.0),))
    assert loose.verdict is Verdict.SUPPORTED
    assert loose.parts[0].effect is not None
    assert loose.parts[0].effect.level == pytest.approx(0.95)


# --- events ---------------------------------------------------------------------------------


def test_ties_are_no_event() -> None:
    assert judged(PLAIN, *[0.25] * 12).verdict is Verdict.REFUTED
    assert judged(RATIO, *[LN2] * 12).verdict is Verdict.REFUTED


def test_a_share_of_its_own_tells_its_least_n() -> None:
    found = judged(RARE, *[1.0] * 48)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert (
        "against 90 % it takes at least 51, beyond these looks, to support and 12 to refute"
        in found.reason
    )
    quarter = event("q", Criterion(effect="x", label="X", above=0.0, share=0.25))
    assert judged(quarter, *[1.0] * 9, *[-1.0] * 3).verdict is Verdict.SUPPORTED
    none = judged(quarter, *[-1.0] * 24)
    assert (none.verdict, none.n) == (Verdict.REFUTED, 24)
    assert "at least 12 to support and 24 to refute" in none.reason


def test_a_trend_is_judged_as_an_event() -> None:
    slope = trend("slope", Criterion(effect="x", label="slope", above=0.05))
    assert judged(slope, *[0.06] * 12).verdict is Verdict.SUPPORTED
    assert judged(slope, *[0.05] * 12).verdict is Verdict.REFUTED


# --- invalid --------------------------------------------------------------------------------


def test_a_failed_replicate_is_no_event_and_is_not_dropped() -> None:
    found = judged(PLAIN, *[0.1] * 11, NAN)
    assert (found.verdict, found.parts[0].events, found.parts[0].n) == (
        Verdict.INCONCLUSIVE,
        11,
        12,
    )
    assert found.invalid == {"r is not finite": 1}
    assert "1 invalid, counted as no event (r is not finite: 1)" in found.reason


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_more_than_a_quarter_is_invalid(bad: float) -> None:
    exactly = judged(PLAIN, *[0.9] * 9, *[bad] * 3)
    assert exactly.verdict is Verdict.REFUTED
    more = judged(PLAIN, *[0.9] * 8, *[bad] * 4)
    assert (more.verdict, more.final, more.invalid) == (
        Verdict.INVALID,
        True,
        {"r is not finite": 4},
    )
    assert more.reason == (
        "4 of 12 replicates are invalid, more than a quarter: r is not finite: 4"
    )


def test_minus_infinity_is_no_event_below_a_margin() -> None:
    found = judged(PLAIN, *[0.1] * 11, -INF)
    assert found.parts[0].events == 11


def test_causes_add_up_over_a_replicate_each() -> None:
    falling = event(
        "falling", Criterion(effect="x", label="r", below=0.25), presupposes_descent=True
    )
    replicates = given_values(*[0.1] * 12)
    replicates[0] = dataclasses.replace(replicates[0], descended=False)
    replicates[1] = dataclasses.replace(replicates[1], failed_control="A/A differs")
    replicates[2] = dataclasses.replace(
        replicates[2], effects={"x": NAN}, descended=False, failed_control="A/A differs"
    )
    three = decide(falling, replicates)
    assert three.invalid == {NO_DESCENT: 1, "A/A differs": 2}
    assert three.failed == (0, 1, 2)
    assert (three.verdict, three.parts[0].events) == (Verdict.INCONCLUSIVE, 9)
    replicates[3] = dataclasses.replace(replicates[3], effects={"x": INF})
    four = decide(falling, replicates)
    assert (four.verdict, sum(four.invalid.values())) == (Verdict.INVALID, 4)


def test_the_lesser_of_several_ratios_has_no_value_of_no_effect() -> None:
    ratio = Criterion(effect="x", label="x", above=0.0, scale=Scale.LOG)
    both = dataclasses.replace(ratio, joint=True)
    replicates = given_values(*[-0.1] * 12)
    alone, joint = (decide(event("z", each), replicates) for each in (ratio, both))
    assert (alone.verdict, alone.refutation) == (Verdict.REFUTED, Refutation.REVERSED)
    assert (joint.verdict, joint.refutation) == (Verdict.REFUTED, None)
    assert "reversed" not in joint.reason


def test_descent_counts_only_where_presupposed() -> None:
    replicates = [
        dataclasses.replace(replicate, descended=False) for replicate in given_values(*[0.1] * 12)
    ]
    assert decide(PLAIN, replicates).verdict is Verdict.SUPPORTED
    presupposed = dataclasses.replace(PLAIN, presupposes_descent=True)
    assert decide(presupposed, replicates).verdict is Verdict.INVALID
    unknown = [dataclasses.replace(replicate, descended=None) for replicate in replicates]
    assert decide(presupposed, unknown).verdict is Verdict.SUPPORTED


def test_a_failed_control_hides_its_values_from_the_interval() -> None:
    replicates = given_values(*[0.1] * 12)
    replicates[4] = Replicate(index=4, effects={}, failed_control="no image")
    found = decide(PLAIN, replicates)
    effect = found.parts[0].effect
    assert effect is not None
    assert (effect.low, effect.value, effect.high) == (None, 0.1, None)
    assert math.isnan(found.values["x"][4])


def test_invalid_at_an_earlier_look_is_final() -> None:
    found = judged(PLAIN, *[NAN] * 4, *[0.1] * 44)
    assert (found.verdict, found.n) == (Verdict.INVALID, 12)


def test_a_replicate_left_out_is_an_error() -> None:
    replicates = given_values(*[0.1] * 13)
    with pytest.raises(ClaimError, match="one that failed included"):
        decide(PLAIN, replicates[:5] + replicates[6:])
    with pytest.raises(ClaimError):
        decide(PLAIN, [*replicates, replicates[0]])


def test_an_effect_with_another_name_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="'x': no such effect"):
        decide(PLAIN, [Replicate(index=0, effects={"ex": 1.0})])


# --- refuted: null or reversed --------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "refutation", "told"),
    [
        ([-0.1] * 12, Refutation.REVERSED, "refuted (reversed): it is below 1"),
        ([0.1] * 12, Refutation.NULL, "refuted (null): that it is below 1 is not shown"),
        ([0.0] * 12, Refutation.NULL, "refuted (null)"),
        ([-0.1] * 11 + [0.1], Refutation.NULL, "refuted (null)"),
    ],
)
def test_log_ratios_tell_null_from_reversed(
    values: list[float], refutation: Refutation, told: str
) -> None:
    found = judged(RATIO, *values)
    assert (found.verdict, found.refutation) == (Verdict.REFUTED, refutation)
    assert told in found.reason
    below = event("b", Criterion(effect="x", label="q", below=-LN2, scale=Scale.LOG))
    mirrored = judged(below, *[-value for value in values])
    assert mirrored.refutation is refutation
    assert told.replace("below", "above") in mirrored.reason


def test_no_distinction_without_a_null_on_the_near_side() -> None:
    at_most = event("c10", Criterion(effect="x", label="q", below=LN2, scale=Scale.LOG))
    assert judged(at_most, *[1.0] * 12).refutation is None
    slope = Criterion(effect="x", label="slope", above=0.05)
    assert judged(event("s", slope), *[-1.0] * 12).refutation is None
    contrast = dataclasses.replace(slope, null=0.0)
    assert judged(event("s", contrast), *[-1.0] * 12).refutation is Refutation.REVERSED


def test_a_failed_replicate_is_not_reversed() -> None:
    found = judged(RATIO, *[-0.1] * 11, NAN)
    assert (found.verdict, found.refutation) == (Verdict.REFUTED, Refutation.NULL)


def test_reversed_pays_for_the_parts_too() -> None:
    ratio = Criterion(effect="y", label="Y", above=LN2, scale=Scale.LOG)
    two = conjunction("two", Criterion(effect="x", label="X", above=0.0), ratio)
    # 1 event, 3 between 1 and the margin, 20 reversed: P = .0051, enough for one part alone.
    values = [1.0, *[-0.1] * 20, *[0.1] * 3]
    assert judged(event("one", ratio), *[0.0] * 24, y=values).refutation is Refutation.REVERSED
    found = judged(two, *[1.0] * 24, y=values)
    assert (found.verdict, found.n, found.refutation) == (Verdict.REFUTED, 24, Refutation.NULL)


# --- conjunctions and equivalence -----------------------------------------------------------


def test_conjunction_is_supported_by_all_its_parts() -> None:
    found = judged(BOTH, *[1.0] * 12, y=[1.0] * 12)
    assert found.verdict is Verdict.SUPPORTED
    assert found.p_supported == pytest.approx(2 / 4096 / 0.2)
    assert [part.criterion.effect for part in found.parts] == ["x", "y"]
    assert found.reason.startswith(
        "X is above 0 in 12 of 12 replicates and Y is above 0 in 12 of 12 replicates: each more"
    )


def test_conjunction_takes_the_largest_p() -> None:
    values, others = [1.0] * 24, [1.0] * 20 + [-1.0] * 4
    random.Random(1).shuffle(others)
    assert not all(y > 0 for y in others[:12])
    found = judged(BOTH, *values, y=others)
    assert found.n == 24
    assert found.p_supported == max(part.p_supported for part in found.parts)
    assert found.p_supported > found.parts[0].p_supported


def test_conjunction_is_refuted_by_one_part_at_its_share() -> None:
    found = judged(BOTH, *[1.0] * 12, y=[-1.0] * 12)
    assert found.verdict is Verdict.REFUTED
    assert found.p_refuted == pytest.approx(2 * 2 / 4096 / 0.2)
    assert found.reason.startswith("Y is above 0 in none of 12 replicates")


def test_bonferroni_over_five_parts() -> None:
    parts = [Criterion(effect=name, label=name, above=0.0) for name in "xabcd"]
    columns = {name: [1.0] * 12 for name in "abc"} | {"d": [-1.0] * 12}
    # 5 times .0024 exceeds .01 where 4 times does not.
    assert judged(conjunction("5", *parts), *[1.0] * 12, **columns).verdict is Verdict.INCONCLUSIVE
    assert judged(conjunction("4", *parts[1:]), *[1.0] * 12, **columns).verdict is Verdict.REFUTED


def test_a_part_that_turned_decides_nothing() -> None:
    """Both directions of a conjunction can reach alpha only if a part turned between looks."""
    turned = [1.0] * 12 + [-1.0] * 36
    other = [1.0 if i % 3 else -1.0 for i in range(24)] + [1.0] * 24
    found = judged(BOTH, *turned, y=other)
    assert found.p_supported <= 0.01
    assert found.p_refuted <= 0.01
    assert (found.verdict, found.final) == (Verdict.INCONCLUSIVE, True)
    assert "both at most .01, since a part turned between looks" in found.reason


def test_equivalence() -> None:
    assert judged(SAME, *[2.01] * 12).verdict is Verdict.SUPPORTED
    for value in (2.05, 1.95, 3.0, -1.0):
        found = judged(SAME, *[value] * 12)
        assert (found.verdict, found.refutation) == (Verdict.REFUTED, None)
        assert found.p_refuted == pytest.approx(4 / 4096 / 0.2)
    assert judged(SAME, *[2.2, 1.8] * 24).verdict is Verdict.INCONCLUSIVE


# --- exact ----------------------------------------------------------------------------------


def test_exact_holds_without_exception() -> None:
    found = judged(THEOREM, *[0.0] * 12)
    assert (found.verdict, found.p_supported, found.p_refuted) == (Verdict.SUPPORTED, 0.0, 1.0)
    assert not judged(THEOREM, *[0.0] * 11).final
    assert judged(THEOREM, *[0.0] * 11).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("values", [[1.0], [0.0] * 11 + [1.0], [0.0] * 30 + [1.0] + [0.0] * 4])
def test_one_counterexample_refutes_wherever_it_is(values: list[float]) -> None:
    found = judged(THEOREM, *values)
    assert (found.verdict, found.p_supported, found.p_refuted) == (Verdict.REFUTED, 1.0, 0.0)
    assert found.final
    assert found.counterexample == values.index(1.0)
    assert f"counterexample: in replicate {values.index(1.0)} residual is 1, not below 1e-12" in (
        found.reason
    )


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_is_not_finite_refutes_no_theorem(bad: float) -> None:
    few = judged(THEOREM, bad)
    assert (few.verdict, few.final) == (Verdict.INCONCLUSIVE, False)
    one = judged(THEOREM, *[0.0] * 11, bad)
    assert (one.verdict, one.final) == (Verdict.INCONCLUSIVE, False)
    assert judged(THEOREM, *[0.0] * 47, bad).final
    most = judged(THEOREM, *[0.0] * 8, *[bad] * 4)
    assert (most.verdict, most.p_supported, most.p_refuted) == (
        Verdict.INVALID,
        1.0,
        1.0,
    )


def test_a_failed_control_is_no_counterexample() -> None:
    broken = Replicate(index=0, effects={"x": 1.0}, failed_control="rank not known")
    assert decide(THEOREM, [broken]).verdict is Verdict.INCONCLUSIVE


# --- existential ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 12, 30])
def test_one_witness_supports_wherever_it_is(n: int) -> None:
    found = judged(ONCE, *[-1.0] * (n - 1), 0.5)
    assert (found.verdict, found.witness, found.n) == (Verdict.SUPPORTED, n - 1, n)
    assert (found.p_supported, found.p_refuted, found.counterexample) == (0.0, 1.0, None)
    assert found.reason == (
        f"witness: in replicate {n - 1} X is 0.5, above 0 (one suffices; it is so in 1 of {n})"
    )


def test_none_of_24_refutes_what_should_happen_at_all() -> None:
    waiting = judged(ONCE, *[-1.0] * 12)
    assert (waiting.verdict, waiting.final) == (Verdict.INCONCLUSIVE, False)
    found = judged(ONCE, *[-1.0] * 24)
    assert (found.verdict, found.n, found.refutation) == (Verdict.REFUTED, 24, None)
    assert found.reason == (
        "X is above 0 in none of 24 replicates: not more often than 25 % of the time (P = .0067, "
        "at most .01); one witness supports, against 25 % it takes 24 to refute"
    )


@pytest.mark.parametrize("bad", [NAN, INF])
def test_what_is_not_finite_is_no_witness(bad: float) -> None:
    found = judged(ONCE, *[-1.0] * 11, bad)
    assert (found.verdict, found.witness) == (Verdict.INCONCLUSIVE, None)
    assert judged(ONCE, *[-1.0] * 8, *[bad] * 4).verdict is Verdict.INVALID


# --- effects --------------------------------------------------------------------------------


def test_the_effect_is_the_median_with_its_interval_at_the_look() -> None:
    found = judged(RATIO, *[1.0 + i / 10 for i in range(12)])
    effect = found.parts[0].effect
    assert effect is not None
    assert (effect.low, effect.value, effect.high) == pytest.approx((1.0, 1.55, 2.1))
    assert effect.level == pytest.approx(0.998)
    assert (effect.name, effect.label, effect.scale) == ("x", "m_g / m_r", Scale.LOG)
    assert (found.parts[0].share_low, found.parts[0].share_high) == pytest.approx(
        (0.001 ** (1 / 12), 1.0)
    )


def test_hodges_lehmann_and_superiority_stand_beside_it() -> None:
    effect = judged(RATIO, *[1.0] * 9, 0.0, -1.0, NAN).parts[0].effect
    assert effect is not None
    assert effect.hodges_lehmann == pytest.approx(1.0)
    assert effect.superiority == pytest.approx(9.5 / 11)  # a tie is half; nan is left out
    below = event("b", Criterion(effect="x", label="q", below=-LN2, scale=Scale.LOG))
    mirrored = judged(below, *[-1.0] * 9, 0.0, 1.0, NAN).parts[0].effect
    assert mirrored is not None
    assert mirrored.superiority == pytest.approx(9.5 / 11)
    plain = judged(PLAIN, *[0.1] * 12).parts[0].effect
    assert plain is not None
    assert plain.superiority is None  # there is no value of "no effect"


def test_no_finite_value_no_effect() -> None:
    assert judged(PLAIN, *[NAN] * 12).parts[0].effect is None


def test_log_ratios_are_told_as_ratios() -> None:
    assert "m_g / m_r is above 2 in 12" in judged(RATIO, *[1.0] * 12).reason
    huge = event("h", Criterion(effect="x", label="D", above=1000.0, scale=Scale.LOG))
    assert "D is above 10^434 in 12" in judged(huge, *[2000.0] * 12).reason


# --- properties -----------------------------------------------------------------------------

numbers = st.one_of(st.floats(-3, 3), st.sampled_from([0.25, NAN, INF, -INF]))
estimands = st.sampled_from([RATIO, PLAIN, BOTH, SAME, THEOREM, ONCE, RARE])


@given(estimands, st.lists(st.tuples(numbers, numbers), max_size=50))
@settings(deadline=None, max_examples=60)
def test_verdicts_are_consistent(estimand: Estimand, rows: list[tuple[float, float]]) -> None:
    replicates = [Replicate(index=i, effects={"x": x, "y": y}) for i, (x, y) in enumerate(rows)]
    found = decide(estimand, replicates)
    again = decide(estimand, replicates[::-1])
    # NaN differs from itself, so the printed form is compared: pure, whatever order they came in.
    assert repr(again) == repr(found)
    supported, refuted = found.p_supported <= 0.01, found.p_refuted <= 0.01
    if found.verdict is Verdict.SUPPORTED:
        assert supported
        assert not refuted
    if found.verdict is Verdict.REFUTED:
        assert refuted
        assert not supported
    if len(rows) >= 48:
        assert found.final
    for part in found.parts:
        assert 0 <= part.share_low <= part.events / part.n <= part.share_high <= 1
    if found.final and estimand not in (THEOREM, ONCE):
        assert repr(decide(estimand, replicates[: found.n])) == repr(found)


@given(st.lists(st.floats(-3, 3), min_size=12, max_size=48))
@settings(deadline=None, max_examples=60)
def test_a_definite_verdict_agrees_with_the_interval(values: list[float]) -> None:
    found = judged(RATIO, *values)
    effect = found.parts[0].effect
    assert effect is not None
    assert effect.low is not None
    assert effect.high is not None
    assert (found.verdict is Verdict.SUPPORTED) == (effect.low > LN2)
    # A tie is no event, so the margin itself may be the upper limit.
    assert (found.verdict is Verdict.REFUTED) == (effect.high <= LN2)


# --- claims and headlines -------------------------------------------------------------------


def of(verdict: Verdict, p_refuted: float = 1.0) -> Decision:
    return Decision(verdict=verdict, reason="", n=12, p_refuted=p_refuted)


S, R, M, U, X, N, T = Verdict  # the order of their definition


@pytest.mark.parametrize(
    ("verdicts", "claim"),
    [
        ([S], S),
        ([S, S], S),
        ([R, R], R),
        ([S, R], M),
        ([S, R, U, X, N], M),
        ([S, U], U),
        ([R, U], U),
        ([R, N], U),
        ([X, X], X),
        ([X, N], U),
        ([N, N], N),
        ([T, T], T),
        ([], N),
    ],
)
def test_claim(verdicts: list[Verdict], claim: Verdict) -> None:
    assert decide_claim(map(of, verdicts))[0] is claim
    assert decide_claim(map(of, reversed(verdicts)))[0] is claim


def test_claim_reason_counts() -> None:
    assert decide_claim(map(of, [S, S, U]))[1] == "of 3 conditions: 2 supported, 1 inconclusive"
    assert decide_claim(map(of, [S, S]))[1] == "all 2 conditions are supported"
    assert decide_claim(map(of, [N, S, N]))[1] == (
        "2 of 3 conditions not run; of the others: 1 supported"
    )
    assert decide_claim(map(of, [N, N]))[1] == "all 2 conditions are not run"
    assert decide_claim([of(R)])[1] == "its only condition is refuted"


@pytest.mark.parametrize(
    ("claims", "headline"),
    [
        ([[of(S)], [of(S), of(S)]], S),
        ([[of(S)], [of(R, 0.005)]], R),
        ([[of(U)], [of(R, 0.005)]], R),
        ([[of(S)], [of(R, 0.006)]], M),  # not at its share of alpha
        ([[of(U)], [of(R, 0.006)]], U),
        ([[of(R, 0.006)], [of(R, 0.006)]], U),
        ([[of(R, 0.01)]], R),
        ([[of(R, 0.001), of(R, 0.009)], [of(S)]], M),  # a claim's P is its conditions' largest
        ([[of(S), of(R, 0.001)], [of(S)]], M),
        ([[of(S)], [of(U)]], U),
        ([[of(S)], [of(N)]], U),
        ([[of(N)], [of(N)]], N),
        ([], N),
    ],
)
def test_headline(claims: list[list[Decision]], headline: Verdict) -> None:
    by_id = {f"C{i}": decisions for i, decisions in enumerate(claims)}
    verdict, reason = decide_headline(by_id)
    assert verdict is headline
    assert reason


def test_headline_names_the_claim_that_refutes() -> None:
    reason = decide_headline({"A1": [of(S)], "A2": [of(R, 0.0024)]})[1]
    assert reason == (
        "A2 is refuted, over 2 claims P = .0048, at most .01 (A1 supported; A2 refuted)"
    )
