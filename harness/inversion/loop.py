"""The loop of a run: steps, the trace at some iterations, checkpoints, the end."""

from __future__ import annotations

from torch import Tensor

from harness.checkpoint import Checkpoint
from harness.inversion.decoders.kicks import Kicks
from harness.inversion.method import Method, S, cloned, tensors
from harness.inversion.steppers import Image, drive, running
from harness.inversion.trace import Trace

_TABLE = "trace"


def run(
    method: Method[S],
    *,
    start: Tensor,
    trace: Trace,
    image: Image,
    kicks: Kicks | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[S, Tensor]:
    """The last state of a decoder, and the points that it started from.

    It runs until the last iteration of a trace, or until all samples have ended.

    The host waits for the device at traced iterations only.

    Parameters
    ----------
    method : Method
        The decoder.
    start : tensor, shape (batch, ...)
        The points it starts from.
    trace : Trace
        Filled during the run.
    image : callable
        From points to images, for the trace.
    kicks : Kicks or None
        By which it leaves points without a gradient before the run.
    checkpoint : Checkpoint or None
        Read at the start, and written now and then.
    """
    state, begun = kicks.begin(method, start) if kicks else (method.begin(start), start)
    first = 0
    # An earlier version may have written one with another layout.
    saved = checkpoint.load(like={**tensors(state), _TABLE: trace.table}) if checkpoint else None
    if saved is not None:
        found, first = saved
        trace.table.copy_(found.pop(_TABLE))
        state = cloned(state)
        for name, place in tensors(state).items():
            place.copy_(found[name])
    row = sum(point < first for point in trace.points)
    size = sum(value.nbytes for value in (*tensors(state).values(), trace.table))
    driver = drive(method, state, trace=trace, image=image, iteration=first, row=row)
    # The driver may hold a copy, and histories are large.
    del state
    for iteration in range(first, trace.points[-1] + 1):
        if iteration in trace.rows:
            driver.note()
            if not running(method, driver.state):
                trace.end_at(trace.rows[iteration])
                break
        if iteration < trace.points[-1]:
            driver.step()
        if checkpoint and checkpoint.due(size):
            checkpoint.save({**tensors(driver.state), _TABLE: trace.table}, iteration=iteration + 1)
    return driver.state, begun
