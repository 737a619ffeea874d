"""L-BFGS: optima that scipy finds too, known floors, honest ends, a search of each sample's own."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import normal
from networks import Rosenbrock
from torch import Tensor, nn

from harness.encoders.encoder import AffineEncoder, Encoder, ModuleEncoder
from harness.inversion import loop
from harness.inversion.clock import HostClock
from harness.inversion.decoders.kicks import Kicks
from harness.inversion.decoders.lbfgs import LBFGSMethod, Pairs
from harness.inversion.objective import Pixels, Problem
from harness.inversion.outcome import Outcome
from harness.inversion.recover import Reconstructions, recover
from harness.inversion.trace import Trace
from harness.plan.decoders import LBFGS
from harness.plan.networks import MLP
from harness.subjects.mlp import mlp_encoder

CPU = torch.device("cpu")


def run(
    encoder: Encoder,
    original: Tensor,
    *,
    start: Tensor,
    iterations: int,
    decoder: LBFGS = LBFGS(),  # noqa: B008  (frozen)
) -> Reconstructions:
    return recover(
        encoder,
        original,
        start=start,
        noised=original + 1e-3,
        decoder=decoder,
        iterations=iterations,
    )


class Cubic(nn.Module):
    """x^3 - 3x: descending towards a far value from the left of -1 ends at its local maximum."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs**3 - 3 * inputs


class TestOptima:
    @pytest.mark.parametrize("curvature", [1.0, 10.0])
    def test_rosenbrock_from_the_classical_starts(self, curvature: float) -> None:
        starts = [[-1.2, 1.0], [0.0, 0.0], [3.0, -2.0]]
        found = run(
            ModuleEncoder(Rosenbrock(curvature)),
            torch.ones(3, 2, dtype=torch.float64),
            start=torch.tensor(starts, dtype=torch.float64),
            iterations=400,
        )

        def value(point: np.ndarray) -> float:
            return curvature**2 * (point[1] - point[0] ** 2) ** 2 + (1 - point[0]) ** 2

        for sample, start in enumerate(starts):
            theirs = scipy.optimize.minimize(
                value, start, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10}
            )
            assert theirs.x == pytest.approx([1, 1], abs=1e-2)
            assert found.images[sample].tolist() == pytest.approx([1, 1], abs=1e-7)
            assert float(found.traces["loss"][-1, sample]) <= theirs.fun / 2 + 1e-14
        assert set(found.outcomes) == {Outcome.MATCHED}

    @settings(max_examples=8, deadline=None)
    @given(m=st.integers(1, 12), n=st.integers(1, 8), seed=st.integers(0, 2**40))
    def test_targets_out_of_reach_are_met_as_nearly_as_least_squares_can(
        self, m: int, n: int, seed: int
    ) -> None:
        encoder = AffineEncoder(normal(2, m, n, seed=seed), normal(2, m, seed=seed + 1))
        target, start = normal(2, m, seed=seed + 2), normal(2, n, seed=seed + 3)
        trace = Trace((0, 300), original=start)
        problem = Problem.of(
            LBFGS(),
            encoder,
            target=target,
            images=start,
            iterations=300,
        )
        # A rank-deficient or ill-conditioned draw has slow directions; its loss is still least.
        loop.run(
            LBFGSMethod(LBFGS(), problem, Kicks.of(Pixels(), start)),
            start=start,
            trace=trace,
            image=Pixels().image,
        )
        for sample in range(2):
            matrix = encoder.matrix[sample].numpy()
            beyond = (target - encoder.offset)[sample].numpy()
            best = scipy.linalg.lstsq(matrix, beyond)[0]
            least = np.square(matrix @ best - beyond).sum() / 2
            assert float(trace.table[-1, 3, sample]) == pytest.approx(least, rel=1e-6, abs=1e-9)

    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 2**40), nullity=st.integers(1, 8), scale=st.floats(1e-3, 1e3))
    def test_a_null_space_keeps_exactly_its_part_wherever_the_start(
        self, seed: int, nullity: int, scale: float
    ) -> None:
        # Singular values from 1 to 3, and nullity zeros.
        left = np.linalg.qr(normal(9, 9, seed=seed).numpy())[0]
        right = np.linalg.qr(normal(9, 9, seed=seed + 1).numpy())[0]
        values = np.concatenate([np.linspace(3, 1, 9 - nullity), np.zeros(nullity)])
        matrix = (left * values) @ right.T
        encoder = AffineEncoder(torch.from_numpy(matrix)[None], normal(1, 9, seed=seed + 2))
        original = normal(1, 9, seed=seed + 3)
        start = original + scale * normal(1, 9, seed=seed + 4)
        offset = (start - original)[0].numpy()
        null = scipy.linalg.null_space(matrix)
        assert null.shape == (9, nullity)
        floor = np.linalg.norm(null.T @ offset) / np.linalg.norm(offset)
        found = run(encoder, original, start=start, iterations=60)
        assert float(found.m_i[0] / found.traces["m_i"][0, 0]) == pytest.approx(floor, rel=1e-7)


