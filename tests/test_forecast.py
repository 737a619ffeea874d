"""The forecast of each condition, and of all of them together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from report_fixtures import make_claim

from claims.plugin.forecast import forecast
from harness.claim import Criterion, event, untestable
from harness.lab.condition import Condition
from harness.plan.cells import Cell, LocalRank
from harness.plan.identity import context, identity
from harness.plan.images import Images
from harness.plan.networks import MLP
from harness.plan.seeds import ReplicateSeeds, replicates

CLAIM = make_claim(
    "Z1", "It is so.", event("r is below 2.", Criterion(effect="r", label="r", below=2.0))
)


def rank(seeds: ReplicateSeeds) -> Mapping[str, Cell]:
    images = Images(pixels=2, source="dead-leaves")
    return {"rank": LocalRank(seeds=seeds, network=MLP(inputs=12, widths=(8,)), images=images)}


CONDITION = Condition(
    claim=CLAIM,
    estimand="main",
    parameters={"depth": 2},
    cells=rank,
    effects=lambda _: {"r": 1.0},
    gallery={},
    tables=lambda _: (),
    confirmatory=True,
    max_replicates=24,
)


def lines(*conditions: Condition, stored: frozenset[str] = frozenset()) -> dict[str, str]:
    text = forecast(conditions, stored=stored.__contains__, device="cpu")
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def test_what_two_conditions_share_is_counted_once() -> None:
    found = lines(CONDITION, dataclasses.replace(CONDITION, parameters={"depth": 3}))
    assert (
        found["Z1 depth 2"]
        == found["Z1 depth 3"]
        == found["in all, cells that several ask for counted once"]
    )
    assert found["Z1 depth 2"].startswith("12 cells, about ")
    assert ", at most 24 cells, about " in found["Z1 depth 2"]


def test_what_is_stored_is_not_measured_again() -> None:
    settings = context(device="cpu")
    first, all_looks = (
        frozenset(identity(rank(seeds)["rank"], context=settings) for seeds in replicates(count))
        for count in (12, 24)
    )
    found = lines(CONDITION, stored=first)["Z1 depth 2"]
    assert found.startswith("nothing for the first look, at most 12 cells, about ")
    assert lines(CONDITION, stored=all_looks)["Z1 depth 2"] == "nothing"


def test_what_decides_nothing_is_marked() -> None:
    assert set(lines(dataclasses.replace(CONDITION, confirmatory=False))) == {
        "Z1 depth 2 (exploratory)",
        "in all, cells that several ask for counted once",
    }


def test_conditions_that_cannot_be_measured_are_listed_by_their_reason() -> None:
    wish = dataclasses.replace(
        CONDITION,
        claim=dataclasses.replace(CLAIM, id="Z2", estimands={"main": untestable("it is a wish")}),
        parameters={},
    )
    bare = [
        dataclasses.replace(
            CONDITION, parameters={"depth": depth}, skip_reason="weights are missing"
        )
        for depth in (4, 5)
    ]
    found = lines(wish, *bare)
    assert found["not testable"] == "Z2"
    assert found["not run (weights are missing)"] == "Z1 depth 4, Z1 depth 5"
    assert found["in all, cells that several ask for counted once"] == "nothing"
