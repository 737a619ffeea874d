"""Photographs in general: one fixed look at one mean per distinct photograph.

Replicates draw photographs with replacement, and a verdict is about these photographs. For
photographs in general the sample size is only the number of distinct ones, however often each was
drawn: the effect is averaged within each photograph, and each average counts once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from harness.claim import Criterion
from harness.errors import ClaimError
from harness.statistics.sequential import tails


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beyond:
    """The exact sign test over distinct photographs; both P are doubled tails of one look.

    Parameters
    ----------
    means : mapping of str to float
        Mean effect by photograph; nan where one of its replicates is not finite, or is invalid.
    events : int
        Photographs whose mean lies beyond the margin.
    p_supported, p_refuted : float
        Against ``p <= p0`` and against ``p > p0``.
    """

    means: dict[str, float]
    events: int
    p_supported: float
    p_refuted: float


def beyond(criterion: Criterion, values: Sequence[float], *, photographs: Sequence[str]) -> Beyond:
    """What the replicates show about photographs in general.

    Parameters
    ----------
    criterion : Criterion
        What is claimed of the effect.
    values : sequence of float
        The effect of each replicate, nan if it is invalid; their number is fixed beforehand.
    photographs : sequence of str
        The photograph of each replicate.

    Raises
    ------
    ClaimError
        If there are no replicates, or the numbers differ.
    """
    if not values or len(values) != len(photographs):
        raise ClaimError(
            f"{len(values)} values, {len(photographs)} photographs",
            rule="every replicate has its photograph, and there is at least one",
            remedy="Give a photograph for each value",
        )
    by_photograph: dict[str, list[float]] = {}
    for value, photograph in zip(values, photographs, strict=True):
        by_photograph.setdefault(photograph, []).append(value)
    means = {
        photograph: math.fsum(own) / len(own) if all(map(math.isfinite, own)) else math.nan
        for photograph, own in by_photograph.items()
    }
    events = sum(map(criterion.holds, means.values()))
    p_supported, p_refuted = tails(events, len(means), criterion.share)
    return Beyond(means=means, events=events, p_supported=p_supported, p_refuted=p_refuted)
