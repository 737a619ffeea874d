"""Around any decoder: the best point so far, and an end once a sample is within the tolerance."""

from __future__ import annotations

import dataclasses
from typing import Generic

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.inversion.clock import Clock, HostClock
from harness.inversion.distances import per_sample
from harness.inversion.method import Method, S, SampleState, TerminationReason


@dataclasses.dataclass(frozen=True)
class BestSoFarState(Generic[S]):
    """The decoder's own state, and the best point of each sample.

    Parameters
    ----------
    inner : state
        Of the decoder, which goes on from its own point, not from the best one.
    best : SampleState
        At the best point of each sample.
    size : tensor, shape (batch,)
        Of the decoder's step from there, for rho.
    """

    inner: S
    best: SampleState
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
        zero = torch.zeros_like(current.reason)
        return BestSoFarState(
            inner,
            best=dataclasses.replace(current, reason=self._reason(current, zero), at=zero),
            size=self.method.size(inner, HostClock(0)).expand_as(current.value),
        )

    def step(self, state: BestSoFarState[S], clock: Clock) -> BestSoFarState[S]:
        """The state after an iteration."""
        inner = self.method.step(state.inner, clock)
        current = self.method.sample_state(inner)
        best = state.best
        better = best.reason == TerminationReason.LENGTH
        if self.best:
            # A point within the tolerance ends the run, whatever its value.
            better = better & ((current.value < best.value) | (current.misfit <= self.enough))

        def chosen(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(per_sample(better, like=old), new, old)

        return BestSoFarState(
            inner,
            best=SampleState(
                point=chosen(current.point, best.point),
                gradient=chosen(current.gradient, best.gradient),
                value=chosen(current.value, best.value),
                misfit=chosen(current.misfit, best.misfit),
                reason=self._reason(current, best.reason),
                at=torch.where(better, clock.now + 1, best.at),
            ),
            size=chosen(self.method.size(inner, clock.next()), state.size),
        )

    def sample_state(self, state: BestSoFarState[S]) -> SampleState:
        """The best point of each sample."""
        return state.best

    def size(self, state: BestSoFarState[S], _: Clock, /) -> Tensor:
        """The size of the decoder's step from the best point of each sample."""
        return state.size

    def _reason(self, current: SampleState, reason: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        near = current.misfit <= self.enough
        ended = torch.where(near, TerminationReason.TOLERANCE.value, current.reason)
        return torch.where(reason == TerminationReason.LENGTH, ended, reason)
