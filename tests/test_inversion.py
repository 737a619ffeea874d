"""Whole inversions by every decoder: ends, independent samples, restarts, and their own report."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import (
    DECODERS,
    EVERY,
    SAMPLES,
    convolutions,
    encoder_for,
    normal,
    one_thread,  # noqa: F401  (a fixture for all)
    run_case,
)
from torch import Tensor, nn

from harness.encoders.encoder import AffineEncoder, Encoder, ModuleEncoder
from harness.errors import SettingError
from harness.inversion.method import TerminationReason
from harness.inversion.outcome import Outcome, classify
from harness.inversion.recover import Reconstructions, recover
from harness.plan.decoders import LBFGS, Adam, Decoder, Descent, GaussNewton, LinearSolve

NAN, INF = float("nan"), float("inf")


def outcome(
    first: float,
    late: float,
    last: float,
    *,
    m_g: float = 2.0,
    m_r: float = 1.0,
    moved: bool = True,
    finite: bool = True,
) -> Outcome:
    """Of one sample whose loss was first, late and last."""
    (found,) = classify(
        first=torch.tensor([first], dtype=torch.float64),
        late=torch.tensor([late], dtype=torch.float64),
        last=torch.tensor([last], dtype=torch.float64),
        m_g=torch.tensor([m_g], dtype=torch.float64),
        m_r=torch.tensor([m_r], dtype=torch.float64),
        moved=torch.tensor([moved]),
        finite=torch.tensor([finite]),
    )
    return found


class TestClassify:
    @pytest.mark.parametrize(
        ("losses", "m_g", "expected"),
        [
            ((10, 5, 4), 0.5, Outcome.MATCHED),
            ((10, 5, 4), 2.0, Outcome.UNFINISHED),
            ((10, 5, 4.9), 2.0, Outcome.UNFINISHED),
            ((10, 5, 4.96), 2.0, Outcome.PLATEAU),
            ((10, 5, 5), 2.0, Outcome.PLATEAU),
            ((10, 5, 6), 2.0, Outcome.PLATEAU),  # rose late, still below the start
            ((10, 10, 10), 2.0, Outcome.PLATEAU),
            ((10, 5, 10.5), 2.0, Outcome.DIVERGED),
            ((10, 5, 10.5), 0.5, Outcome.DIVERGED),  # however near the output
            ((10, 5, INF), INF, Outcome.DIVERGED),
            ((10, 5, 4), 1.0, Outcome.UNFINISHED),  # as near as the noised image is not nearer
            ((0, 0, 0), 0.0, Outcome.MATCHED),
        ],
    )
    def test_each_end(
        self, losses: tuple[float, float, float], m_g: float, expected: Outcome
    ) -> None:
        assert outcome(*losses, m_g=m_g) is expected

    def test_a_loss_of_zero_without_a_reference_lies_on_a_plateau(self) -> None:
        # Without noise m_r is 0, and nothing is nearer than that.
        assert outcome(10, 0, 0, m_g=0.0, m_r=0.0) is Outcome.PLATEAU

    @given(losses=st.tuples(*[st.floats()] * 3), m_g=st.floats(), m_r=st.floats())
    def test_what_is_not_finite_is_so_whatever_else(
        self, losses: tuple[float, float, float], m_g: float, m_r: float
    ) -> None:
        assert outcome(*losses, m_g=m_g, m_r=m_r, finite=False) is Outcome.NON_FINITE
        assert outcome(*losses, m_g=m_g, m_r=m_r) in Outcome


def test_a_tolerance_of_m_r_ends_samples_as_near_as_the_noised_image() -> None:
    encoder = stretch(1.0, 3.0)
    original = torch.linspace(0.1, 0.9, 4, dtype=torch.float64).expand(2, 4)
    noised = original + torch.tensor([[0.01], [0.05]], dtype=torch.float64)
    for share in (1.0, 2.0):
        found = recover(
            encoder,
            original,
            start=torch.full((4, 4), 0.5, dtype=torch.float64),
            noised=noised,
            decoder=Descent(
                loss="l2",
                rule="polyak",
                step=0.1,
                factor=1.0,
                returns="best",
                tolerance=share,
                tolerance_of="noised",
            ),
            iterations=400,
        )
        near = found.m_g / found.m_r
        assert bool((near <= share).all())
        # A step takes a twentieth of the distance: none went much beyond.
        assert bool((near > 0.9 * share).all())
        assert set(found.reasons) == {TerminationReason.TOLERANCE}


def stretch(*scales: float) -> AffineEncoder:
    """Samples that are each stretched by a number."""
    matrix = torch.stack([torch.eye(4, dtype=torch.float64) * scale for scale in scales])
    return AffineEncoder(matrix, torch.zeros(len(scales), 4, dtype=torch.float64))


def run(encoder: AffineEncoder, decoder: Decoder, *, iterations: int) -> Reconstructions:
    """Towards a ramp, from a constant."""
    shape = encoder.offset.shape
    original = torch.linspace(0.1, 0.9, 4, dtype=torch.float64).expand(shape)
    return recover(
        encoder,
        original,
        start=torch.full(shape, 0.7, dtype=torch.float64),
        noised=original + 0.04,
        decoder=decoder,
        iterations=iterations,
    )


# Decoders that fit a network of vectors, each with a step that suits singular values near 1.
SOLVERS: dict[str, Decoder] = {
    "descent": Descent(loss="l2", step=0.8, factor=1.0),
    "descent, l1": Descent(step=0.1, factor=1.0, schedule="decreasing", returns="best"),
    "polyak": Descent(loss="l2", rule="polyak", step=1.0, factor=1.0),
    "polyak, l1": Descent(rule="polyak", step=1.0, factor=1.0, returns="best"),
    "normalised": Descent(
        loss="l2", rule="normalised", schedule="decreasing", step=0.1, factor=1.0, returns="best"
    ),
    "adam": Adam(rate=0.1),
    "adam, l1": Adam(rate=0.1, loss="l1"),
    "adam, last": Adam(rate=0.1, returns="last"),
    "lbfgs": LBFGS(),
    "gauss-newton": GaussNewton(),
    "gauss-newton, last": GaussNewton(inner=3, returns="last"),
    "linear": LinearSolve(),
}

each = pytest.mark.parametrize("decoder", SOLVERS.values(), ids=SOLVERS.keys())


class Dead(nn.Module):
    """Units that are off at every start, so that there is no gradient."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu(inputs - 5) + 1


