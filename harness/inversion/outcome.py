"""What the run of a sample came to."""

from __future__ import annotations

import enum

from jaxtyping import Bool, Float
from torch import Tensor

from harness.plan import cells

PLATEAU = 0.01
"""A loss is on a plateau if it fell by less than this share in the last quarter of the run."""


class Outcome(enum.StrEnum):
    """What a run came to; `message` is a sentence."""

    MATCHED = "matched"
    STUCK = cells.STUCK
    PLATEAU = "plateau"
    UNFINISHED = cells.UNFINISHED
    DIVERGED = "diverged"
    NON_FINITE = cells.NON_FINITE

    @property
    def message(self) -> str:
        """The outcome as a sentence."""
        return _MESSAGES[self]


_MESSAGES = {
    Outcome.MATCHED: "The output is nearer to the target than the noised image's output is.",
    Outcome.STUCK: "The decoder never left its start: no step from there lowered the loss.",
    Outcome.PLATEAU: "The loss no longer fell in the last quarter of the run.",
    Outcome.UNFINISHED: "The loss was still falling when the run ended.",
    Outcome.DIVERGED: "The loss ended above where it began.",
    Outcome.NON_FINITE: "A value became infinite or not a number.",
}


def classify(
    *,
    first: Float[Tensor, " batch"],
    late: Float[Tensor, " batch"],
    last: Float[Tensor, " batch"],
    m_g: Float[Tensor, " batch"],
    m_r: Float[Tensor, " batch"],
    moved: Bool[Tensor, " batch"],
    finite: Bool[Tensor, " batch"],
) -> tuple[Outcome, ...]:
    """The outcome of each sample.

    Parameters
    ----------
    first, late, last : tensor, shape (batch,)
        The loss at the start, at three quarters and at the end of the run.
    m_g, m_r : tensor, shape (batch,)
        Final distance of the outputs, and the reference.
    moved : tensor of bool, shape (batch,)
        Whether the reconstruction is another image than the start.
    finite : tensor of bool, shape (batch,)
        Whether all numbers of the sample stayed finite.
    """
    plateau = last >= late * (1 - PLATEAU)
    outcomes = []
    for sample in range(len(first)):
        if not finite[sample]:
            outcomes.append(Outcome.NON_FINITE)
        elif last[sample] > first[sample]:
            outcomes.append(Outcome.DIVERGED)
        elif m_g[sample] < m_r[sample]:
            outcomes.append(Outcome.MATCHED)
        elif not moved[sample]:
            outcomes.append(Outcome.STUCK)
        elif plateau[sample]:
            outcomes.append(Outcome.PLATEAU)
        else:
            outcomes.append(Outcome.UNFINISHED)
    return tuple(outcomes)
