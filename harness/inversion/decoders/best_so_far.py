"""Best so far, and the end of a sample that has come near enough, for any decoder."""

from __future__ import annotations

import dataclasses
from typing import Generic

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.inversion.clock import Clock, HostClock
from harness.inversion.distances import per_sample
from harness.inversion.protocol import Method, S, SampleState, TerminationReason


@dataclasses.dataclass(frozen=True)
class BestSoFarState(Generic[S]):
    """The decoder's own state, and what is kept of each sample.

    Parameters
    ----------
    inner : state
        Of the decoder, which runs on whatever is kept.
    point, gradient, value, misfit, reason
        As in `SampleState`, at the iteration that is kept.
    at : tensor of int, shape (batch,)
        That iteration.
    size : tensor, shape (batch,)
        Of the decoder's step from there; rho is made of it, of that value and of that gradient.
    """

    inner: S
    point: Tensor
    gradient: Tensor
    value: Float[Tensor, " batch"]
    misfit: Float[Tensor, " batch"]
    reason: Int[Tensor, " batch"]
    at: Int[Tensor, " batch"]
    size: Float[Tensor, " batch"]


@dataclasses.dataclass(frozen=True)
class BestSoFar(Generic[S]):
    """A decoder that shows what it has kept, not where it is.

    Parameters
    ----------
    method : Method
        The decoder.
    best : bool
        Whether the point of the least value is kept, or the last one.
    enough : tensor, shape (batch,)
        m_g at which a sample ends; what is kept of it then no longer changes.
    """

    method: Method[S]
    best: bool
    enough: Float[Tensor, " batch"]

    def begin(self, start: Tensor) -> BestSoFarState[S]:
        """The state at a start."""
        inner = self.method.begin(start)
        view = self.method.sample_state(inner)
        return BestSoFarState(
            inner,
            point=view.point,
            gradient=view.gradient,
            value=view.value,
            misfit=view.misfit,
            reason=self._reason(view, torch.zeros_like(view.reason)),
            at=torch.zeros_like(view.reason),
            size=self.method.size(inner, HostClock(0)).expand_as(view.value),
        )

    def step(self, state: BestSoFarState[S], clock: Clock) -> BestSoFarState[S]:
        """The state one iteration on."""
        inner = self.method.step(state.inner, clock)
        view = self.method.sample_state(inner)
        taken = state.reason == TerminationReason.LENGTH
        if self.best:
            # Near enough is better than best: by some priors the objective says something else.
            taken = taken & ((view.value < state.value) | (view.misfit <= self.enough))

        def kept(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(per_sample(taken, like=old), new, old)

        return BestSoFarState(
            inner,
            point=kept(view.point, state.point),
            gradient=kept(view.gradient, state.gradient),
            value=kept(view.value, state.value),
            misfit=kept(view.misfit, state.misfit),
            reason=self._reason(view, state.reason),
            at=torch.where(taken, clock.now + 1, state.at),
            size=kept(self.method.size(inner, clock.next()), state.size),
        )

    def sample_state(self, state: BestSoFarState[S]) -> SampleState:
        """What is kept of each sample."""
        return SampleState(
            point=state.point,
            value=state.value,
            misfit=state.misfit,
            gradient=state.gradient,
            reason=state.reason,
            at=state.at,
        )

    def size(self, state: BestSoFarState[S], _: Clock, /) -> Tensor:
        """The size of the decoder's step from what is kept of each sample."""
        return state.size

    def _reason(self, view: SampleState, reason: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        near = view.misfit <= self.enough
        ended = torch.where(near, TerminationReason.TOLERANCE.value, view.reason)
        return torch.where(reason == TerminationReason.LENGTH, ended, reason)
