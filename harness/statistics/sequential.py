"""The exact group-sequential sign test: events counted at a few looks fixed beforehand.

The looks of the claims, 12, 24 and 48 replicates, are `harness.claim.LOOKS`.

At look k, after ``n_k`` replicates of which ``s_k`` are events, ``P_k`` is the two-sided exact
binomial P by doubling, ``min(1, 2 * tail)``. The looks share alpha (weights ``w_k`` with a sum of
at most 1); the sequential P is the least ``P_k / w_k`` of the looks reached, and a direction is
decided where it is at most alpha. By Bonferroni over the looks the error stays within alpha,
whatever their dependence and wherever one stops.

Doubling is deliberate although each direction is a one-sided question: it makes a definite verdict
agree with the interval. Decided at look k means exactly that the order-statistic interval with
``w_k * alpha / 2`` in each tail excludes the margin. The one-sided form would decide at 34 of 48
while the interval still holds the margin; doubling gives 12 of 12, 20 of 24 and 35 of 48.

References
----------
Dunn, O. J. (1961). Multiple comparisons among means. JASA 56, 52-64 (Bonferroni).
Gibbons, J. D. and Pratt, J. W. (1975). P-values: interpretation and methodology. The American
Statistician 29, 20-25 (doubling the tail).
Jennison, C. and Turnbull, B. W. (2000). Group Sequential Methods with Applications to Clinical
Trials. Chapman & Hall, chapters 7 (spending alpha) and 12 (binary events).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from harness.claim import ALPHA, LOOKS
from harness.errors import ClaimError

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

MOST_REPLICATES = 10_000
"""Limit of the search for a number of replicates that would decide."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tally:
    """What one look found, for any number of series at once.

    Parameters
    ----------
    n : int
        Replicates.
    spends : float
        The look's share of alpha.
    events : array of int, shape (...)
        Events among the replicates.
    p_supported, p_refuted : array of float, shape (...)
        The sequential P of either direction so far: the least ``P_k / w_k`` up to this look.
    """

    n: int
    spends: float
    events: npt.NDArray[np.int_]
    p_supported: Floats
    p_refuted: Floats


def check_looks(looks: Sequence[tuple[int, float]]) -> None:
    """Raise `ClaimError` if looks are not in order or spend more than alpha."""
    sizes = [n for n, _ in looks]
    shares = [share for _, share in looks]
    rising = all(a < b for a, b in itertools.pairwise(sizes))
    if not looks or sizes[0] < 2 or not rising:
        raise ClaimError(
            sizes,
            rule="looks come at growing numbers of replicates, the first at 2 or more",
            remedy="Give looks such as ((12, .2), (24, .3), (48, .5))",
        )
    if min(shares) <= 0 or math.fsum(shares) > 1 + 1e-9:
        raise ClaimError(
            shares,
            rule="the looks' shares of alpha are positive and add up to at most 1",
            remedy="Give shares such as .2, .3 and .5",
        )


@functools.cache
def tail_table(n: int, p0: float) -> Floats:
    """The two-sided exact binomial P by doubling, for every number of events among n replicates.

    Parameters
    ----------
    n : int
        Replicates.
    p0 : float
        Probability of an event at the border of the two hypotheses.

    Returns
    -------
    array, shape (n + 1, 2)
        Row s has ``min(1, 2 P(S >= s))`` and ``min(1, 2 P(S <= s))``, S being Binomial(n, p0).
    """
    events = np.arange(n + 1)
    many, few = special.bdtrc(events - 1, n, p0), special.bdtr(events, n, p0)
    table: Floats = np.minimum(1.0, 2 * np.stack([many, few], axis=1))
    table.setflags(write=False)
    return table


def tails(events: int, n: int, p0: float) -> tuple[float, float]:
    """Two-sided exact binomial P by doubling: of many events, and of few (see `tail_table`)."""
    many, few = tail_table(n, p0)[events]
    return float(many), float(few)


def each_look(
    events: Bools, *, p0: float = 0.5, looks: Sequence[tuple[int, float]] = LOOKS
) -> Iterator[Tally]:
    """The complete looks in their order, with the sequential P up to each.

    Parameters
    ----------
    events : array of bool, shape (..., replicates)
        One per replicate, in order; those after the last complete look do not count.
    p0 : float
        The probability that the event's has to exceed.
    looks : sequence of (int, float)
        Replicates at each look and its share of alpha.
    """
    check_looks(looks)
    p_supported = p_refuted = np.ones(events.shape[:-1])
    for n, share in looks:
        if n > events.shape[-1]:
            return
        count = events[..., :n].sum(axis=-1)
        p = tail_table(n, p0)[count] / share
        p_supported = np.minimum(p_supported, p[..., 0])
        p_refuted = np.minimum(p_refuted, p[..., 1])
        yield Tally(n=n, spends=share, events=count, p_supported=p_supported, p_refuted=p_refuted)