class TestEnds:
    @each
    def test_each_decoder_solves_what_it_must_and_says_so(self, decoder: Decoder) -> None:
        # Singular values from 0.8 to 1.2: every method converges, at a rate known from theory.
        rotation = torch.linalg.qr(normal(3, 8, 8, seed=1)).Q
        values = torch.linspace(0.8, 1.2, 8, dtype=torch.float64)
        encoder = AffineEncoder(rotation * values, normal(3, 8, seed=2))
        original, start = normal(3, 8, seed=3), normal(3, 8, seed=4)
        for tolerance, reason in ((0.01, TerminationReason.TOLERANCE), (0.0, None)):
            found = recover(
                encoder,
                original,
                start=start,
                noised=original + 0.1,
                decoder=dataclasses.replace(decoder, tolerance=tolerance),
                iterations=400,
            )
            assert set(found.outcomes) == {Outcome.MATCHED}
            if reason is not None:
                assert set(found.reasons) == {reason}
                assert int(found.at.max()) < 400
            assert bool((found.m_g <= 0.01 * found.scale).all())
            assert bool((found.m_i <= 0.02 * original.norm(dim=1) / 0.8).all())

    @pytest.mark.parametrize(
        "name", [name for name, decoder in SOLVERS.items() if not isinstance(decoder, LinearSolve)]
    )
    def test_each_decoder_reports_that_it_cannot(self, name: str) -> None:
        original, start = 6 + normal(2, 5, seed=1).abs(), normal(2, 5, seed=2).clamp_max(4)
        found = recover(
            ModuleEncoder(Dead()),
            original,
            start=start,
            noised=original + 0.01,
            decoder=dataclasses.replace(SOLVERS[name], tolerance=0.1, priors=()),
            iterations=60,
        )
        assert set(found.outcomes) == {Outcome.STUCK}
        looks = isinstance(SOLVERS[name], LBFGS | GaussNewton)
        expected = TerminationReason.STATIONARY if looks else TerminationReason.LENGTH
        assert set(found.reasons) == {expected}
        assert torch.equal(found.images, start)

    def test_a_step_too_long_diverges_and_one_too_short_is_unfinished(self) -> None:
        descent = Descent(step=1.0, factor=1.0, loss="l2")
        found = run(stretch(1.0, 3.0, 0.1), descent, iterations=12)
        assert found.outcomes == (Outcome.MATCHED, Outcome.DIVERGED, Outcome.UNFINISHED)
        # What is best is then the start, which is no divergence, but no result either.
        best = run(
            stretch(1.0, 3.0, 0.1), dataclasses.replace(descent, returns="best"), iterations=12
        )
        assert best.outcomes == (Outcome.MATCHED, Outcome.STUCK, Outcome.UNFINISHED)
        assert best.at[1:].tolist() == [0, 12]

    def test_an_overflow_on_the_way_is_not_finite(self) -> None:
        descent = Descent(step=1e200, factor=1.0, loss="l2")
        assert run(stretch(1.0), descent, iterations=9).outcomes == (Outcome.NON_FINITE,)
        # The best before it is finite, and returned.
        best = run(stretch(1.0), dataclasses.replace(descent, returns="best"), iterations=9)
        assert best.outcomes == (Outcome.STUCK,)
        assert best.at.tolist() == [0]

    @EVERY
    @pytest.mark.parametrize("iterations", [0, 1, 2, 3])
    def test_the_shortest_runs(self, decoder: Decoder, iterations: int) -> None:
        found = run_case(decoder, iterations=iterations)
        assert found.points[-1] == iterations
        assert {len(trace) for trace in found.traces.values()} == {len(found.points)}
        assert int(found.at.max()) <= iterations
        if iterations == 0:
            assert torch.equal(found.m_i, found.traces["m_i"][0])


