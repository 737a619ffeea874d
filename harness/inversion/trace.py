"""Numbers along a run, kept on the device until the run has ended."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from harness.distances import l2

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
        self._rows = {point: row for row, point in enumerate(self.points)}
        self._original = original
        self.table: Float[Tensor, "points quantities batch"] = torch.full(
            (len(self.points), len(QUANTITIES), len(original)),
            torch.nan,
            dtype=original.dtype,
            device=original.device,
        )

    def wants(self, iteration: int) -> bool:
        """Whether an iteration is traced."""
        return iteration in self._rows

    def note(
        self,
        iteration: int,
        *,
        copy: Tensor,
        residual: Tensor,
        gradient: Tensor,
        loss: Float[Tensor, " batch"],
        step: Float[Tensor, " batch"] | float,
    ) -> None:
        """Write one row; rho = step * |g|^2 / (2 f) is nan for a decoder without such a step."""
        row = self.table[self._rows[iteration]]
        norm = l2(gradient)
        row[0] = l2(residual)
        row[1] = l2(copy - self._original)
        row[2] = norm
        row[3] = loss
        row[4] = step * norm.square() / (2 * loss)