def boundaries(
    *,
    p0: float = 0.5,
    alpha: float = ALPHA,
    looks: Sequence[tuple[int, float]] = LOOKS,
) -> tuple[tuple[int, int | None, int | None], ...]:
    """Events that decide at each look.

    Returns
    -------
    tuple of (int, int or None, int or None)
        Replicates at the look, the least number of events that supports, and the largest that
        refutes; None where no number does.
    """
    check_looks(looks)
    rows = []
    for n, share in looks:
        supports, refutes = (np.flatnonzero(p / share <= alpha) for p in tail_table(n, p0).T)
        rows.append(
            (
                n,
                int(supports[0]) if supports.size else None,
                int(refutes[-1]) if refutes.size else None,
            )
        )
    return tuple(rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chance:
    """How probable a decision is up to a look, both directions.

    Parameters
    ----------
    n : int
        Replicates at the look.
    supported, refuted : float
        Probability of having been decided so at this look or an earlier one.
    """

    n: int
    supported: float
    refuted: float


def chances(
    p: float,
    *,
    p0: float = 0.5,
    alpha: float = ALPHA,
    looks: Sequence[tuple[int, float]] = LOOKS,
) -> tuple[Chance, ...]:
    """The exact law of the sequential sign test where an event has probability p.

    Parameters
    ----------
    p : float
        True probability of an event. At p = p0 the probabilities at the last look are the error
        rates of the two directions, otherwise one is the power and the other the error rate.
    p0, alpha, looks
        As in `boundaries`.
    """
    return crossings(p, boundaries(p0=p0, alpha=alpha, looks=looks))


def crossings(p: float, stops: Sequence[tuple[int, int | None, int | None]]) -> tuple[Chance, ...]:
    """Exact probabilities of crossing the boundaries of any group-sequential binomial test.

    All paths through the looks at once: the distribution of the number of events among series that
    no look has decided, carried from look to look by convolution (Jennison & Turnbull 2000, 12.1).

    Parameters
    ----------
    p : float
        Probability of an event.
    stops : sequence of (int, int or None, int or None)
        As `boundaries` gives them.
    """
    # Imported here: it takes most of a second, and verdicts need no more than the tails.
    from scipy import stats

    undecided, before, supported, refuted = np.ones(1), 0, 0.0, 0.0
    law = []
    for n, supports, refutes in stops:
        # Not binom.pmf, which overflows where p is next to 0.
        step = np.exp(stats.binom.logpmf(np.arange(n - before + 1), n - before, p))
        undecided, before = np.convolve(undecided, step), n
        if supports is not None:
            supported += float(undecided[supports:].sum())
            undecided[supports:] = 0
        if refutes is not None:
            refuted += float(undecided[: refutes + 1].sum())
            undecided[: refutes + 1] = 0
        law.append(Chance(n=n, supported=supported, refuted=refuted))
    return tuple(law)


def least_n(
    p0: float = 0.5,
    *,
    alpha: float = ALPHA,
    looks: Sequence[tuple[int, float]] = LOOKS,
) -> tuple[int | None, int | None]:
    """The first look at which unanimous replicates support, and at which they refute.

    None where no look can: see `least_fixed_n` for what it would take. With a p0 outside
    [.25, .75] the default looks decide one side late or never, so such a claim needs its own.
    """
    rows = boundaries(p0=p0, alpha=alpha, looks=looks)
    supports = next((n for n, support, _ in rows if support is not None), None)
    refutes = next((n for n, _, refute in rows if refute is not None), None)
    return supports, refutes


def least_fixed_n(p0: float = 0.5, *, alpha: float = ALPHA) -> tuple[int, int]:
    """Replicates with which one look at the whole of alpha can support, and can refute."""
    # Unanimity is the strongest evidence there is: 2 p0^n <= alpha, and 2 (1 - p0)^n <= alpha.
    return (
        math.ceil(math.log(alpha / 2) / math.log(p0)),
        math.ceil(math.log(alpha / 2) / math.log1p(-p0)),
    )


@functools.cache
def replicates_to_decide(
    share: float,
    *,
    p0: float = 0.5,
    alpha: float = ALPHA,
    more_than: int = 0,
    at_most: int = MOST_REPLICATES,
) -> int | None:
    """Replicates that one look would need to decide at a given share of events.

    A planning figure, no promise: it takes the share seen for the true one.

    Parameters
    ----------
    share : float
        Share of events, in [0, 1]. Above p0 the figure is for support, below it for refutation.
    p0, alpha : float
        Border of the hypotheses, and what the look may spend.
    more_than, at_most : int
        Range of the search.

    Returns
    -------
    int or None
        None where no number up to `at_most` decides.
    """
    # A thousand at a time: most shares need few, and the tails are expensive.
    for start in range(more_than + 1, at_most + 1, 1000):
        n = np.arange(start, min(start + 1000, at_most + 1))
        # Rounded conservatively; the small term keeps 0.6 * 10 at 6.
        if share > p0:
            tail = special.bdtrc(np.floor(share * n + 1e-9) - 1, n, p0)
        else:
            tail = special.bdtr(np.ceil(share * n - 1e-9), n, p0)
        enough = np.flatnonzero(2 * tail <= alpha)
        if enough.size:
            return int(n[enough[0]])
    return None
