"""Gauss-Newton: optima that scipy finds too, its inner solver, honest ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse.linalg
import torch
from inversion_cases import normal
from networks import Rosenbrock
from torch import Tensor, nn

from harness.encoders.encoder import AffineEncoder, Encoder, ModuleEncoder
from harness.inversion.clock import HostClock
from harness.inversion.decoders.gauss_newton import GaussNewtonMethod, least_squares
from harness.inversion.decoders.kicks import Kicks
from harness.inversion.method import TerminationReason
from harness.inversion.objective import Pixels, Problem
from harness.inversion.recover import Reconstructions, recover
from harness.plan.decoders import GaussNewton


class Sines(nn.Module):
    """A smooth curved map from four numbers to six."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = normal(4, 6, seed=3)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sin(inputs @ self.mix) + 0.5 * inputs.square() @ self.mix


class Deceived(torch.autograd.Function):
    """x, whose derivative is said to be -1."""

    generate_vmap_rule = True

    @staticmethod
    def forward(inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:
        return -cotangent

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return -tangent


def run(encoder: Encoder, original: Tensor, start: Tensor, *, iterations: int) -> Reconstructions:
    return recover(
        encoder,
        original,
        start=start,
        noised=original + 1e-3,
        decoder=GaussNewton(),
        iterations=iterations,
    )


class TestOptima:
    def test_rosenbrock_from_the_classical_starts(self) -> None:
        starts = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [3.0, -2.0]], dtype=torch.float64)
        found = run(ModuleEncoder(Rosenbrock()), torch.ones(3, 2).double(), starts, iterations=80)
        torch.testing.assert_close(found.images, torch.ones(3, 2).double(), rtol=0, atol=1e-5)
        assert set(found.reasons) <= {TerminationReason.STATIONARY, TerminationReason.STUCK}

    def test_the_optimum_is_that_of_scipy(self) -> None:
        original = torch.rand(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        start = original + 0.3 * normal(2, 4, seed=6)
        module = Sines()
        found = run(ModuleEncoder(module), original, start, iterations=60)
        for sample in range(2):
            target = module(original[sample : sample + 1])[0]

            def residual(point: np.ndarray, target: Tensor = target) -> np.ndarray:
                return (module(torch.from_numpy(point)[None])[0] - target).numpy()

            best = scipy.optimize.least_squares(residual, start[sample].numpy(), xtol=1e-14)
            assert float(found.m_g[sample]) == pytest.approx(
                float(np.sqrt(2 * best.cost)), abs=1e-6
            )

    def test_a_linear_problem_ends_at_its_floor_in_a_few_steps(self) -> None:
        encoder = AffineEncoder(normal(2, 5, 8, seed=1), normal(2, 5, seed=2))
        original, start = normal(2, 8, seed=3), normal(2, 8, seed=4)
        found = run(encoder, original, start, iterations=12)
        assert float(found.m_g.max()) < 1e-8
        for sample in range(2):
            # Steps lie in the rows of A: what its null space holds of a0 - a stays.
            matrix = encoder.matrix[sample].numpy()
            offset = (start - original)[sample].numpy()
            floor = np.linalg.norm(offset - np.linalg.pinv(matrix) @ (matrix @ offset))
            assert float(found.m_i[sample]) == pytest.approx(floor, rel=1e-6)


def test_the_inner_solver_is_a_damped_least_squares_solver() -> None:
    matrix, residual = normal(3, 9, 6, seed=7), normal(3, 9, seed=8)
    damping = torch.tensor([0.0, 0.1, 4.0], dtype=torch.float64)
    step, model = least_squares(
        lambda v: torch.einsum("bmn,bn->bm", matrix, v),
        lambda u: torch.einsum("bmn,bm->bn", matrix, u),
        residual,
        damping=damping,
        iterations=6,
    )
    for sample in range(3):
        truth = scipy.sparse.linalg.lsqr(
            matrix[sample].numpy(),
            -residual[sample].numpy(),
            damp=float(damping[sample]) ** 0.5,
            atol=1e-15,
            btol=1e-15,
        )[0]
        np.testing.assert_allclose(step[sample].numpy(), truth, rtol=1e-8, atol=1e-10)
        left = residual[sample].numpy() + matrix[sample].numpy() @ truth
        assert float(model[sample]) == pytest.approx(float(np.linalg.norm(left)), rel=1e-8)


class TestDamping:
    def dampings(self, encoder: Encoder, target: Tensor, *, steps: int) -> Tensor:
        start = normal(*target.shape, seed=9).to(target)
        decoder = GaussNewton(inner=1)
        problem = Problem.of(
            decoder,
            encoder,
            target=target,
            images=start,
            iterations=steps,
        )
        method = GaussNewtonMethod(decoder, problem, Kicks.of(Pixels(), start))
        states = [method.begin(start)]
        for iteration in range(steps):
            states.append(method.step(states[-1], HostClock(iteration)))
        return torch.stack([state.damping for state in states])

    def test_it_stays_finite_however_often_a_step_is_rejected(self) -> None:
        class Deceiving(nn.Module):
            def forward(self, inputs: Tensor) -> Tensor:
                return Deceived.apply(inputs)

        dampings = self.dampings(ModuleEncoder(Deceiving()), torch.zeros(1, 3), steps=24)
        assert float(dampings[-1]) > 1e30
        assert bool(dampings.isfinite().all())

    def test_it_can_grow_again_however_often_a_step_was_taken(self) -> None:
        scale = torch.logspace(0, -2, 8)
        encoder = AffineEncoder(torch.diag(scale)[None], torch.zeros(1, 8))
        dampings = self.dampings(encoder, torch.zeros(1, 8), steps=120)
        assert float(dampings.min()) < 1e-30
        assert bool((dampings > 0).all())


class TestEnds:
    def test_the_objective_never_rises(self) -> None:
        start = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
        found = run(ModuleEncoder(Rosenbrock()), torch.ones(1, 2).double(), start, iterations=40)
        assert bool((found.traces["loss"].diff(dim=0) <= 0).all())