class TestEnds:
    def test_a_local_minimum_is_reported_and_not_called_a_match(self) -> None:
        # Towards x = 3 from -1.2: the nearest value on this branch is that of x = -1.
        found = run(
            ModuleEncoder(Cubic()),
            torch.full((2, 1), 3.0, dtype=torch.float64),
            start=torch.tensor([[-1.2], [2.0]], dtype=torch.float64),
            iterations=100,
        )
        assert found.outcomes == (Outcome.PLATEAU, Outcome.MATCHED)
        assert float(found.images[0]) == pytest.approx(-1, abs=1e-3)
        assert float(found.images[1]) == pytest.approx(3, abs=1e-9)

    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 2**40), history=st.integers(1, 6))
    def test_the_loss_never_rises(self, seed: int, history: int) -> None:
        network = MLP(inputs=6, widths=(9, 9), activation="tanh")
        generators = [torch.Generator().manual_seed(seed)]
        encoder = mlp_encoder(network, generators=generators, dtype=torch.float64, device=CPU)
        found = run(
            encoder,
            normal(1, 6, seed=seed),
            start=normal(1, 6, seed=seed + 1),
            iterations=40,
            decoder=LBFGS(history=history),
        )
        assert bool((found.traces["loss"].diff(dim=0) <= 0).all())
        assert bool(found.traces["rho"].isnan().all())


def test_a_history_looks_back_on_evaluations_taken_or_not() -> None:
    pairs = Pairs.none(torch.zeros(2, 3).double(), size=3)
    taken = [(True, True), (True, False), (True, False), (True, False)]
    for iteration, where in enumerate(taken):
        step = normal(2, 3, seed=iteration)
        pairs = pairs.add(step, 2 * step, where=torch.tensor(where), clock=HostClock(iteration))
    held = (pairs.curvature > 0).sum(0)
    assert held.tolist() == [3, 0]
    assert pairs.count.tolist() == [4, 1]
    assert pairs.gamma.tolist() == [0.5, 0.5]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**40), history=st.integers(1, 7), data=st.data())
def test_a_direction_is_that_of_scipy(seed: int, history: int, data: st.DataObject) -> None:
    # Some evaluations of the second sample are rejected, some pairs are older than the history,
    # and one sample has forgotten what lies before an evaluation.
    taken = data.draw(st.lists(st.booleans(), min_size=1, max_size=10))
    forgotten = data.draw(st.integers(0, len(taken) - 1))
    spread = torch.diag(torch.logspace(-1, 1, 5, dtype=torch.float64))
    pairs = Pairs.none(torch.zeros(3, 5, dtype=torch.float64), size=history)
    rows: list[list[tuple[Tensor, Tensor]]] = [[], [], []]
    for iteration, second in enumerate(taken):
        if iteration == forgotten:
            pairs, rows[2] = pairs.forget(where=torch.tensor([False, False, True])), []
            assert pairs.gamma[2] == 1  # as before any pair
        step = normal(3, 5, seed=seed + iteration)
        change = step @ spread
        where = (True, second, True)
        pairs = pairs.add(step, change, where=torch.tensor(where), clock=HostClock(iteration))
        for sample, each in enumerate(where):
            rows[sample].append((step[sample], change[sample] if each else torch.zeros(5)))
    gradient = normal(3, 5, seed=seed - 1)
    found = pairs.direction(gradient, clock=HostClock(len(taken) - 1))
    for sample, evaluations in enumerate(rows):
        gamma = float(pairs.gamma[sample])
        held = [pair for pair in evaluations[-history:] if pair[1].any()]
        expected = -gamma * gradient[sample].numpy()
        if held:
            # scipy begins with H = I: in units of sqrt(gamma), so does H = gamma I.
            steps, changes = (
                np.stack([one.numpy() for one in each]) for each in zip(*held, strict=True)
            )
            inverse = scipy.optimize.LbfgsInvHessProduct(steps / gamma**0.5, changes * gamma**0.5)
            expected = -gamma * inverse.matvec(gradient[sample].numpy())
        np.testing.assert_allclose(found[sample].numpy(), expected, rtol=1e-9, atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_in_float32_pairs_of_hardly_any_curvature_do_no_harm(seed: int) -> None:
    # The first sample's change is at a right angle to its step, but for rounding.
    pairs = Pairs.none(torch.zeros(2, 3072), size=3)
    for iteration in range(3):
        step, change = (normal(2, 3072, seed=seed + 10 * iteration + k).float() for k in (0, 1))
        along = (change * step).sum(1) / step.square().sum(1)
        change -= torch.stack([along[0], along[1] - 1])[:, None] * step
        pairs = pairs.add(step, change, where=torch.ones(2) > 0, clock=HostClock(iteration))
    gradient = normal(2, 3072, seed=seed + 5).float()
    found = pairs.direction(gradient, clock=HostClock(2))
    assert bool(found.isfinite().all())
    assert bool(((found * gradient).sum(1) < 0).all())
