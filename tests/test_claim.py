"""Claims as values: what is refused, and what their digest freezes."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from harness.claim import (
    LOOKS,
    Claim,
    Criterion,
    Estimand,
    Scale,
    conjunction,
    equivalence,
    event,
    freeze,
    trend,
)
from harness.errors import ClaimError
from harness.plan.seeds import ReplicateSeeds, Source, Stream

PLAIN = Criterion(effect="x", label="X", above=0.0)
DIGEST = "6295e0bf1fb9949c72fb1a9960689b32315b09620167d69cd839744e64355540"


def claim(estimand: Estimand, **changes: object) -> Claim:
    settings = {"id": "Z1", "statement": "So it is.", "section": "A", "method": "None."}
    return Claim(**(settings | {"estimands": {"main": estimand}} | changes))  # type: ignore[arg-type]


def test_the_sides_of_an_equivalence_hold_between_them() -> None:
    upper, lower = equivalence("q", effect="x", label="X", centre=2.0, margin=0.1).criteria
    inside = [1.95, 2.0, 2.05]
    assert all(upper.holds(value) and lower.holds(value) for value in inside)
    for value in (2.1, 1.9, 3.0, 0.0):
        assert not (upper.holds(value) and lower.holds(value))


@pytest.mark.parametrize("share", [0.1, 0.24, 0.76, 0.9])
def test_an_odd_share_needs_looks_of_its_own(share: float) -> None:
    estimand = event("p", dataclasses.replace(PLAIN, share=share))
    with pytest.raises(ClaimError, match="usual looks decide against shares"):
        claim(estimand)
    assert claim(estimand, looks=((60, 0.4), (120, 0.6))).looks[0][0] == 60


@pytest.mark.parametrize(
    "changed",
    [
        claim(event("s", dataclasses.replace(PLAIN, above=0.1))),
        claim(event("s", Criterion(effect="x", label="X", below=0.0))),
        claim(event("s", dataclasses.replace(PLAIN, share=0.4))),
        claim(event("s", dataclasses.replace(PLAIN, scale=Scale.LOG))),
        claim(event("s", dataclasses.replace(PLAIN, null=0.0))),
        claim(event("s", dataclasses.replace(PLAIN, effect="y"))),
        claim(event("s", PLAIN, presupposes_descent=True)),
        claim(trend("s", PLAIN)),
        claim(conjunction("s", PLAIN, PLAIN)),
        claim(event("s", PLAIN), alpha=0.02),
        claim(event("s", PLAIN), looks=LOOKS[:2]),
        claim(event("s", PLAIN), headline="width"),
        claim(event("s", PLAIN), statement="So it is not."),
        claim(event("s", PLAIN), method="Another."),
    ],
)
def test_whatever_can_move_a_verdict_is_frozen(changed: Claim) -> None:
    assert changed.digest != claim(event("s", PLAIN)).digest


def test_the_digest_of_a_claim_does_not_drift() -> None:
    """Locks name it: a new field, or another spelling, would drop every one of them."""
    assert claim(event("s", PLAIN)).digest == DIGEST
    assert freeze([claim(event("s", PLAIN))]) == DIGEST


def test_seeds_of_pilots_and_controls_are_no_seeds_of_claims() -> None:
    seeds = [
        ReplicateSeeds(replicate=replicate, stream=stream).seed(source)
        for stream, replicate, source in itertools.product(Stream, range(100), Source)
    ]
    assert len(set(seeds)) == len(seeds)