class TestReport:
    """What is reported of reconstructions is true of them."""

    @EVERY
    def test_distances_are_those_of_the_reconstruction(self, decoder: Decoder) -> None:
        found = run_case(decoder, iterations=30)
        linear = isinstance(decoder, LinearSolve)
        shape = (48,) if linear else (3, 12, 12)
        original = torch.sigmoid(normal(SAMPLES, *shape, seed=1))
        encoder = encoder_for(
            decoder, order=[*range(SAMPLES)], dtype=torch.float64, device=original.device
        )
        target = encoder.encode(original)
        noise = normal(SAMPLES, *shape, seed=3) / 10

        def norms(differences: Tensor) -> Tensor:
            return differences.flatten(1).square().sum(1).sqrt()

        for value, truth in (
            (found.m_g, norms(encoder.encode(found.images) - target)),
            (found.m_i, norms(found.images - original)),
            (found.m_r, norms(encoder.encode(original + noise) - target)),
            (found.m_n, norms(noise)),
            (found.scale, norms(target)),
            (found.spread.m_g[:, 0], norms(encoder.encode(found.images) - target)),
            (found.spread.m_i[:, 0], norms(found.images - original)),
            (found.traces["m_i"][-1], norms(found.images - original)),
        ):
            torch.testing.assert_close(value, truth, rtol=1e-10, atol=1e-13)
        assert found.spread.apart.tolist() == [0] * SAMPLES
        torch.testing.assert_close(found.traces["m_g"][-1], found.m_g, rtol=1e-10, atol=1e-13)


