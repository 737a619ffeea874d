"""How the run of a sample ended; the members are the messages."""

from __future__ import annotations

import enum

from jaxtyping import Bool, Float
from torch import Tensor

from harness.plan import cells

PLATEAU = 0.01
"""A loss that fell by less than this share over the last quarter of a run lies on a plateau."""


class Status(enum.StrEnum):
    """The end of a run; `message` says it in a sentence."""

    MATCHED = "matched"
    PLATEAU = "plateau"
    UNFINISHED = cells.UNFINISHED
    DIVERGED = "diverged"
    NON_FINITE = cells.NON_FINITE

    @property
    def message(self) -> str:
        """The status as a sentence."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.MATCHED: "The output is nearer to the target's than the noised image's output is.",
    Status.PLATEAU: "The loss no longer fell in the last quarter of the run.",
    Status.UNFINISHED: "The loss was still falling when the run ended.",
    Status.DIVERGED: "The loss ended above where it began.",
    Status.NON_FINITE: "A value became infinite or not a number.",
}


def classify(
    *,
    first: Float[Tensor, " batch"],
    late: Float[Tensor, " batch"],
    last: Float[Tensor, " batch"],
    m_g: Float[Tensor, " batch"],
    m_r: Float[Tensor, " batch"],
    finite: Bool[Tensor, " batch"],
) -> tuple[Status, ...]:
    """Status of each sample.

    Parameters
    ----------
    first, late, last : tensor, shape (batch,)
        The loss at the start, at three quarters and at the end of the run.
    m_g, m_r : tensor, shape (batch,)
        Final distance of the outputs, and the reference.
    finite : tensor of bool, shape (batch,)
        Whether everything of the sample stayed finite.
    """
    plateau = last >= late * (1 - PLATEAU)
    statuses = []
    for sample in range(len(first)):
        if not finite[sample]:
            statuses.append(Status.NON_FINITE)
        elif last[sample] > first[sample]:
            statuses.append(Status.DIVERGED)
        elif m_g[sample] < m_r[sample]:
            statuses.append(Status.MATCHED)
        elif plateau[sample]:
            statuses.append(Status.PLATEAU)
        else:
            statuses.append(Status.UNFINISHED)
    return tuple(statuses)
