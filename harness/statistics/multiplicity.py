"""What many claims together may get wrong.

No verdict depends on these figures: every claim has its own fixed alpha, so that a verdict is the
same whichever other claims ran. They stand beside the verdicts of a complete run.

References
----------
Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of
Statistics 6, 65-70.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Holm-adjusted P values, in the order given.

    Give each claim's P in the direction decided, ``min(p_supported, p_refuted)``: the sequential P
    is two-sided already, so that the lesser needs no further factor. Exact claims stay out.
    """
    # Imported here: it brings pandas along, and verdicts alone need neither.
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
