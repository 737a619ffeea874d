"""The evidence for a verdict, as the page shows it, and the reasons for the margins."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fixtures import PLAIN, condition, judged, make_claim, make_run, make_store

from harness.claim import (
    Claim,
    Criterion,
    Estimand,
    Kind,
    Scale,
    conjunction,
    equivalence,
    event,
    exact,
    existential,
)
from harness.plan.seeds import ReplicateSeeds, Source, seeding
from harness.statistics.clusters import Beyond
from harness.statistics.multiverse import Choice, multiverse
from reports.article import answers
from reports.documents.build import document
from reports.documents.read import run_of
from reports.documents.tables import replicates
from reports.figures import intervals
from reports.figures.records import Library
from reports.page.evidence import evidence
from reports.page.panels import multiverse_view
from reports.page.provenance import seeds_text
from reports.summary import summarise
from reports.words import quantity

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("parts", "bounds"),
    [
        # 12 of 12, 20 of 24 and 35 of 48 support; 0, 4 and 13 refute.
        (1, ("all support, none refutes", "20 or more support, 4 or fewer refute",
             "35 or more support, 13 or fewer refute")),
        # Refuting shares alpha: 4 of 24 has P = .00154, above .3 * .01 / 2.
        (2, ("all support, none refutes", "20 or more support, 3 or fewer refute",
             "35 or more support, 13 or fewer refute")),
    ],
)  # fmt: skip
def test_the_published_bounds_decide_at_each_look(parts: int, bounds: tuple[str, ...]) -> None:
    criteria = [Criterion(effect=name, label=name, above=0.25) for name in "xy"[:parts]]
    stated = conjunction("z", *criteria) if parts > 1 else event("z", *criteria)
    effect = itertools.cycle([1.0, 0.0])
    item = condition(
        make_claim("Z", "z", stated), {}, lambda _: dict.fromkeys("xy", next(effect)), n=48
    )
    assert tuple(decides for _, decides in evidence(item).looks) == bounds


def test_an_invalid_replicate_is_no_event_wherever_it_is_drawn(tmp_path: Path) -> None:
    falling = event("z", PLAIN, presupposes_descent=True)
    item = condition(
        make_claim("Z", "z", falling), {}, lambda _: {"x": 1.0}, n=12, descended=lambda k: k != 3
    )
    run = make_run([item])
    assert item.decision.parts[0].events == 11
    (read,) = run_of(document(summarise(run))).conditions
    assert read.decision.failed == item.decision.failed == (3,)
    drawn = intervals.replicates([read], falling.criteria)
    assert drawn is not None
    ((_, row),) = drawn[1]
    assert "11 of 12 replicates" in row.description
    table = replicates(summarise(run), Library(make_store(tmp_path)))
    assert [row["as_claimed"] for row in table.rows] == [k != 3 for k in range(12)]
    # An older document has how many are invalid, and not which.
    older = dataclasses.replace(read, decision=dataclasses.replace(read.decision, failed=()))
    table = replicates(summarise(make_run([older])), Library(make_store(tmp_path)))
    assert {row["as_claimed"] for row in table.rows} == {None}


def test_an_invalid_photograph() -> None:
    ratio = Criterion(effect="x", label="x", below=0.0, scale=Scale.LOG)
    means = {"cat": math.nan, "rocket": math.log(0.5)}
    item = condition(make_claim("Z", "z", event("z", ratio)), {}, lambda _: {"x": -1.0}, n=12)
    counted = Beyond(means=means, events=1, p_supported=1.0, p_refuted=1.0)
    found = evidence(dataclasses.replace(item, beyond=counted))
    assert found.photographs == (("cat", "invalid", False), ("rocket", "0.500", True))
    assert quantity(math.nan, Scale.LOG) == quantity(math.nan, Scale.LINEAR) == "not finite"


def test_the_seeds_can_be_drawn_again_with_numpy() -> None:
    stated: Any = seeding()
    sources, entropy = stated["sources"], stated["entropy"]
    sequence = np.random.SeedSequence(entropy, spawn_key=(stated["stream"], 7, sources["start"]))
    assert ReplicateSeeds(replicate=7).seed(Source.START) == int(
        sequence.generate_state(1, np.uint64)[0]
    )
    text = seeds_text(stated)
    assert f"SeedSequence({entropy}, spawn_key=(0, replicate, source))" in text
    assert "0 weights, 1 image, 2 start" in text


@pytest.mark.parametrize(
    ("judge", "place", "effect"), [(exact, 1, "0.500"), (existential, 0, "4.00")]
)
def test_one_replicate_settles_a_claim(
    judge: Callable[[str, Criterion], Estimand], place: int, effect: str
) -> None:
    ratio = Criterion(effect="x", label="m_g / m_r", above=math.log(2), scale=Scale.LOG)
    item = judged(judge("z", ratio), [math.log(4), -math.log(2)] * 6)
    found = evidence(item).case
    assert found is not None
    assert found.effects == (("m_g / m_r", effect),)
    assert place in (item.decision.counterexample, item.decision.witness)


def test_a_multiverse_is_drawn_against_the_margin_of_its_own_effect() -> None:
    early = Criterion(effect="early", label="m_g / m_r", above=0.2, scale=Scale.LOG)
    other = Criterion(effect="r", label="m_i(T) / m_i(0)", above=0.9)
    choices = [
        Choice(factors={"step": str(k)}, verdict="supported", effect=k / 10) for k in range(5)
    ]
    drawn = multiverse_view(multiverse(choices), conjunction("z", early, other))
    assert drawn.effect == "m_g / m_r"
    assert [label for _, label in drawn.curve.y_ticks] == ["1.00", "1.49"]  # e^0 and e^0.4
    (margin,) = drawn.curve.strokes
    assert margin.path == f"M0 {drawn.curve.marks[2].y}H100"
    within = equivalence("z", effect="x", label="x", centre=0.2, margin=0.1)
    assert len(multiverse_view(multiverse(choices), within).curve.strokes) == 2


@pytest.mark.parametrize(
    ("n", "stop"),
    [
        (4, "4 replicates: too few for a look"),
        (12, "12 replicates, look 1: open"),
        (48, "48 replicates, look 3: undecided"),
    ],
)
def test_a_condition_has_how_it_ended(n: int, stop: str) -> None:
    assert evidence(judged(event("z", PLAIN), [0.1, 0.9] * (n // 2))).stop.startswith(stop)


WITHOUT_NUMBER = {0.0, 0.5, 1.0, 1.5, 100.0}
"""Margins that their reasons need not state as a number, as that of a count or of rounding."""


def test_every_testable_claim_has_the_reasons_for_its_margins() -> None:
    from claims.plugin.registry import all_claims

    for claim in all_claims(ROOT, planned=()):
        if all(each.kind is Kind.UNTESTABLE for each in claim.estimands.values()):
            continue
        stated, margins = _numbers(answers()[claim.id].margin), _margins(claim)
        for ways in stated:
            assert any(math.isclose(way, margin) for way in ways for margin in margins), claim.id
        for margin in margins - WITHOUT_NUMBER:
            assert any(math.isclose(way, margin) for ways in stated for way in ways), claim.id


def _margins(claim: Claim) -> set[float]:
    """Distances of a claim's margins from no effect, or from the middle of an equivalence."""
    found: set[float] = set()
    for estimand in claim.estimands.values():
        margins = [criterion.margin for criterion in estimand.criteria]
        if estimand.kind is Kind.EQUIVALENCE:
            middle = sum(margins) / 2
            margins = [round(margin - middle, 12) for margin in margins]
        found |= {abs(margin) for margin in margins}
        found |= {criterion.share for criterion in estimand.criteria} - {0.5}
    return found


def _numbers(text: str) -> list[tuple[float, ...]]:
    """The numerals in a text, each with its possible values on the scale of an effect."""
    found: list[tuple[float, ...]] = []
    for logarithm, digits, percent in re.findall(r"(ln )?(?<![\w.])(\d+(?:\.\d+)?)( %)?", text):
        value = float(digits)
        if logarithm:
            found.append((math.log(value),))
        elif percent:
            found.append((value / 100, math.log1p(value / 100)))
        else:
            found.append((value, abs(math.log(value))))
    return found