class TestBatchMates:
    @EVERY
    @settings(max_examples=5, deadline=None)
    @given(order=st.lists(st.integers(0, SAMPLES - 1), min_size=1, max_size=6))
    def test_a_sample_does_not_depend_on_the_others(
        self, decoder: Decoder, order: list[int]
    ) -> None:
        # Permuted, padded or alone; three steps, since rounding moves longer ones with an L1 loss.
        together = run_case(decoder, iterations=3)
        chosen = run_case(decoder, iterations=3, order=order)
        close = {"rtol": 1e-9, "atol": 1e-10, "equal_nan": True}
        for name in ("images", "m_g", "m_i", "m_r"):
            torch.testing.assert_close(
                getattr(chosen, name), getattr(together, name)[order], **close
            )
        for name, table in chosen.traces.items():
            torch.testing.assert_close(table, together.traces[name][:, order], **close)
        assert chosen.outcomes == tuple(together.outcomes[sample] for sample in order)
        assert chosen.reasons == tuple(together.reasons[sample] for sample in order)

    @each
    @pytest.mark.parametrize("poison", [NAN, INF])
    def test_one_in_whose_network_a_number_is_not_finite_leaves_its_mates_alone(
        self, decoder: Decoder, poison: float
    ) -> None:
        healthy = run(stretch(1.0, 2.0, 0.5), decoder, iterations=20)
        encoder = stretch(1.0, 2.0, 0.5)
        encoder.matrix[1, 0, 0] = poison
        found = run(encoder, decoder, iterations=20)
        assert found.outcomes[1] is Outcome.NON_FINITE
        if isinstance(decoder, LBFGS | GaussNewton):
            assert found.reasons[1] is TerminationReason.NON_FINITE
        self.assert_same(found, healthy, but=1)

    @pytest.mark.parametrize("poison", [NAN, INF])
    @pytest.mark.parametrize("what", ["start", "original"])
    @pytest.mark.parametrize("name", DECODERS)
    def test_one_with_an_image_that_is_not_finite_leaves_its_mates_alone(
        self, name: str, what: str, poison: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decoder = DECODERS[name]
        healthy = run_case(decoder, iterations=20)

        def poisoned(encoder: Encoder, original: Tensor, **rest: Any) -> Reconstructions:
            images = {**rest, "original": original}
            images[what] = images[what].clone()
            images[what][2].view(-1)[5] = poison
            return recover(encoder, **images)

        monkeypatch.setattr("inversion_cases.recover", poisoned)
        found = run_case(decoder, iterations=20)
        assert found.outcomes[2] is Outcome.NON_FINITE
        self.assert_same(found, healthy, but=2)

    def assert_same(self, found: Reconstructions, healthy: Reconstructions, *, but: int) -> None:
        for sample in {*range(len(healthy.outcomes))} - {but}:
            assert found.outcomes[sample] is healthy.outcomes[sample]
            assert found.reasons[sample] is healthy.reasons[sample]
            torch.testing.assert_close(found.images[sample], healthy.images[sample])
            torch.testing.assert_close(
                found.traces["m_i"][:, sample], healthy.traces["m_i"][:, sample]
            )


class TestRestarts:
    """Several starts of an image run as samples of one batch; the best one is returned."""

    RESTARTS = 5

    def starts(self, images: int) -> Tensor:
        return normal(images * self.RESTARTS, 3, 12, 12, seed=2)

    def together(
        self, decoder: Decoder, original: Tensor, *, iterations: int = 8
    ) -> Reconstructions:
        return recover(
            convolutions(),
            original,
            start=self.starts(len(original)),
            noised=original + 0.1,
            decoder=decoder,
            iterations=iterations,
        )

    @pytest.mark.parametrize("name", [name for name in DECODERS if "linear" not in name])
    def test_they_are_separate_runs_of_which_the_best_is_returned(self, name: str) -> None:
        decoder, original = DECODERS[name], torch.sigmoid(normal(3, 3, 12, 12, seed=1))
        found = self.together(decoder, original)
        starts = self.starts(3).unflatten(0, (3, self.RESTARTS))
        close = {"rtol": 1e-7, "atol": 1e-9}
        for image in range(3):
            alone = [
                recover(
                    convolutions(),
                    original[[image]],
                    start=starts[image, [number]],
                    noised=original[[image]] + 0.1,
                    decoder=decoder,
                    iterations=8,
                )
                for number in range(self.RESTARTS)
            ]
            losses = [float(each.traces["loss"][-1]) for each in alone]
            best = alone[losses.index(min(losses))]
            torch.testing.assert_close(found.images[image], best.images[0], **close)
            for trace in ("m_i", "m_g", "loss"):
                torch.testing.assert_close(
                    found.traces[trace][:, image], best.traces[trace][:, 0], **close
                )
            assert int(found.at[image]) == int(best.at)
            assert found.outcomes[image] is best.outcomes[0]
            assert found.reasons[image] is best.reasons[0]
            for measure in ("m_g", "m_i"):
                torch.testing.assert_close(
                    getattr(found.spread, measure)[image],
                    torch.cat([getattr(each, measure) for each in alone]),
                    **close,
                )
            distances = [
                float((one.images - other.images).norm()) for one in alone for other in alone
            ]
            assert float(found.spread.apart[image]) == pytest.approx(max(distances), rel=1e-6)
        assert found.spread.m_g.shape == (3, self.RESTARTS)

    def test_reconstructions_that_nearly_agree_differ(self) -> None:
        # Thirty starts around one point: a distance by inner products would lose it to rounding.
        original = torch.full((1, 3, 12, 12), 0.7)
        starts = original + 1e-5 * torch.linspace(0, 1, 30).reshape(-1, 1, 1, 1)
        found = recover(
            convolutions(torch.float32),
            original,
            start=starts,
            noised=original + 0.1,
            decoder=Descent(),
            iterations=0,
        )
        assert float(found.spread.apart) == pytest.approx(1e-5 * math.sqrt(432), rel=0.02)

    def test_a_start_that_is_not_finite_is_never_the_best(self) -> None:
        original = torch.sigmoid(normal(2, 3, 12, 12, seed=1))
        starts = normal(6, 3, 12, 12, seed=2)
        starts[0] = torch.nan
        starts[4, 0, 0, 0] = torch.nan
        for decoder in (Descent(loss="l2"), Adam(), LBFGS()):
            found = recover(
                convolutions(),
                original,
                start=starts,
                noised=original + 0.1,
                decoder=decoder,
                iterations=20,
            )
            assert Outcome.NON_FINITE not in found.outcomes
            assert bool(found.images.isfinite().all())
            assert found.spread.m_g.isnan().tolist() == [[True, False, False], [False, True, False]]


class TestWhatDoesNotFit:
    """It is refused with what to do about it, before anything is computed."""

    @pytest.mark.parametrize(
        ("original", "start", "noised"),
        [
            ((2, 3, 12, 12), (2, 3, 6, 6), (2, 3, 12, 12)),
            ((2, 3, 12, 12), (3, 3, 12, 12), (2, 3, 12, 12)),
            ((2, 3, 12, 12), (2, 3, 12, 12), (1, 3, 12, 12)),
            ((3, 12, 12), (1, 3, 12, 12), (1, 3, 12, 12)),
            ((0, 3, 12, 12), (0, 3, 12, 12), (0, 3, 12, 12)),
        ],
        ids=str,
    )
    def test_shapes(
        self, original: tuple[int, ...], start: tuple[int, ...], noised: tuple[int, ...]
    ) -> None:
        with pytest.raises(SettingError):
            recover(
                convolutions(),
                torch.zeros(original, dtype=torch.float64),
                start=torch.zeros(start, dtype=torch.float64),
                noised=torch.zeros(noised, dtype=torch.float64),
                decoder=Descent(),
                iterations=1,
            )
