"""The page of findings: generated from the lock, whole, and up to date."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

from claims.findings import INSTEAD, LOCK, findings, page
from claims.plugin.registry import all_claims
from harness.claim import Claim, Criterion, Scale, event
from harness.verdict.lock import Entry, Lock, Locked, read_lock
from harness.verdict.verdict import Verdict

ROOT = Path(__file__).resolve().parents[1]


def test_a_formula_of_the_article_is_plain_text() -> None:
    text = findings("quick")
    assert "gradient ∇_a O(a, θ) are little changed" in " ".join(text.split())
    assert "$" not in text
    assert "\\" not in text


def claim(statement: str = "It is so.") -> Claim:
    return Claim(
        id="Z1",
        statement=statement,
        section="A section",
        method="None.",
        estimands={
            "x": event(
                "x is above.", Criterion(effect="x", label="a / b", above=0.0, scale=Scale.LOG)
            )
        },
    )


def entry(verdict: str, *, of: Claim, **limits: float) -> Entry:
    return Entry(verdict=Verdict(verdict), claim=of.digest, effects={"x": Locked(**limits)})


def test_a_condition_has_verdict_effect_interval_and_replicates() -> None:
    stated = claim()
    locked = dataclasses.replace(
        entry("supported", of=stated, value=0.693147, low=0.405465, high=1.098612), n=24
    )
    lock = Lock(profiles={"quick": {"Z1 network=resnet18 size=3": locked}})
    text = page([stated], lock, {}, profile="quick")
    assert "### Z1 ✓ supported" in text
    assert "- ✓ network resnet18, size 3: supported, a / b 2.00× [1.50, 3.00]; n = 24" in text
    assert "1 supported" in text


def test_what_another_profile_or_a_former_claim_found_is_not_shown() -> None:
    stated = claim()
    former = entry("supported", of=claim("It was so."), value=1.0)
    lock = Lock(
        profiles={
            "quick": {"Z1 a=1": former},
            "standard": {"Z1 a=2": entry("refuted", of=stated, value=1.0)},
        }
    )
    text = page([stated], lock, {}, profile="quick")
    assert "### Z1 - not run" in text
    assert "Not measured in this profile." in text


def test_one_supported_and_one_refuted_condition_are_mixed_and_say_what_is_true() -> None:
    stated = claim()
    lock = Lock(
        profiles={
            "quick": {
                "Z1 a=1": entry("supported", of=stated, value=1.0),
                "Z1 a=2": entry("refuted", of=stated, value=-1.0),
            }
        }
    )
    text = page([stated], lock, {"Z1": "Only at 1."}, profile="quick")
    assert "### Z1 ◐ mixed" in text
    assert "**What is true instead.** Only at 1." in text


def test_every_refutation_says_what_is_true_instead() -> None:
    lock, instead = read_lock(LOCK), tomllib.loads(INSTEAD.read_text("utf-8"))
    refuted = set()
    for stated in all_claims(ROOT, planned=()):
        own = [each for each in lock.profiles["quick"].values() if each.claim == stated.digest]
        if any(each.verdict is Verdict.REFUTED for each in own):
            refuted.add(stated.id)
    assert refuted <= set(instead) <= {stated.id for stated in all_claims(ROOT, planned=())}


def test_a_remark_on_a_supported_claim_is_not_called_its_opposite() -> None:
    stated = claim("Z1")
    lock = Lock(profiles={"quick": {"Z1": Entry(verdict=Verdict.SUPPORTED, claim=stated.digest)}})
    text = page([stated], lock, {"Z1": "Only at 1."}, profile="quick")
    assert "**Remark.** Only at 1." in text


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "findings.md").read_text("utf-8")
    assert written == findings("quick"), "run: python -m claims.findings > docs/findings.md"
