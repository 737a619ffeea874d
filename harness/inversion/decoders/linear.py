"""The exact solution for a linear network."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from harness.encoders.encoder import AffineEncoder
from harness.errors import SettingError
from harness.inversion.clock import Clock
from harness.inversion.method import SampleState
from harness.inversion.objective import Evaluation, Problem
from harness.plan.decoders import LinearSolve


@dataclasses.dataclass(frozen=True)
class LinearMethod:
    """Steps by the pseudo-inverse, a <- a - A^+ r.

    The first step solves, later ones refine (Higham 2002, chapter 12).

    Parameters
    ----------
    problem : Problem
        What is solved.
    inverse : tensor, shape (networks, n, m)
        A^+.
    """

    problem: Problem
    inverse: Float[Tensor, "networks n m"]

    @classmethod
    def of(cls, decoder: LinearSolve, problem: Problem) -> LinearMethod:
        """The method of a decoder.

        Raises
        ------
        SettingError
            If the network is not linear.
        """
        if not isinstance(problem.encoder, AffineEncoder):
            raise SettingError(
                type(decoder).__name__,
                rule="only a linear network can be solved exactly",
                remedy="Choose LBFGS or GaussNewton",
            )
        matrix = problem.encoder.matrix
        rcond = decoder.rcond
        if rcond is None:
            rcond = max(matrix.shape[1:]) * torch.finfo(matrix.dtype).eps
        # A network with a number that is not finite has no inverse; the others have theirs.
        finite = matrix.isfinite().flatten(1).all(1)[:, None, None]
        inverse = torch.linalg.pinv(torch.where(finite, matrix, 0), rtol=rcond)
        return cls(problem, torch.where(finite, inverse, torch.nan))

    def begin(self, start: Tensor) -> Evaluation:
        """The state at a start."""
        return self.problem.evaluate(start)

    def step(self, state: Evaluation, _: Clock, /) -> Evaluation:
        """The state after an iteration."""
        residual = state.residual.reshape(len(self.inverse), -1, self.inverse.shape[2])
        correction = (residual @ self.inverse.mT).reshape(state.point.shape)
        point = state.point - correction
        return self.problem.evaluate(point)

    def sample_state(self, state: Evaluation) -> SampleState:
        """Where the samples stand."""
        return self.problem.sample_state(state)

    def size(self, state: Evaluation, _: Clock, /) -> Tensor:
        """nan, since steps are not along the gradient."""
        return state.point.new_full((), math.nan)
