"""What the claims are made of: effects with known answers, and claims that are well formed."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from stated_claims import stated_conditions

import claims
from claims.decoders import resnet_decoder
from claims.effects import exponential_fit, log_ratio, power_fit, ratio, rise
from claims.plugin.registry import all_claims
from harness.claim import HEADLINES, LN_11, LOOKS, Kind, freeze
from harness.errors import ClaimError
from harness.plan.decoders import Descent
from harness.plan.profile import PROFILES, Profile
from harness.store import Record
from harness.verdict.lock import condition_key, read_lock

CLAIMS = {
    "A": "1 2 3",
    "B": "1 2 3 4 5 6 7 8 8b 9 10",
    "C": "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "D": "1 2 3 4 5",
    "E": "1 2 3 4 5 6 7 8",
    "F": "1 2 3 4 5 6 7 8",
    "G": "1 2 3 4 5 6",
    "H": "1 2 3",
}
"""The article's claims, by section."""

ROOT = Path(__file__).resolve().parents[1]
LOCK = read_lock(ROOT / "claims" / "verdicts.toml")


def record(**values: float) -> Record:
    return Record(id="0" * 64, cell={}, values=values, outcome="plateau", seconds=0.0)


def test_log_ratio_is_infinite_or_nan_where_a_distance_is_not_positive() -> None:
    assert log_ratio(math.e, 1.0) == pytest.approx(1.0)
    assert log_ratio(1.0, 0.0) == math.inf
    assert log_ratio(0.0, 1.0) == -math.inf
    assert math.isnan(log_ratio(0.0, 0.0))
    assert math.isnan(log_ratio(math.nan, 1.0))
    assert ratio(1.0, 0.0) == math.inf
    assert math.isnan(ratio(0.0, 0.0))


def test_a_rise_counts_where_the_output_distance_halved_alone() -> None:
    fell = record(m_i=2.0, m_i0=1.0, m_g=0.5, m_g0=1.0)
    stayed = record(m_i=2.0, m_i0=1.0, m_g=0.51, m_g0=1.0)
    shrank = record(m_i=0.5, m_i0=1.0, m_g=0.9, m_g0=1.0)
    assert rise(fell) == pytest.approx(math.log(2))
    assert rise(stayed) == 0.0
    assert rise(shrank) == pytest.approx(-math.log(2))


def test_fits_tell_an_exponential_from_a_power_law() -> None:
    lengths = [1_000, 3_000, 10_000, 30_000, 100_000]
    exponential = [math.exp(-length / 20_000) for length in lengths]
    power = [length**-0.7 for length in lengths]
    assert exponential_fit(lengths, exponential) == pytest.approx(1.0)
    assert exponential_fit(lengths, power) < 0.8
    assert power_fit(lengths, power) == pytest.approx(-0.7)
    assert exponential_fit(lengths, exponential[::-1]) == 0.0  # it grows
    assert math.isnan(exponential_fit(lengths, [*exponential[1:], math.nan]))


def test_every_claim_has_the_alpha_and_looks_of_the_design_and_a_known_headline() -> None:
    found = all_claims(ROOT, planned=())
    expected = [letter + number for letter, row in CLAIMS.items() for number in row.split()]
    assert sorted(claim.id for claim in found) == sorted(expected)
    for claim in found:
        assert (claim.alpha, claim.looks) == (0.01, LOOKS)
    deciding = {claim.headline for claim in found if claim.headline}
    assert deciding == set(HEADLINES)


def test_what_is_said_of_several_at_once_has_no_value_of_no_effect() -> None:
    joint = {
        claim.id
        for claim in all_claims(ROOT, planned=())
        for estimand in claim.estimands.values()
        if any(criterion.joint for criterion in estimand.criteria)
    }
    assert joint == {"B10", "C11", "G3"}


def test_what_no_measurement_could_contradict_is_listed_with_a_reason() -> None:
    kinds = {
        claim.id: [estimand.kind for estimand in claim.estimands.values()]
        for claim in all_claims(ROOT, planned=())
    }
    assert [key for key, found in kinds.items() if Kind.UNTESTABLE in found] == ["F8", "H3"]
    assert kinds["F8"] == kinds["H3"] == [Kind.UNTESTABLE]


@pytest.mark.parametrize("profile", LOCK.profiles)
def test_every_locked_condition_is_one_of_a_claim_as_it_is_now(profile: str) -> None:
    stated = {
        condition_key(
            each.claim.id,
            each.parameters,
            estimand=each.estimand if len(each.claim.estimands) > 1 else None,
        ): each.claim.digest
        for each in stated_conditions(profile)
        if each.confirmatory
    }
    locked = {key: entry.claim for key, entry in LOCK.profiles[profile].items()}
    gone = sorted(locked.keys() - stated.keys())
    changed = sorted(key for key in locked.keys() & stated.keys() if locked[key] != stated[key])
    assert not gone, "no claim has them"
    assert not changed, "their claims have changed; lock them anew with --update-verdicts"


@pytest.mark.parametrize(
    "text", ["1 / 0", "1 +", "import pytest\npytest.skip(allow_module_level=True)"]
)
def test_a_file_of_claims_that_is_broken_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_broken.py").write_text(text)
    monkeypatch.setattr(claims, "__path__", [*claims.__path__, str(tmp_path)])
    with pytest.raises(ClaimError, match=r"claims/test_broken\.py: the file cannot be imported"):
        all_claims(ROOT, planned=())


def test_every_claim_has_its_place_in_the_article_which_moves_no_verdict() -> None:
    for claim in all_claims(ROOT, planned=()):
        assert len(claim.source) > 20, claim.id
        moved = dataclasses.replace(claim, source="Elsewhere.")
        assert moved.digest == claim.digest
        assert dataclasses.replace(claim, method="Otherwise.").digest != claim.digest


def test_no_slope_is_the_absence_of_every_trend() -> None:
    trends = [
        criterion
        for claim in all_claims(ROOT, planned=())
        for estimand in claim.estimands.values()
        if estimand.kind is Kind.TREND
        for criterion in estimand.criteria
    ]
    assert len(trends) > 4
    assert {criterion.null for criterion in trends} == {0.0}


def test_the_digest_of_the_claims_depends_on_a_margin() -> None:
    stated = all_claims(ROOT, planned=())
    assert pytest.approx(math.log(1.1), rel=1e-15) == LN_11
    assert freeze(stated) == freeze(reversed(stated))
    assert freeze(stated) != freeze(stated[1:])


@pytest.mark.parametrize("name", PROFILES)
def test_the_falling_step_is_a_share_of_the_nominal_one(name: str) -> None:
    nominal = resnet_decoder("article-nominal", Profile(name))
    falling = resnet_decoder("article-falling", Profile(name))
    assert isinstance(nominal, Descent)
    assert isinstance(falling, Descent)
    assert nominal.step == 0.1
    assert falling.step < nominal.step
    assert nominal.priors == falling.priors == ()


def test_a_decoder_without_a_name_here_is_refused() -> None:
    with pytest.raises(ValueError, match="gradient-free"):
        resnet_decoder("gradient-free", Profile("quick"))
