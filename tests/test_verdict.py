"""The rules of a verdict, one by one."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from pathlib import Path

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
from harness.verdict.evidence import NO_DESCENT, Refutation, Replicate
from harness.verdict.verdict import Decision, Stop, Verdict, decide, decide_claim, decide_headline

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


S, R, M, U, X, N, T = Verdict  # the order of their definition


# --- looks ----------------------------------------------------------------------------------


def spread(events: int, n: int) -> list[float]:
    """Values of which some are events of `PLAIN`, spread evenly so that no earlier look decides."""
    return [0.1 if (i + 1) * events // n > i * events // n else 0.9 for i in range(n)]


def test_nothing_measured_is_not_run() -> None:
    found = decide(PLAIN, [])
    assert (found.verdict, found.n, found.final) == (Verdict.NOT_RUN, 0, False)


@pytest.mark.parametrize(
    ("n", "events", "verdict"),
    [
        (12, 12, Verdict.SUPPORTED),
        (12, 11, Verdict.INCONCLUSIVE),
        (12, 0, Verdict.REFUTED),
        (24, 20, Verdict.SUPPORTED),
        (48, 13, Verdict.REFUTED),
        (48, 14, Verdict.INCONCLUSIVE),
    ],
)
def test_boundaries(n: int, events: int, verdict: Verdict) -> None:
    found = judged(PLAIN, *spread(events, n))
    assert (found.verdict, found.n, found.parts[0].events) == (verdict, n, events)
    assert found.final == (verdict is not Verdict.INCONCLUSIVE or n == 48)


def test_the_first_look_that_decides_ends_it() -> None:
    found = judged(PLAIN, *[0.1] * 12, *[0.9] * 36)
    assert found == judged(PLAIN, *[0.1] * 12)
    assert found.p_supported == pytest.approx(2 / 4096 / 0.2)
    assert len(found.values["x"]) == 12


def test_only_complete_looks_count() -> None:
    found = judged(PLAIN, *[0.1] * 11, 0.9, *[0.1] * 11)
    assert (found.n, found.verdict, found.final) == (12, Verdict.INCONCLUSIVE, False)


@pytest.mark.parametrize(
    ("values", "looks", "needed"),
    [
        # 13 of 15 has P = .0074, within the .008 that the first look left.
        ([0.1] * 11 + [0.9], LOOKS[:1], 15),
        # 85 of 136 is the first at this share whose doubled tail is within half of alpha.
        ([0.1 if i % 8 < 5 else 0.9 for i in range(48)], LOOKS, 136),
        ([0.1, 0.9] * 24, LOOKS, None),
        ([0.1 if i % 8 < 5 else 0.9 for i in range(24)], LOOKS, None),  # another look comes first
    ],
)
def test_replicates_that_would_decide(
    values: list[float], looks: Sequence[tuple[int, float]], needed: int | None
) -> None:
    found = decide(PLAIN, given_values(*values), looks=looks)
    assert (found.verdict, found.needed) == (Verdict.INCONCLUSIVE, needed)


def test_the_path_has_every_look() -> None:
    found = judged(PLAIN, *[0.1] * 11, 0.9, *[0.1] * 20)
    assert found.stop is Stop.DECIDED
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
        (PLAIN, [NAN] * 4 + [0.1] * 44, Stop.INVALID, 1),
        (THEOREM, [0.0] * 12, Stop.DECIDED, 1),
        (THEOREM, [1.0], Stop.COUNTEREXAMPLE, 0),
        (ONCE, [1.0], Stop.WITNESS, 0),
        (ONCE, [-1.0] * 24, Stop.DECIDED, 2),
    ],
)
def test_stops(estimand: Estimand, values: list[float], stop: Stop | None, looks: int) -> None:
    found = judged(estimand, *values)
    assert (found.stop, len(found.path), found.final) == (stop, looks, stop is not None)


# --- kinds of estimands ---------------------------------------------------------------------

SLOPE = trend("slope", Criterion(effect="x", label="slope", above=0.05))
QUARTER = event("q", Criterion(effect="x", label="X", above=0.0, share=0.25))


@pytest.mark.parametrize(
    ("estimand", "values", "verdict", "n"),
    [
        # A tie is no event.
        (PLAIN, [0.25] * 12, Verdict.REFUTED, 12),
        (RATIO, [LN2] * 12, Verdict.REFUTED, 12),
        (SLOPE, [0.06] * 12, Verdict.SUPPORTED, 12),
        (SLOPE, [0.05] * 12, Verdict.REFUTED, 12),
        (RARE, [1.0] * 48, Verdict.INCONCLUSIVE, 48),
        (QUARTER, [1.0] * 9 + [-1.0] * 3, Verdict.SUPPORTED, 12),
        (QUARTER, [-1.0] * 24, Verdict.REFUTED, 24),
        (SAME, [2.01] * 12, Verdict.SUPPORTED, 12),
        *[(SAME, [value] * 12, Verdict.REFUTED, 12) for value in (2.05, 1.95, 3.0, -1.0)],
        (SAME, [2.2, 1.8] * 24, Verdict.INCONCLUSIVE, 48),
        (THEOREM, [0.0] * 12, Verdict.SUPPORTED, 12),
        (THEOREM, [0.0] * 11, Verdict.INCONCLUSIVE, 11),
        (ONCE, [-1.0] * 12, Verdict.INCONCLUSIVE, 12),
        (ONCE, [-1.0] * 24, Verdict.REFUTED, 24),
    ],
)
def test_kinds(estimand: Estimand, values: list[float], verdict: Verdict, n: int) -> None:
    found = judged(estimand, *values)
    assert (found.verdict, found.n) == (verdict, n)


@pytest.mark.parametrize("values", [[1.0], [0.0] * 11 + [1.0], [0.0] * 30 + [1.0] + [0.0] * 4])
def test_one_counterexample_refutes_wherever_it_is(values: list[float]) -> None:
    found = judged(THEOREM, *values)
    assert (found.verdict, found.p_supported, found.p_refuted) == (Verdict.REFUTED, 1.0, 0.0)
    assert (found.final, found.counterexample) == (True, values.index(1.0))


@pytest.mark.parametrize("n", [1, 12, 30])
def test_one_witness_supports_wherever_it_is(n: int) -> None:
    found = judged(ONCE, *[-1.0] * (n - 1), 0.5)
    assert (found.verdict, found.witness, found.n) == (Verdict.SUPPORTED, n - 1, n)
    assert (found.p_supported, found.p_refuted, found.counterexample) == (0.0, 1.0, None)


# --- invalid --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_failed_replicate_is_no_event_and_is_not_dropped(bad: float) -> None:
    found = judged(PLAIN, *[0.1] * 11, bad)
    assert (found.verdict, found.parts[0].events, found.parts[0].n) == (U, 11, 12)
    assert found.invalid == {"r is not finite": 1}


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize(
    ("estimand", "other", "most"), [(PLAIN, 0.9, R), (THEOREM, 0.0, U), (ONCE, -1.0, U)]
)
def test_more_than_a_quarter_is_invalid(
    estimand: Estimand, other: float, most: Verdict, bad: float
) -> None:
    assert judged(estimand, *[other] * 9, *[bad] * 3).verdict is most
    more = judged(estimand, *[other] * 8, *[bad] * 4)
    assert (more.verdict, more.final, sum(more.invalid.values())) == (X, True, 4)


def test_a_replicate_has_one_cause() -> None:
    falling = dataclasses.replace(PLAIN, presupposes_descent=True)
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
    assert decide(falling, replicates).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("descended", "presupposed", "verdict"), [(False, False, 0), (False, True, 4), (None, True, 0)]
)
def test_descent_counts_only_where_presupposed(
    descended: bool | None, presupposed: bool, verdict: int
) -> None:
    estimand = dataclasses.replace(PLAIN, presupposes_descent=presupposed)
    replicates = [
        dataclasses.replace(each, descended=descended) for each in given_values(*[0.1] * 12)
    ]
    assert decide(estimand, replicates).verdict is list(Verdict)[verdict]


def test_a_failed_control_hides_its_values_from_the_interval() -> None:
    replicates = given_values(*[0.1] * 12)
    replicates[4] = Replicate(index=4, effects={}, failed_control="no image")
    found = decide(PLAIN, replicates)
    effect = found.parts[0].effect
    assert effect is not None
    assert (effect.low, effect.value, effect.high) == (None, 0.1, None)
    assert math.isnan(found.values["x"][4])


def test_a_failed_control_is_no_counterexample() -> None:
    broken = Replicate(index=0, effects={"x": 1.0}, failed_control="rank not known")
    assert decide(THEOREM, [broken]).verdict is Verdict.INCONCLUSIVE


def test_what_replicates_may_not_be() -> None:
    replicates = given_values(*[0.1] * 13)
    for wrong in (replicates[:5] + replicates[6:], [*replicates, replicates[0]]):
        with pytest.raises(ClaimError):
            decide(PLAIN, wrong)
    with pytest.raises(UnknownNameError):
        decide(PLAIN, [Replicate(index=0, effects={"ex": 1.0})])


# --- refuted: null or reversed --------------------------------------------------------------

BELOW = event("b", Criterion(effect="x", label="q", below=-LN2, scale=Scale.LOG))
LOG = Criterion(effect="x", label="x", above=0.0, scale=Scale.LOG)
CONTRAST = Criterion(effect="x", label="slope", above=0.05, null=0.0)


@pytest.mark.parametrize(
    ("estimand", "values", "refutation"),
    [
        (RATIO, [-0.1] * 12, Refutation.REVERSED),
        (RATIO, [0.1] * 12, Refutation.NULL),
        (RATIO, [0.0] * 12, Refutation.NULL),
        (RATIO, [-0.1] * 11 + [0.1], Refutation.NULL),
        (RATIO, [-0.1] * 11 + [NAN], Refutation.NULL),
        (BELOW, [0.1] * 12, Refutation.REVERSED),
        (BELOW, [-0.1] * 12, Refutation.NULL),
        (event("c", CONTRAST), [-1.0] * 12, Refutation.REVERSED),
        # There is no value of no effect, or none on the near side of the margin.
        (event("c", dataclasses.replace(CONTRAST, null=None)), [-1.0] * 12, None),
        (
            event("c10", Criterion(effect="x", label="q", below=LN2, scale=Scale.LOG)),
            [1.0] * 12,
            None,
        ),
        (event("z", LOG), [-0.1] * 12, Refutation.REVERSED),
        (event("z", dataclasses.replace(LOG, joint=True)), [-0.1] * 12, None),
        (SAME, [3.0] * 12, None),
        (PLAIN, [0.9] * 12, None),
    ],
)
def test_null_and_reversed(
    estimand: Estimand, values: list[float], refutation: Refutation | None
) -> None:
    found = judged(estimand, *values)
    assert (found.verdict, found.refutation) == (Verdict.REFUTED, refutation)


def test_reversed_pays_for_the_parts_too() -> None:
    ratio = Criterion(effect="y", label="Y", above=LN2, scale=Scale.LOG)
    two = conjunction("two", Criterion(effect="x", label="X", above=0.0), ratio)
    # 1 event, 3 between 1 and the margin, 20 reversed: P = .0051, enough for one part alone.
    values = [1.0, *[-0.1] * 20, *[0.1] * 3]
    assert judged(event("one", ratio), *[0.0] * 24, y=values).refutation is Refutation.REVERSED
    found = judged(two, *[1.0] * 24, y=values)
    assert (found.verdict, found.n, found.refutation) == (Verdict.REFUTED, 24, Refutation.NULL)


# --- conjunctions and equivalence -----------------------------------------------------------


def test_conjunction_takes_the_largest_p() -> None:
    values, others = [1.0] * 24, [1.0] * 20 + [-1.0] * 4
    random.Random(1).shuffle(others)
    assert not all(y > 0 for y in others[:12])
    found = judged(BOTH, *values, y=others)
    assert (found.n, found.verdict) == (24, Verdict.SUPPORTED)
    assert found.p_supported == max(part.p_supported for part in found.parts)
    assert found.p_supported > found.parts[0].p_supported


@pytest.mark.parametrize(
    ("estimand", "y", "p"), [(BOTH, [-1.0] * 12, 4 / 4096 / 0.2), (SAME, None, 4 / 4096 / 0.2)]
)
def test_one_part_refutes_at_its_share(estimand: Estimand, y: list[float] | None, p: float) -> None:
    found = judged(estimand, *[1.0] * 12, **({"y": y} if y else {}))
    assert found.verdict is Verdict.REFUTED
    assert found.p_refuted == pytest.approx(p)


TURNED = {
    "x": [1.0] * 12 + [-1.0] * 36,
    "y": [1.0 if i % 3 else -1.0 for i in range(24)] + [1.0] * 24,
}


def test_a_part_that_turned_decides_nothing() -> None:
    """Both directions of a conjunction can reach alpha only if a part turned between looks."""
    found = judged(BOTH, *TURNED["x"], y=TURNED["y"])
    assert found.p_supported <= 0.01
    assert found.p_refuted <= 0.01
    assert (found.verdict, found.final) == (Verdict.INCONCLUSIVE, True)


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
    assert judged(PLAIN, *[NAN] * 12).parts[0].effect is None


@pytest.mark.parametrize(
    ("estimand", "values", "superiority"),
    [
        # A tie is half, nan is left out.
        (RATIO, [1.0] * 9 + [0.0, -1.0, NAN], 9.5 / 11),
        (BELOW, [-1.0] * 9 + [0.0, 1.0, NAN], 9.5 / 11),
        (PLAIN, [0.1] * 12, None),  # there is no value of no effect
    ],
)
def test_hodges_lehmann_and_superiority(
    estimand: Estimand, values: list[float], superiority: float | None
) -> None:
    effect = judged(estimand, *values).parts[0].effect
    assert effect is not None
    assert effect.hodges_lehmann == pytest.approx(values[0])
    assert effect.superiority == (superiority and pytest.approx(superiority))


# --- reasons --------------------------------------------------------------------------------

GOLDEN = Path(__file__).parent / "golden" / "reasons.txt"


def test_reasons() -> None:
    huge = event("h", Criterion(effect="x", label="D", above=1000.0, scale=Scale.LOG))
    decisions = [
        judged(PLAIN, *[0.0] * 2),
        judged(PLAIN, *[0.1] * 12),
        judged(PLAIN, *[0.1] * 11, 0.9),
        judged(PLAIN, *[0.9] * 12),
        judged(PLAIN, *[0.1] * 11, NAN),
        judged(PLAIN, *[0.9] * 8, *[NAN] * 4),
        judged(PLAIN, *spread(30, 48)),
        judged(PLAIN, *[0.1, 0.9] * 24),
        judged(RARE, *[1.0] * 48),
        judged(QUARTER, *[-1.0] * 24),
        judged(RATIO, *[1.0] * 12),
        judged(RATIO, *[-0.1] * 12),
        judged(RATIO, *[0.1] * 12),
        judged(huge, *[2000.0] * 12),
        judged(BOTH, *[1.0] * 12, y=[1.0] * 12),
        judged(BOTH, *[1.0] * 12, y=[-1.0] * 12),
        judged(BOTH, *TURNED["x"], y=TURNED["y"]),
        judged(THEOREM, *[0.0] * 12),
        judged(THEOREM, *[0.0] * 11, NAN),
        judged(THEOREM, 0.0, 1.0),
        judged(ONCE, -1.0, 0.5),
        judged(ONCE, *[-1.0] * 24),
    ]
    claims = [[S, S, U], [S, S], [N, S, N], [N, N], [R]]
    reasons = [(each.verdict, each.reason) for each in decisions]
    reasons += [decide_claim(map(of, verdicts)) for verdicts in claims]
    reasons.append(decide_headline({"A1": [of(S)], "A2": [of(R, 0.0024)]}))
    found = "".join(f"{verdict}: {reason}\n" for verdict, reason in reasons)
    assert found == GOLDEN.read_text("utf-8")


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


# --- claims and headlines -------------------------------------------------------------------


def of(verdict: Verdict, p_refuted: float = 1.0) -> Decision:
    return Decision(verdict=verdict, reason="", n=12, p_refuted=p_refuted)


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
