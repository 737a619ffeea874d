"""Decoder settings refuse what cannot be run, with the value, the rule and a remedy."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SettingError, UnknownNameError
from harness.plan.decoders import (
    LBFGS,
    LOSSES,
    RETURNS,
    RULES,
    Adam,
    AnnealedLBFGS,
    Blur,
    Descent,
    GaussNewton,
    LinearSolve,
    Whitening,
)
from harness.plan.fields import SCHEDULES

EACH = pytest.mark.parametrize(
    "kind", [Descent, Adam, LBFGS, AnnealedLBFGS, GaussNewton, LinearSolve]
)

TAKEN: dict[type, set[type]] = {
    Descent: {Blur, Whitening},
    Adam: {Blur, Whitening},
    LBFGS: {Whitening},
    AnnealedLBFGS: set(),
    GaussNewton: set(),
    LinearSolve: set(),
}
"""The priors that each decoder takes."""


def refused(kind: type, **settings: Any) -> SettingError:
    """The error that some settings are refused with."""
    with pytest.raises(SettingError) as caught:
        kind(**settings)
    error = caught.value
    for part in (str(error.value), error.rule, error.remedy):
        assert part
        assert part in str(error)
    return error


@EACH
def test_names(kind: type) -> None:
    for setting, names in (("loss", LOSSES), ("returns", RETURNS)):
        with pytest.raises(UnknownNameError) as caught:
            kind(**{setting: "lats"})
        assert caught.value.value == "'lats'"
        for name in names:
            if (kind, name) != (GaussNewton, "l1"):
                assert getattr(kind(**{setting: name}), setting) == name
    with pytest.raises(UnknownNameError):
        kind(tolerance_of="start")


def test_names_of_the_descent_alone() -> None:
    for setting, names in (("schedule", SCHEDULES), ("rule", RULES)):
        with pytest.raises(UnknownNameError):
            Descent(**{setting: "decreasin"})
        assert [getattr(Descent(**{setting: name}), setting) for name in names] == [*names]


def test_gauss_newton_minimises_squares_alone() -> None:
    assert refused(GaussNewton, loss="l1").value == "l1"


@EACH
@given(tolerance=st.floats())
def test_a_tolerance_is_a_share_of_the_target_or_any_multiple_of_m_r(
    kind: type, tolerance: float
) -> None:
    for of, valid in (
        ("target", 0 <= tolerance < 1),
        ("noised", 0 <= tolerance < math.inf),
    ):
        if valid:
            assert kind(tolerance=tolerance, tolerance_of=of).tolerance == tolerance
        else:
            error = refused(kind, tolerance=tolerance, tolerance_of=of)
            assert error.value == f"tolerance={tolerance}"


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Blur, {"kernel": 4}),
        (Blur, {"kernel": -3}),
        (Blur, {"first": 0.0}),
        (Blur, {"last": math.nan}),
        (Whitening, {"exponent": 0.0}),
        (Descent, {"step": -0.1}),
        (Descent, {"factor": 0.0}),
        (Descent, {"minimum": -1e-4}),
        (Adam, {"rate": 0.0}),
        (Adam, {"beta1": 1.0}),
        (Adam, {"beta2": -0.1}),
        (LBFGS, {"history": 0}),
        (LBFGS, {"stationary": 1.0}),
        (AnnealedLBFGS, {"history": 0}),
        (AnnealedLBFGS, {"first": -0.1}),
        (AnnealedLBFGS, {"last": math.inf}),
        (AnnealedLBFGS, {"annealing": 0}),
        (GaussNewton, {"inner": 0}),
        (GaussNewton, {"damping": -1.0}),
        (GaussNewton, {"damping": 0.0}),
        (GaussNewton, {"stationary": math.nan}),
        (LinearSolve, {"rcond": -1e-3}),
        (LinearSolve, {"rcond": 1.0}),
    ],
)
def test_out_of_range(kind: type, settings: dict[str, Any]) -> None:
    refused(kind, **settings)


@EACH
@pytest.mark.parametrize("prior", [Blur(), Whitening()], ids=lambda prior: type(prior).__name__)
def test_each_decoder_takes_its_own_priors(kind: type, prior: Any) -> None:
    if type(prior) in TAKEN[kind]:
        assert kind(priors=(prior,)).prior(type(prior)) is prior
        assert kind().prior(type(prior)) is None
    else:
        assert refused(kind, priors=(prior,)).value == prior


@pytest.mark.parametrize("priors", [(Blur(), Blur(last=1.0)), (Blur(), Whitening())])
def test_priors_exclude_their_kind_and_each_other(priors: tuple[Any, ...]) -> None:
    assert refused(Descent, priors=priors).value == priors
