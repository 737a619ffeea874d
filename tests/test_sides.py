"""Which conditions of a claim go which way, named by what distinguishes them."""

from __future__ import annotations

import pytest
from report_fixtures import Parameters, condition, make_claim

from harness.claim import Criterion, event
from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Decision, Verdict
from reports.page.split_conditions import sides_text

JUDGED = event("z", Criterion(effect="x", label="x", above=0.0))
CLAIM = make_claim("Z", "z", {"rest": JUDGED, "null space": JUDGED})
WORDS = {"+": Verdict.SUPPORTED, "-": Verdict.REFUTED, "?": Verdict.INCONCLUSIVE}


def judged(parameters: Parameters, mark: str, estimand: str = "rest") -> ConditionResult:
    decision = Decision(verdict=WORDS[mark], reason="", n=12, final=True)
    return condition(CLAIM, parameters, lambda _: {}, n=0, estimand=estimand, decision=decision)


def crossed(marks: str) -> list[ConditionResult]:
    """Two networks by three layers."""
    places = [(network, layer) for network in ("a", "b") for layer in ("one", "two", "three")]
    return [
        judged({"network": network, "layer": layer}, mark)
        for (network, layer), mark in zip(places, marks, strict=True)
    ]


@pytest.mark.parametrize(
    ("marks", "text"),
    [
        ("++++++", ""),
        ("+-?+-?", "supported: one; refuted: two; inconclusive: three"),
        ("+++---", "supported: a; refuted: b"),
        ("-+++++", "supported: a · two, a · three, b · one, b · two, 1 more; refuted: a · one"),
    ],
)
def test_conditions_are_named_by_what_distinguishes_them(marks: str, text: str) -> None:
    assert sides_text(crossed(marks)) == text


def test_conditions_without_parameters_have_the_name_of_their_estimand() -> None:
    found = [
        judged({"operation": "max-pool"}, "+", "null space"),
        judged({"operation": "projection"}, "+", "null space"),
        judged({}, "-", "rest"),
    ]
    assert sides_text(found) == "supported: max-pool, projection; refuted: rest"
    assert sides_text([judged({}, "+", "null space"), judged({}, "?", "rest")]) == (
        "supported: null space; inconclusive: rest"
    )
