"""Settings refuse what cannot be measured, with the value, the rule and a remedy."""

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
    Blur,
    Box,
    Descent,
    GaussNewton,
    Jitter,
    LinearSolve,
    NetworkPrior,
    TotalVariation,
)
from harness.plan.fields import SCHEDULES

DECODERS = (Descent, Adam, LBFGS, GaussNewton, LinearSolve)
SMOOTH = TotalVariation(weight=0.1)
PRIORS = (Blur(), Box(), Jitter(), NetworkPrior(), SMOOTH)

TAKEN = {
    Descent: {Blur, Box, Jitter, NetworkPrior, TotalVariation},
    Adam: {Blur, Box, Jitter, NetworkPrior, TotalVariation},
    LBFGS: {NetworkPrior, TotalVariation},
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
    assert error.remedy[0].isupper()
    return error


class TestNames:
    @pytest.mark.parametrize("kind", DECODERS)
    def test_losses_and_what_is_kept(self, kind: type) -> None:
        with pytest.raises(UnknownNameError, match=r"'l3': no such loss. Choose .*l1"):
            kind(loss="l3")
        with pytest.raises(UnknownNameError, match=r"'bets': no such image to keep. Choose best"):
            kind(returns="bets")
        for returns in RETURNS:
            assert kind(returns=returns).returns == returns

    def test_names_of_one_decoder_alone(self) -> None:
        with pytest.raises(UnknownNameError, match=r"'decreasin': no such schedule.*decreasing"):
            Descent(schedule="decreasin")
        with pytest.raises(UnknownNameError, match=r"'polyack': no such rule.*polyak"):
            Descent(rule="polyack")

    def test_all_that_are_known_are_taken(self) -> None:
        for loss in LOSSES:
            assert {kind(loss=loss).loss for kind in (Descent, Adam, LBFGS)} == {loss}
        assert [Descent(rule=rule).rule for rule in RULES] == [*RULES]
        assert [Descent(schedule=name).schedule for name in SCHEDULES] == [*SCHEDULES]

    def test_squares_alone_have_no_absolute_differences(self) -> None:
        assert "l2" in refused(GaussNewton, loss="l1").remedy


class TestNumbers:
    @pytest.mark.parametrize("kind", DECODERS)
    def test_a_tolerance_of_the_noised_distance_may_exceed_it(self, kind: type) -> None:
        assert kind(tolerance=2.0, tolerance_of="noised").tolerance == 2
        for wrong in ({"tolerance": 2.0}, {"tolerance": math.inf, "tolerance_of": "noised"}):
            with pytest.raises(SettingError, match="any of m_r"):
                kind(**wrong)
        with pytest.raises(UnknownNameError, match="reference of a tolerance"):
            kind(tolerance_of="start")

    @pytest.mark.parametrize("kind", DECODERS)
    @given(tolerance=st.floats().filter(lambda number: not 0 <= number < 1))
    def test_a_tolerance_is_a_share(self, kind: type, tolerance: float) -> None:
        assert f"tolerance={tolerance}" in str(refused(kind, tolerance=tolerance))

    @given(tolerance=st.floats(0, 1, exclude_max=True))
    def test_every_share_is_taken(self, tolerance: float) -> None:
        assert LBFGS(tolerance=tolerance).tolerance == tolerance

    @pytest.mark.parametrize(
        ("kind", "settings"),
        [
            (Blur, {"kernel": 4}),
            (Blur, {"kernel": -3}),
            (Blur, {"first": 0.0}),
            (Blur, {"last": math.nan}),
            (Box, {"low": 1.0, "high": 0.0}),
            (Box, {"low": 1.0}),
            (Box, {"high": math.nan}),
            (TotalVariation, {"weight": -1.0}),
            (TotalVariation, {"weight": 1.0, "smoothing": 0.0}),
            (Jitter, {"pixels": 0}),
            (Jitter, {"pixels": -2}),
            (NetworkPrior, {"channels": 0}),
            (NetworkPrior, {"depth": -1}),
            (Descent, {"step": -0.1}),
            (Descent, {"factor": 0.0}),
            (Descent, {"minimum": -1e-4}),
            (Adam, {"rate": 0.0}),
            (Adam, {"beta1": 1.0}),
            (Adam, {"beta2": -0.1}),
            (LBFGS, {"history": 0}),
            (LBFGS, {"stationary": 1.0}),
            (GaussNewton, {"inner": 0}),
            (GaussNewton, {"damping": -1.0}),
            (GaussNewton, {"damping": 0.0}),
            (GaussNewton, {"stationary": math.nan}),
            (LinearSolve, {"rcond": -1e-3}),
            (LinearSolve, {"rcond": 1.0}),
        ],
    )
    def test_out_of_range(self, kind: type, settings: dict[str, Any]) -> None:
        refused(kind, **settings)


class TestPriors:
    @pytest.mark.parametrize("kind", DECODERS)
    @pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)
    def test_each_decoder_takes_its_own(self, kind: type, prior: Any) -> None:
        if type(prior) in TAKEN[kind]:
            assert kind(priors=(prior,)).prior(type(prior)) is prior
        else:
            error = refused(kind, priors=(prior,))
            assert error.value == prior
            assert kind.__name__ in error.rule

    def test_one_of_each_kind(self) -> None:
        for first, second in ((Blur(), Blur(last=1.0)), (SMOOTH, TotalVariation(weight=2.0))):
            assert "one prior of a kind" in refused(Descent, priors=(first, second)).rule

    @pytest.mark.parametrize("kind", [Descent, Adam])
    @pytest.mark.parametrize("other", [Blur(), Box()], ids=["blur", "box"])
    def test_what_acts_on_images_excludes_what_moves_weights(self, kind: type, other: Any) -> None:
        for priors in ((other, NetworkPrior()), (NetworkPrior(), Jitter(), other)):
            assert "network prior" in refused(kind, priors=priors).remedy

    def test_the_others_compose(self) -> None:
        decoder = Adam(priors=(NetworkPrior(), Jitter(), SMOOTH))
        assert decoder.prior(TotalVariation) is SMOOTH
        assert decoder.prior(Jitter) == Jitter()
        assert decoder.prior(Box) is None
        assert Descent(priors=(Blur(), Box(), Jitter(), SMOOTH)).prior(Box) == Box()
