"""Decoders that take one gradient for each step: descents, the article's included, and Adam."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from harness.inversion.clock import Clock
from harness.inversion.distances import l2, per_sample
from harness.inversion.method import SampleState
from harness.inversion.objective import Evaluation, Problem
from harness.inversion.schedule import adam_rates, descent_steps
from harness.plan.decoders import Adam, Descent


@dataclasses.dataclass(frozen=True)
class DescentMethod:
    """Gradient descent, a <- blur(a - size * g).

    Parameters
    ----------
    problem : Problem
        What is minimised.
    rule : str
        One of `harness.plan.decoders.RULES`.
    steps : tensor, shape (iterations + 1,)
        Sizes by the schedule, the last one twice, so that rho is defined at the end, too.
    """

    problem: Problem
    rule: str
    steps: Float[Tensor, " t"]

    @classmethod
    def of(
        cls, decoder: Descent, problem: Problem, *, iterations: int, like: Tensor
    ) -> DescentMethod:
        """The method of a decoder, in the dtype and on the device of a tensor."""
        steps = descent_steps(decoder, iterations=iterations)
        padded = np.append(steps, steps[-1:] if iterations else 0.0)
        return cls(problem, decoder.rule, torch.from_numpy(padded).to(like))

    def begin(self, start: Tensor) -> Evaluation:
        """The state at a start."""
        return self.problem.evaluate(start)

    def step(self, state: Evaluation, clock: Clock) -> Evaluation:
        """The state after an iteration."""
        size = self.size(state, clock)
        if size.dim():
            size = per_sample(size, like=state.point)
        moved = torch.addcmul(state.point, state.gradient, size, value=-1)
        point = self.problem.blur(moved, clock)
        return self.problem.evaluate(point)

    def sample_state(self, state: Evaluation) -> SampleState:
        """Where the samples stand."""
        return self.problem.sample_state(state)

    def size(self, state: Evaluation, clock: Clock, /) -> Tensor:
        """The size of the next step: one number, or one for each sample, depending on the rule."""
        scheduled = clock.read(self.steps)
        if self.rule == "gradient":
            return scheduled
        gradient = state.gradient
        norm = l2(gradient)
        if self.rule == "polyak":
            size = scheduled * self.problem.value(state) / norm.square()
        else:
            size = scheduled * math.sqrt(gradient[0].numel()) / norm
        # Without a slope there is no direction, however large the loss.
        return torch.where(norm > torch.finfo(gradient.dtype).tiny ** 0.5, size, 0)


@dataclasses.dataclass(frozen=True)
class AdamState:
    """The current point, and the moments of the gradients so far."""

    evaluation: Evaluation
    mean: Tensor
    square: Tensor


@dataclasses.dataclass(frozen=True)
class AdamMethod:
    """Adam (Kingma and Ba 2015, algorithm 1).

    Parameters
    ----------
    problem : Problem
        What is minimised.
    betas : tuple of float
        Decay of both moments.
    rates, corrections : tensor, shape (iterations,)
        The rate divided by the first moment's bias, and the inverse of the second's.
    """

    problem: Problem
    betas: tuple[float, float]
    rates: Float[Tensor, " t"]
    corrections: Float[Tensor, " t"]

    @classmethod
    def of(cls, decoder: Adam, problem: Problem, *, iterations: int, like: Tensor) -> AdamMethod:
        """The method of a decoder, in the dtype and on the device of a tensor."""
        powers = np.arange(1, iterations + 1)
        rates = adam_rates(decoder, iterations=iterations) / (1 - decoder.beta1**powers)
        corrections = 1 / (1 - decoder.beta2**powers)
        return cls(
            problem,
            (decoder.beta1, decoder.beta2),
            torch.from_numpy(rates).to(like),
            torch.from_numpy(corrections).to(like),
        )

    def begin(self, start: Tensor) -> AdamState:
        """The state at a start."""
        zero = torch.zeros_like(start)
        return AdamState(self.problem.evaluate(start), zero, zero)

    def step(self, state: AdamState, clock: Clock) -> AdamState:
        """The state after an iteration."""
        gradient = state.evaluation.gradient
        beta1, beta2 = self.betas
        mean = torch.lerp(state.mean, gradient, 1 - beta1)
        square = (state.square * beta2).addcmul_(gradient, gradient, value=1 - beta2)
        # Far below any gradient that matters; avoids 0/0 where a gradient is exactly 0.
        tiny = torch.finfo(gradient.dtype).tiny ** 0.5
        scale = (square * clock.read(self.corrections)).sqrt_().add_(tiny)
        moved = state.evaluation.point - mean * clock.read(self.rates) / scale
        point = self.problem.blur(moved, clock)
        return AdamState(self.problem.evaluate(point), mean, square)

    def sample_state(self, state: AdamState) -> SampleState:
        """Where the samples stand."""
        return self.problem.sample_state(state.evaluation)

    def size(self, state: AdamState, _: Clock, /) -> Tensor:
        """nan, since each element has a step of its own."""
        return state.evaluation.point.new_full((), math.nan)
