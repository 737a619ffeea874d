"""Damped Gauss-Newton, matrix-free and batched: every sample has its own step and damping.

Levenberg-Marquardt with Nielsen's update of the damping (Madsen, Nielsen and Tingleff 2004,
algorithm 3.16); the linear least-squares problem of a step is solved by conjugate gradients (CGLS;
Bjorck 1996, algorithm 7.4.1), in a fixed number of iterations, each with one product with J and
one with its transpose.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.encoders.encoder import JVP, VJP
from harness.inversion.clock import Clock
from harness.inversion.decoders.kicks import Kicks
from harness.inversion.distances import l2, per_sample
from harness.inversion.method import SampleState, TerminationReason, reason_at_start
from harness.inversion.objective import Evaluation, Problem
from harness.plan.decoders import GaussNewton

_TRIALS = 25


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussNewtonState:
    """A point of each sample, and what the next step needs.

    Parameters
    ----------
    evaluation : Evaluation
        At the last accepted point.
    first_norm, first_value : tensor, shape (batch,)
        The gradient's norm and the objective at the start.
    damping, growth : tensor, shape (batch,)
        Nielsen's mu and nu.
    initial_damping : tensor, shape (batch,)
        mu at the start, and after a kick.
    trials, kicks : tensor of int, shape (batch,)
        Steps rejected in a row, and kicks of the run so far.
    kicked : tensor of bool, shape (batch,)
        Whether the next step is a kick, which is accepted in any case.
    reason : tensor of int, shape (batch,)
        As in `SampleState`.
    """

    evaluation: Evaluation
    first_norm: Float[Tensor, " batch"]
    first_value: Float[Tensor, " batch"]
    damping: Float[Tensor, " batch"]
    growth: Float[Tensor, " batch"]
    initial_damping: Float[Tensor, " batch"]
    trials: Int[Tensor, " batch"]
    kicks: Int[Tensor, " batch"]
    kicked: Bool[Tensor, " batch"]
    reason: Int[Tensor, " batch"]


@dataclasses.dataclass(frozen=True)
class GaussNewtonMethod:
    """Minimise the sum of squares of every sample.

    A sample ends once its gradient has fallen to `decoder.stationary` of the first, or once no step
    lowers the sum any more, however strongly it is damped, and kicks are spent or not due.
    """

    decoder: GaussNewton
    problem: Problem
    noise: Kicks

    def begin(self, start: Tensor) -> GaussNewtonState:
        """The state at a start."""
        evaluation = self.problem.evaluate(start)
        _, jvp, _ = self.problem.encoder.linearize(start)
        norm = l2(evaluation.gradient)
        # The squared norm of J along the gradient, which sets the scale of the damping.
        square = (l2(jvp(evaluation.gradient)) / _positive(norm)).square()
        damping = _representable(self.decoder.damping * square)
        return GaussNewtonState(
            evaluation=evaluation,
            first_norm=norm,
            first_value=self.problem.value(evaluation),
            damping=damping,
            initial_damping=damping,
            growth=torch.full_like(norm, 2),
            trials=torch.zeros_like(norm, dtype=torch.long),
            kicks=torch.zeros_like(norm, dtype=torch.long),
            kicked=torch.zeros_like(norm, dtype=torch.bool),
            reason=reason_at_start(norm),
        )

    def step(self, state: GaussNewtonState, _: Clock, /) -> GaussNewtonState:
        """Every sample tries one step."""
        here = state.evaluation
        jvp, vjp = self.problem.encoder.linearize(here.point)[1:]
        step, model = least_squares(
            jvp, vjp, here.residual, damping=state.damping, iterations=self.decoder.inner
        )
        kick = per_sample(state.kicked, like=step)
        step = torch.where(kick, self.noise.at(state.kicks - 1), step)
        there = self.problem.evaluate(here.point + step)
        misfit = l2(here.residual)
        gained = misfit.square() - l2(there.residual).square()
        gain = gained / _positive(misfit.square() - model.square())
        running = state.reason == TerminationReason.LENGTH
        accepted = running & ((gained > 0) | (state.kicked & gained.isfinite()))

        def taken(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(per_sample(accepted, like=old), new, old)

        evaluation = Evaluation(
            taken(there.point, here.point),
            taken(there.residual, here.residual),
            taken(there.gradient, here.gradient),
        )
        norm = l2(evaluation.gradient)
        trials = torch.where(accepted, 0, state.trials + 1)
        lost = running & ~accepted & ((trials == _TRIALS) | state.kicked)
        kicked = running & self.noise.due(
            lost,
            norm=norm,
            value=self.problem.value(evaluation),
            first=(state.first_norm, state.first_value),
            count=state.kicks,
        )
        stationary = accepted & ~kicked & (norm <= self.decoder.stationary * state.first_norm)
        ended = torch.where(lost & ~kicked, TerminationReason.STUCK.value, state.reason)
        trusted = (1 - (2 * gain - 1) ** 3).clamp(min=1 / 3, max=2)
        damping = _representable(state.damping * torch.where(accepted, trusted, state.growth))
        afresh = kicked | state.kicked
        return GaussNewtonState(
            evaluation=evaluation,
            first_norm=state.first_norm,
            first_value=state.first_value,
            damping=torch.where(afresh, state.initial_damping, damping),
            growth=torch.where(accepted | afresh, 2, 2 * state.growth),
            initial_damping=state.initial_damping,
            trials=torch.where(kicked, 0, trials),
            kicks=state.kicks + kicked,
            kicked=kicked,
            reason=torch.where(stationary, TerminationReason.STATIONARY.value, ended),
        )

    def sample_state(self, state: GaussNewtonState) -> SampleState:
        """Where the samples stand."""
        current = self.problem.sample_state(state.evaluation)
        return dataclasses.replace(current, reason=state.reason)

    def size(self, state: GaussNewtonState, _: Clock, /) -> Tensor:
        """nan, since steps are not along the gradient."""
        return state.evaluation.point.new_full((), math.nan)


def least_squares(
    jvp: JVP,
    vjp: VJP,
    residual: Tensor,
    *,
    damping: Float[Tensor, " batch"],
    iterations: int,
) -> tuple[Tensor, Float[Tensor, " batch"]]:
    """The d that minimises |r + J d|^2 + damping |d|^2, approximately, and |r + J d|."""
    rest = -residual
    slope = vjp(rest)
    step, direction, square = torch.zeros_like(slope), slope, l2(slope).square()
    for _ in range(iterations):
        image = jvp(direction)
        curvature = l2(image).square() + damping * l2(direction).square()
        size = per_sample(square / _positive(curvature), like=step)
        step = torch.addcmul(step, size, direction)
        rest = rest - size.reshape(-1, *[1] * (rest.dim() - 1)) * image
        slope = vjp(rest) - per_sample(damping, like=step) * step
        before, square = square, l2(slope).square()
        direction = slope + per_sample(square / _positive(before), like=step) * direction
    return step, l2(rest)


def _representable(damping: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """A damping within the range of its dtype: from 0 it could not grow again."""
    limits = torch.finfo(damping.dtype)
    return damping.clamp(limits.tiny, limits.max)


def _positive(values: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Values clamped above 0, so that 0 over 0 is 0."""
    return values.clamp_min(torch.finfo(values.dtype).tiny)
