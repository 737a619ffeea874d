"""The family of a run: which claims are in it, and what Holm makes of them."""

from __future__ import annotations

import pytest

from harness.claim import Claim, Criterion, Estimand, event, exact, existential, untestable
from harness.verdict.evidence import Replicate
from harness.verdict.family import family
from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Decision, Verdict, decide

PLAIN = event("s", Criterion(effect="x", label="X", above=0.0))
THEOREM = exact("p", Criterion(effect="x", label="X", above=0.0))
ONCE = existential("ex", Criterion(effect="x", label="X", above=0.0, share=0.25))


def condition(
    name: str,
    values: list[float],
    *,
    estimand: Estimand = PLAIN,
    confirmatory: bool = True,
    decision: Decision | None = None,
) -> ConditionResult:
    claim = Claim(id=name, statement="", section="", method="", estimands={"main": estimand})
    replicates = [Replicate(index=i, effects={"x": value}) for i, value in enumerate(values)]
    return ConditionResult(
        claim=claim,
        estimand="main",
        parameters={},
        confirmatory=confirmatory,
        decision=decision or decide(estimand, replicates),
        records={},
        command="",
    )


UNANIMOUS = 2 / 4096 / 0.2
HALF = [1.0, -1.0] * 24


def test_a_claims_p_is_that_of_its_weakest_condition() -> None:
    found = family(
        [
            condition("A1", [1.0] * 12),
            condition("A1", [1.0] * 20 + [-1.0] * 4),
            condition("A2", [-1.0] * 12),
            condition("A3", HALF),
            condition("A2", [1.0] * 12, confirmatory=False),
        ],
        whole=True,
    )
    assert found.p == pytest.approx({"A1": UNANIMOUS, "A2": UNANIMOUS, "A3": 1.0})
    split = family([condition("A1", [1.0] * 12), condition("A1", [-1.0] * 12)], whole=True)
    assert split.p == {"A1": 1.0}  # mixed: neither direction is shown of all conditions


def test_holm_over_the_claims_of_a_complete_run() -> None:
    ran = [condition(f"A{i}", [1.0] * 12) for i in range(3)] + [condition("A9", HALF)]
    found = family(ran, whole=True)
    assert found.complete
    assert not family(ran, whole=False).holm  # of a file alone, say
    expected = {f"A{i}": 4 * UNANIMOUS for i in range(3)} | {"A9": 1.0}
    assert found.holm == pytest.approx(expected)
    assert found.expected_wrong == pytest.approx(0.04)


def test_what_has_no_error_rate_stands_outside() -> None:
    wish = Decision(verdict=Verdict.NOT_TESTABLE, reason="a wish", n=0)
    found = family(
        [
            condition("P1", [1.0] * 12, estimand=THEOREM),
            condition("P2", [-1.0], estimand=THEOREM),
            condition("B6", [-1.0, 1.0], estimand=ONCE),
            condition("B7", [-1.0] * 24, estimand=ONCE),
            condition("H3", [], estimand=untestable("a wish"), decision=wish),
        ],
        whole=True,
    )
    assert found.p == pytest.approx({"B7": 2 * 0.75**24 / 0.3})
    assert found.complete
