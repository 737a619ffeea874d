"""Error rates of many claims together.

No verdict depends on these figures: every claim has its own fixed alpha, so that a verdict is the
same whichever other claims ran. They are reported for complete runs.

References
----------
Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of
Statistics 6, 65-70.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """Error rates of many claims together.

    Parameters
    ----------
    complete : bool
        Whether the run is whole and measured every confirmatory condition; else there are no
        adjusted P.
    p : mapping of str to float
        By claim, the smaller of two P, that of supported and that of refuted, each the largest over
        its conditions.
    holm : mapping of str to float
        The same, adjusted by Holm's procedure over all claims; empty where the run is not complete.
    expected_wrong : float
        The expected number of wrong definite verdicts is at most this.
    """

    complete: bool
    p: Mapping[str, float]
    holm: Mapping[str, float]
    expected_wrong: float


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Holm-adjusted P values, in the order given.

    Give each claim's P in the direction decided, ``min(p_supported, p_refuted)``: the sequential P
    is two-sided already, so that the smaller needs no further factor. Exact claims stay out.
    """
    # Imported here: it brings pandas and scipy.stats along, which take a second, and a report that
    # is made again has the adjusted P already.
    from statsmodels.stats.multitest import multipletests

    if not p:
        return ()
    return tuple(float(value) for value in multipletests(p, method="holm")[1])


def expected_wrong(alphas: Iterable[float]) -> float:
    """The expected number of wrong definite verdicts is at most this.

    By linearity of expectation the claims' alphas add up, however the claims depend on each other.
    Of supported and refuted exactly one would be wrong, and doubling gives either half of alpha,
    so the true number is about half of this bound at most.
    """
    return math.fsum(alphas)
