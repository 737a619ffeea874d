"""How runs end: every status and its edges, for whole inversions as for single samples."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.inversion.invert import invert
from harness.inversion.status import Status, classify
from harness.settings import LBFGS, Adam, Decoder, Descent
from harness.subjects.encoder import AffineEncoder

NAN, INF = float("nan"), float("inf")
DECODERS = [Descent(blur=None), Descent(loss="l2", blur=None), Adam(), LBFGS()]


def status(
    first: float,
    late: float,
    last: float,
    *,
    m_g: float = 2.0,
    m_r: float = 1.0,
    finite: bool = True,
) -> Status:
    """Of one sample whose loss was first, late and last."""
    (found,) = classify(
        first=torch.tensor([first], dtype=torch.float64),
        late=torch.tensor([late], dtype=torch.float64),
        last=torch.tensor([last], dtype=torch.float64),
        m_g=torch.tensor([m_g], dtype=torch.float64),
        m_r=torch.tensor([m_r], dtype=torch.float64),
        finite=torch.tensor([finite]),
    )
    return found


class TestClassify:
    @pytest.mark.parametrize(
        ("losses", "m_g", "expected"),
        [
            ((10, 5, 4), 0.5, Status.MATCHED),
            ((10, 5, 4), 2.0, Status.UNFINISHED),
            ((10, 5, 4.9), 2.0, Status.UNFINISHED),
            ((10, 5, 4.96), 2.0, Status.PLATEAU),
            ((10, 5, 5), 2.0, Status.PLATEAU),
            ((10, 5, 6), 2.0, Status.PLATEAU),  # rose late, still below the start
            ((10, 10, 10), 2.0, Status.PLATEAU),
            ((10, 5, 10.5), 2.0, Status.DIVERGED),
            ((10, 5, 10.5), 0.5, Status.DIVERGED),  # however near the output
            ((10, 5, INF), INF, Status.DIVERGED),
            ((10, 5, 4), 1.0, Status.UNFINISHED),  # as near as the noised image is not nearer
            ((0, 0, 0), 0.0, Status.MATCHED),
        ],
    )
    def test_each_end(
        self, losses: tuple[float, float, float], m_g: float, expected: Status
    ) -> None:
        assert status(*losses, m_g=m_g) is expected

    def test_a_loss_of_zero_without_a_reference_lies_on_a_plateau(self) -> None:
        # Without noise m_r is 0, and nothing is nearer than that.
        assert status(10, 0, 0, m_g=0.0, m_r=0.0) is Status.PLATEAU

    @given(losses=st.tuples(*[st.floats()] * 3), m_g=st.floats(), m_r=st.floats())
    def test_what_is_not_finite_is_so_whatever_else(
        self, losses: tuple[float, float, float], m_g: float, m_r: float
    ) -> None:
        assert status(*losses, m_g=m_g, m_r=m_r, finite=False) is Status.NON_FINITE
        assert status(*losses, m_g=m_g, m_r=m_r) in Status

    @settings(max_examples=25, deadline=None)
    @given(scale=st.floats(1e-12, 1e12))
    def test_the_scale_of_the_target_is_no_matter(self, scale: float) -> None:
        for losses, m_g in (((10, 5, 4), 0.5), ((10, 5, 4), 2.0), ((10, 5, 4.99), 2.0)):
            scaled = [loss * scale for loss in losses]
            assert status(*scaled, m_g=m_g * scale, m_r=scale) is status(*losses, m_g=m_g)

    def test_samples_are_told_apart(self) -> None:
        def row(*numbers: float) -> Tensor:
            return torch.tensor(numbers, dtype=torch.float64)

        found = classify(
            first=row(1, 1, 1, 1, 1),
            late=row(0.5, 0.5, 0.5, 0.5, NAN),
            last=row(0.1, 0.5, 0.2, 2, NAN),
            m_g=row(0.5, 2, 2, 2, NAN),
            m_r=row(1, 1, 1, 1, 1),
            finite=torch.tensor([True, True, True, True, False]),
        )
        assert found == tuple(Status)

    def test_every_status_has_a_sentence_of_its_own(self) -> None:
        messages = [member.message for member in Status]
        assert len(set(messages)) == len(messages) == 5
        assert all(message.endswith(".") for message in messages)


def stretch(*scales: float) -> AffineEncoder:
    """Samples that are each stretched by a number."""
    matrix = torch.stack([torch.eye(4, dtype=torch.float64) * scale for scale in scales])
    return AffineEncoder(matrix, torch.zeros(len(scales), 4, dtype=torch.float64))


class TestInversions:
    def run(self, encoder: AffineEncoder, decoder: Decoder, *, iterations: int):  # type: ignore[no-untyped-def]
        shape = encoder.offset.shape
        original = torch.linspace(0.1, 0.9, 4, dtype=torch.float64).expand(shape)
        return invert(
            encoder,
            original,
            start=torch.full(shape, 0.7, dtype=torch.float64),
            noised=original + 0.04,
            decoder=decoder,
            iterations=iterations,
        )

    def test_a_step_too_long_diverges_and_one_too_short_is_unfinished(self) -> None:
        descent = Descent(step=1.0, factor=1.0, loss="l2", blur=None)
        found = self.run(stretch(1.0, 3.0, 0.1), descent, iterations=12)
        assert found.statuses == (Status.MATCHED, Status.DIVERGED, Status.UNFINISHED)

    def test_a_descent_of_fixed_steps_ends_on_its_floor(self) -> None:
        # It oscillates about the target by its step, which is further than a' lies.
        found = self.run(stretch(1.0), Descent(step=0.5, factor=1.0, blur=None), iterations=40)
        assert found.statuses == (Status.PLATEAU,)
        assert float(found.m_g) > float(found.m_r)

    @pytest.mark.parametrize("decoder", DECODERS)
    @pytest.mark.parametrize("poison", [NAN, INF])
    def test_a_sample_that_is_not_finite_leaves_its_mates_alone(
        self, decoder: Decoder, poison: float
    ) -> None:
        encoder = stretch(1.0, 2.0, 0.5)
        healthy = self.run(encoder, decoder, iterations=20)
        encoder.matrix[1, 0, 0] = poison
        found = self.run(encoder, decoder, iterations=20)
        assert found.statuses[1] is Status.NON_FINITE
        for sample in (0, 2):
            assert found.statuses[sample] is healthy.statuses[sample]
            torch.testing.assert_close(found.copy[sample], healthy.copy[sample])
            torch.testing.assert_close(
                found.traces["m_i"][:, sample], healthy.traces["m_i"][:, sample]
            )

    def test_an_overflow_on_the_way_is_not_finite(self) -> None:
        descent = Descent(step=1e200, factor=1.0, loss="l2", blur=None)
        found = self.run(stretch(1.0), descent, iterations=9)
        assert found.statuses == (Status.NON_FINITE,)

    @pytest.mark.parametrize("decoder", DECODERS)
    @pytest.mark.parametrize("iterations", [0, 1, 2, 3])
    def test_the_shortest_runs(self, decoder: Decoder, iterations: int) -> None:
        found = self.run(stretch(1.0), decoder, iterations=iterations)
        assert found.points[-1] == iterations
        assert len(found.traces["m_i"]) == len(found.points)
        if iterations == 0:
            assert bool((found.copy == 0.7).all())
        assert float(found.m_i) == pytest.approx(
            float((found.copy - torch.linspace(0.1, 0.9, 4, dtype=torch.float64)).norm())
        )
