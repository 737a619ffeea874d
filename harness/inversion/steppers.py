"""How steps are taken: one call after the other, or as a CUDA graph captured once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from harness.inversion.clock import Clock, DeviceClock, HostClock
from harness.inversion.protocol import Method, S, TerminationReason, cloned, tensors
from harness.inversion.trace import Trace

Image = Callable[[Tensor], Tensor]
"""From the points of a decoder to images."""

S_co = TypeVar("S_co", covariant=True)

_WARM_UP = 3

_SIDE: dict[torch.device, torch.cuda.Stream] = {}
"""Where steps are tried and captured, one stream a device: cuBLAS keeps 32 MiB for every stream
that it has met."""


@runtime_checkable
class Driver(Protocol[S_co]):
    """Takes the steps of a run; knows its state."""

    @property
    def state(self) -> S_co:
        """The state now."""
        ...

    def note(self) -> None:
        """Write the next row of the trace."""
        ...

    def step(self) -> None:
        """Go one iteration on."""
        ...


class Eager(Generic[S]):
    """Calls the method at every step.

    Parameters
    ----------
    method : Method
        The decoder.
    state : state
        Where it stands.
    trace, image
        What is noted.
    iteration, row : int
        The next iteration, and the next row of the trace.
    """

    def __init__(
        self,
        method: Method[S],
        state: S,
        *,
        trace: Trace,
        image: Image,
        iteration: int = 0,
        row: int = 0,
    ) -> None:
        self.state = self._held(state)
        self._method, self._trace, self._image = method, trace, image
        self._clock, self._row = self._clock_at(iteration), self._clock_at(row)

    def note(self) -> None:
        """Write the next row of the trace."""
        view = self._method.sample_state(self.state)
        size = self._method.size(self.state, self._clock)
        self._trace.note(view, image=self._image(view.point), size=size, row=self._row)
        self._row = self._row.advance()

    def step(self) -> None:
        """Go one iteration on."""
        self.state = self._method.step(self.state, self._clock)
        self._clock = self._clock.advance()

    def _held(self, state: S) -> S:
        """The state as it is held."""
        return state

    def _clock_at(self, number: int) -> Clock:
        """A clock that shows a number."""
        return HostClock(number)


class InPlace(Eager[S]):
    """Keeps the state and the clocks at fixed places in memory, so that steps can be replayed.

    Parameters as for `Eager`.
    """

    def step(self) -> None:
        """Go one iteration on."""
        new = tensors(self._method.step(self.state, self._clock))
        for name, place in tensors(self.state).items():
            # Rings are written by the step itself.
            if new[name] is not place:
                place.copy_(new[name])
        self._clock = self._clock.advance()

    def _held(self, state: S) -> S:
        return cloned(state)

    def _clock_at(self, number: int) -> Clock:
        return DeviceClock(torch.tensor([number], device=self._trace.table.device))


class Graphed(InPlace[S]):
    """Replays steps from two CUDA graphs, one with a row of the trace and one without.

    Captured when made, for a method on a CUDA device. Parameters as for `Eager`.
    """

    def __init__(
        self,
        method: Method[S],
        state: S,
        *,
        trace: Trace,
        image: Image,
        iteration: int = 0,
        row: int = 0,
    ) -> None:
        super().__init__(method, state, trace=trace, image=image, iteration=iteration, row=row)
        device = trace.table.device
        if device not in _SIDE:
            _SIDE[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._warm_up(state)
        self._step, self._note = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # Where a capture fails, torch leaves its stream behind as the current one.
        with torch.cuda.stream(torch.cuda.current_stream(device)):
            with torch.cuda.graph(self._step, stream=_SIDE[device]):
                super().step()
            with torch.cuda.graph(self._note, stream=_SIDE[device]):
                super().note()

    def _warm_up(self, state: S) -> None:
        """Take steps in vain.

        What libraries allocate and choose at their first calls may not be captured. The memory of
        these steps is free again when capturing begins.
        """
        trace, device = self._trace, self._trace.table.device
        side = _SIDE[device]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            spare: InPlace[S] = InPlace(
                self._method,
                state,
                trace=Trace(trace.points, original=trace.original),
                image=self._image,
            )
            for _ in range(_WARM_UP):
                spare.note()
                spare.step()
        torch.cuda.current_stream(device).wait_stream(side)

    def note(self) -> None:
        """Write the next row of the trace."""
        self._note.replay()

    def step(self) -> None:
        """Go one iteration on."""
        self._step.replay()


def drive(
    method: Method[S],
    state: S,
    *,
    trace: Trace,
    image: Image,
    iteration: int = 0,
    row: int = 0,
) -> Driver[S]:
    """The driver for the device that a run is on; parameters as for `Eager`."""
    # Where no step is left there is nothing to replay, and tables may be empty.
    kind = Graphed if trace.table.is_cuda and iteration < trace.points[-1] else Eager
    return kind(method, state, trace=trace, image=image, iteration=iteration, row=row)


def running(method: Method[S], state: S) -> bool:
    """Whether any sample has not ended; waits for the device."""
    return bool((method.sample_state(state).reason == TerminationReason.LENGTH).any())
