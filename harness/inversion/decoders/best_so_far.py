"""Around any decoder: the best point so far, and an end once a sample is within the tolerance."""

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
    """The decoder's own state, and the best point of each sample.

    Parameters
    ----------
    inner : state
        Of the decoder, which goes on from its own point, not from the best one.
    point, gradient, value, misfit, reason
        As in `SampleState`, at the best point.
    at : tensor of int, shape (batch,)
        The iteration that reached it.
    size : tensor, shape (batch,)
        Of the decoder's step from there, for rho.
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
    """A decoder that reports its best points instead of its current ones.

    Parameters
    ----------
    method : Method
        The decoder.
    best : bool
        Whether the point of the least value counts as best, or simply the last one.
    enough : tensor, shape (batch,)
        m_g at which a sample ends; its best point no longer changes then.
    """

    method: Method[S]
    best: bool
    enough: Float[Tensor, " batch"]

    def begin(self, start: Tensor) -> BestSoFarState[S]:
        """The state at a start."""
        inner = self.method.begin(start)
        current = self.method.sample_state(inner)
        return BestSoFarState(
            inner,
            point=current.point,
            gradient=current.gradient,
            value=current.value,
            misfit=current.misfit,
            reason=self._reason(current, torch.zeros_like(current.reason)),
            at=torch.zeros_like(current.reason),
            size=self.method.size(inner, HostClock(0)).expand_as(current.value),
        )

    def step(self, state: BestSoFarState[S], clock: Clock) -> BestSoFarState[S]:
        """The state after an iteration."""
        inner = self.method.step(state.inner, clock)
        current = self.method.sample_state(inner)
        better = state.reason == TerminationReason.LENGTH
        if self.best:
            # A point within the tolerance ends the run, whatever its value.
            better = better & ((current.value < state.value) | (current.misfit <= self.enough))

        def chosen(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(per_sample(better, like=old), new, old)

        return BestSoFarState(
            inner,
            point=chosen(current.point, state.point),
            gradient=chosen(current.gradient, state.gradient),
            value=chosen(current.value, state.value),
            misfit=chosen(current.misfit, state.misfit),
            reason=self._reason(current, state.reason),
            at=torch.where(better, clock.now + 1, state.at),
            size=chosen(self.method.size(inner, clock.next()), state.size),
        )

    def sample_state(self, state: BestSoFarState[S]) -> SampleState:
        """The best point of each sample."""
        return SampleState(
            point=state.point,
            value=state.value,
            misfit=state.misfit,
            gradient=state.gradient,
            reason=state.reason,
            at=state.at,
        )

    def size(self, state: BestSoFarState[S], _: Clock, /) -> Tensor:
        """The size of the decoder's step from the best point of each sample."""
        return state.size

    def _reason(self, current: SampleState, reason: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        near = current.misfit <= self.enough
        ended = torch.where(near, TerminationReason.TOLERANCE.value, current.reason)
        return torch.where(reason == TerminationReason.LENGTH, ended, reason)
