"""What the loop needs of a decoder: a first state, a step, and where each sample stands."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.inversion.clock import Clock

LATEST = 2**62
"""Later than any iteration."""


class TerminationReason(enum.IntEnum):
    """Why the run of a sample ended; `message` is a sentence."""

    LENGTH = 0
    TOLERANCE = 1
    STATIONARY = 2
    STUCK = 3
    NON_FINITE = 4

    def __str__(self) -> str:
        return self.name.lower()

    @property
    def message(self) -> str:
        """The reason as a sentence."""
        return _MESSAGES[self]


_MESSAGES = {
    TerminationReason.LENGTH: "All iterations were taken.",
    TerminationReason.TOLERANCE: "The output came within the tolerance of the target.",
    TerminationReason.STATIONARY: "The gradient vanished.",
    TerminationReason.STUCK: "No step lowered the loss any more, within rounding.",
    TerminationReason.NON_FINITE: "The gradient at the start is infinite or not a number.",
}


def reason_at_start(norm: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Whether samples can start at all, judged by the norms of their gradients."""
    lost = torch.where(
        norm.isfinite(), TerminationReason.LENGTH.value, TerminationReason.NON_FINITE.value
    )
    return torch.where(norm == 0, TerminationReason.STATIONARY.value, lost)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleState:
    """Where each sample stands, as the trace and the caller see it.

    Parameters
    ----------
    point : tensor, shape (batch, ...)
        What the decoder has reached.
    value, misfit : tensor, shape (batch,)
        The objective there, and the norm of the residual, m_g.
    gradient : tensor, shape (batch, ...)
        Of the objective.
    reason : tensor of int, shape (batch,)
        Values of `TerminationReason`, 0 while the sample runs.
    at : tensor of int, shape (batch,)
        The iteration that reached the point; `LATEST` for the current one.
    """

    point: Tensor
    value: Float[Tensor, " batch"]
    misfit: Float[Tensor, " batch"]
    gradient: Tensor
    reason: Int[Tensor, " batch"]
    at: Int[Tensor, " batch"]


S = TypeVar("S")


@runtime_checkable
class Method(Protocol[S]):
    """A decoder applied to a problem; its state is a frozen dataclass of tensors.

    A step neither waits for the device nor decides anything on the host, so that it can be
    captured in a CUDA graph.
    """

    def begin(self, start: Tensor) -> S:
        """The state at a start."""
        ...

    def step(self, state: S, clock: Clock, /) -> S:
        """The state after an iteration; ring buffers in it are written in place."""
        ...

    def sample_state(self, state: S) -> SampleState:
        """Where the samples stand."""
        ...

    def size(self, state: S, clock: Clock, /) -> Tensor:
        """The size of the next step, one number or one for each sample; nan if it has none."""
        ...


def tensors(state: Any, *, prefix: str = "") -> dict[str, Tensor]:
    """All tensors of a state, by the path of their fields."""
    found: dict[str, Tensor] = {}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if isinstance(value, Tensor):
            found[prefix + field.name] = value
        elif dataclasses.is_dataclass(value):
            found |= tensors(value, prefix=f"{prefix}{field.name}.")
    return found


def with_tensors(state: S, found: Mapping[str, Tensor], *, prefix: str = "") -> S:
    """A state with its tensors replaced, by the path of their fields."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(cast(Any, state)):
        value = getattr(state, field.name)
        if isinstance(value, Tensor):
            changes[field.name] = found[prefix + field.name]
        elif dataclasses.is_dataclass(value):
            changes[field.name] = with_tensors(value, found, prefix=f"{prefix}{field.name}.")
    return cast(S, dataclasses.replace(cast(Any, state), **changes))


def cloned(state: S) -> S:
    """A copy of a state, whose tensors share no memory with any other, or with each other."""
    return with_tensors(state, {name: value.clone() for name, value in tensors(state).items()})
