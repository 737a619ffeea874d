"""How steps are taken: one call after another, or by replaying a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

import torch
from torch import Tensor

from harness.inversion.clock import Clock, DeviceClock, HostClock
from harness.inversion.method import Method, S, TerminationReason, cloned, tensors
from harness.inversion.trace import Trace

Image = Callable[[Tensor], Tensor]
"""Maps the points of a decoder to images."""

_WARM_UP = 3

SIDE_STREAMS: dict[torch.device, torch.cuda.Stream] = {}
"""The stream on which steps are captured, one for each device: cuBLAS keeps 32 MiB for every stream
that it has seen."""


class Eager(Generic[S]):
    """Takes the steps of a run by calling its method, and holds the state.

    Parameters
    ----------
    method : Method
        The decoder.
    state : state
        To start from.
    trace, image
        Where to write, and the images of points.
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
        self.method, self.trace, self.image = method, trace, image
        self.clock, self.row = self._clock_at(iteration), self._clock_at(row)

    def note(self) -> None:
        """Write the next row of the trace."""
        state = self.method.sample_state(self.state)
        size = self.method.size(self.state, self.clock)
        self.trace.note(state, image=self.image(state.point), size=size, row=self.row)
        self.row = self.row.advance()

    def step(self) -> None:
        """Take one step."""
        self.state = self.method.step(self.state, self.clock)
        self.clock = self.clock.advance()

    def _held(self, state: S) -> S:
        """The state as the driver holds it."""
        return state

    def _clock_at(self, number: int) -> Clock:
        """A clock set to a number."""
        return HostClock(number)


class InPlace(Eager[S]):
    """Holds the state and the clocks at fixed addresses, so that steps can be replayed.

    Parameters as for `Eager`.
    """

    def step(self) -> None:
        """Take one step."""
        new = tensors(self.method.step(self.state, self.clock))
        for name, place in tensors(self.state).items():
            # The step itself writes ring buffers.
            if new[name] is not place:
                place.copy_(new[name])
        self.clock = self.clock.advance()

    def _held(self, state: S) -> S:
        return cloned(state)

    def _clock_at(self, number: int) -> Clock:
        return DeviceClock(torch.full((1,), number, device=self.trace.table.device))


class Graphed(InPlace[S]):
    """Replays CUDA graphs, one of a step and one of a row of the trace, captured when it is made.

    For a method on a CUDA device. Parameters as for `Eager`.
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
        if device not in SIDE_STREAMS:
            SIDE_STREAMS[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._warm_up(state)
        self.step_graph, self.note_graph = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # If a capture fails, torch leaves its stream as the current one.
        with torch.cuda.stream(torch.cuda.current_stream(device)):
            with torch.cuda.graph(self.step_graph, stream=SIDE_STREAMS[device]):
                super().step()
            with torch.cuda.graph(self.note_graph, stream=SIDE_STREAMS[device]):
                super().note()

    def _warm_up(self, state: S) -> None:
        """Take steps whose result is thrown away.

        What libraries allocate and choose in their first calls must not be captured. The memory of
        these steps is free again when capturing begins.
        """
        trace, device = self.trace, self.trace.table.device
        side = SIDE_STREAMS[device]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            spare: InPlace[S] = InPlace(
                self.method,
                state,
                trace=Trace(trace.points, original=trace.original),
                image=self.image,
            )
            for _ in range(_WARM_UP):
                spare.note()
                spare.step()
        torch.cuda.current_stream(device).wait_stream(side)

    def note(self) -> None:
        """Write the next row of the trace."""
        self.note_graph.replay()

    def step(self) -> None:
        """Take one step."""
        self.step_graph.replay()


def drive(
    method: Method[S],
    state: S,
    *,
    trace: Trace,
    image: Image,
    iteration: int = 0,
    row: int = 0,
) -> Eager[S]:
    """The driver for the device of a run; parameters as for `Eager`."""
    # With no step left there is nothing to replay, and tables may be empty.
    kind = Graphed if trace.table.is_cuda and iteration < trace.points[-1] else Eager
    return kind(method, state, trace=trace, image=image, iteration=iteration, row=row)


def running(method: Method[S], state: S) -> bool:
    """Whether any sample still runs; waits for the device."""
    return bool((method.sample_state(state).reason == TerminationReason.LENGTH).any())
