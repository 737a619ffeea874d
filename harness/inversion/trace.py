"""Numbers along a run, on the device until the run has ended."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from harness.inversion.clock import Clock
from harness.inversion.distances import l2
from harness.inversion.method import SampleState

QUANTITIES = ("m_g", "m_i", "gradient_norm", "loss", "rho")


class Trace:
    """A preallocated table of the quantities of every sample at chosen iterations.

    Parameters
    ----------
    points : sequence of int
        The iterations, ascending; the last one is the end of the run.
    original : tensor, shape (batch, ...)
        The image a; the table takes its dtype and device.
    """

    def __init__(self, points: Sequence[int], *, original: Tensor) -> None:
        self.points = tuple(points)
        self.rows = {point: row for row, point in enumerate(self.points)}
        self.original = original
        self.table: Float[Tensor, "points quantities batch"] = torch.full(
            (len(self.points), len(QUANTITIES), len(original)),
            torch.nan,
            dtype=original.dtype,
            device=original.device,
        )

    def note(self, state: SampleState, *, image: Tensor, size: Tensor, row: Clock) -> None:
        """Write one row.

        Parameters
        ----------
        state : SampleState
            Of all samples.
        image : tensor, shape (batch, ...)
            The images at its points.
        size : tensor, scalar or of shape (batch,)
            Of the next step; rho = size * |g|^2 / (2 f) is nan for a decoder without one.
        row : Clock
            Shows the number of the row.
        """
        norm = l2(state.gradient)
        quantities = (
            state.misfit,
            l2(image - self.original),
            norm,
            state.value,
            size * norm.square() / (2 * state.value),
        )
        row.write(self.table, torch.stack(quantities))

    def end_at(self, row: int) -> None:
        """Repeat a row until the end of the table, since all samples have ended."""
        self.table[row + 1 :] = self.table[row]
