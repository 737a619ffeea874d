"""The decision: which claim the events of replicates support.

Everything that decides a condition is here, in the order of `docs/statistics.md`, whose sentences
stand above the lines that carry them out. The rules work on arrays, on any number of series of
replicates at once: a condition is one series, calibration runs ten thousand through the same lines.

References
----------
Berger, R. L. (1982). Multiparameter hypothesis testing and acceptance sampling. Technometrics 24,
295-300 (intersection-union tests).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.claim import ALPHA, LOOKS, Kind
from harness.statistics.sequential import Bools, Floats, check_looks, each_look

INVALID_ABOVE = 0.25
"""A series is invalid where more than this share of its replicates is."""


class Ruling(enum.IntEnum):
    """What was decided of a series; anything but `OPEN` ends it."""

    OPEN = 0
    SUPPORTED = 1
    REFUTED = 2
    INVALID = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequentialRun:
    """How far each series went, and what was decided of it.

    Parameters
    ----------
    ruling : array of int, shape (...)
        Values of `Ruling`.
    looks : array of int, shape (...)
        Complete looks that were taken, the one that decided included.
    p_supported, p_refuted : array of float, shape (..., parts)
        Sequential P of each part at the last look taken; 1 if none was (see `combined_p`).
    reversed : array of bool, shape (...)
        Whether what refutes goes the other way (see `decided`).
    """

    ruling: npt.NDArray[np.int_]
    looks: npt.NDArray[np.int_]
    p_supported: Floats
    p_refuted: Floats
    reversed: Bools


def combined_p(p_supported: Floats, p_refuted: Floats) -> tuple[Floats, Floats]:
    """The P of all parts together, from those of the parts in the last axis.

    "IUT over k parts: supported P = the largest, refuted P = k times the smallest." For the two
    sides of an equivalence this is alpha for each to support and alpha / 2 for each to refute.
    """
    parts = p_supported.shape[-1]
    return p_supported.max(axis=-1), np.minimum(1.0, parts * p_refuted.min(axis=-1))


def decided(
    kind: Kind,
    events: Bools,
    *,
    failed: Bools,
    shares: Sequence[float],
    opposite: Bools | None = None,
    alpha: float = ALPHA,
    looks: Sequence[tuple[int, float]] = LOOKS,
) -> SequentialRun:
    """Decide series of replicates, each by itself.

    Parameters
    ----------
    kind : Kind
        The rule: exact, existential, or one of those that count events.
    events : array of bool, shape (..., parts, replicates)
        Whether a replicate's effect lies beyond the margin of a part; a tie does not.
    failed : array of bool, shape (..., replicates)
        Whether a replicate is invalid.
    shares : sequence of float
        p0 of each part.
    opposite : array of bool, shape (..., parts, replicates), optional
        Whether the effect lies on the far side of no effect at all. Only where it matters whether a
        refuted effect is absent or reversed.
    alpha : float
        Error rate.
    looks : sequence of (int, float)
        Replicates at each look and its share of alpha.
    """
    check_looks(looks)
    # "A replicate that fails counts as no event, it is never dropped."
    happened = events & ~failed[..., None, :]
    opposite = np.zeros_like(events) if opposite is None else opposite & ~failed[..., None, :]

    run = _by_looks(happened, opposite, failed, shares=shares, alpha=alpha, looks=looks)
    if kind is Kind.EXACT:
        return _exact(run, events, failed, looks=looks)
    if kind is Kind.EXISTENTIAL:
        return _by_witness(run, happened)
    return run


def _by_looks(
    happened: Bools,
    opposite: Bools,
    failed: Bools,
    *,
    shares: Sequence[float],
    alpha: float,
    looks: Sequence[tuple[int, float]],
) -> SequentialRun:
    """The exact group-sequential sign test, a series ending at the first look that decides it."""
    series, parts = happened.shape[:-2], happened.shape[-2]
    ruling, taken = np.zeros(series, dtype=int), np.zeros(series, dtype=int)
    p_up = p_down = np.ones((*series, parts))
    reversed_ = np.zeros(series, dtype=bool)
    by_part = zip(
        *(
            each_look(happened[..., part, :], p0=share, looks=looks)
            for part, share in enumerate(shares)
        ),
        each_look(opposite, looks=looks),
        strict=True,
    )
    for number, (*tests, other_way) in enumerate(by_part, start=1):
        n = other_way.n
        up = np.stack([test.p_supported for test in tests], axis=-1)
        down = np.stack([test.p_refuted for test in tests], axis=-1)
        p_supported, p_refuted = combined_p(up, down)

        # "Invalid: non-finite values, a failed control, or m_g not falling where the claim
        # presupposes it, in more than a quarter of the replicates."
        invalid = failed[..., :n].sum(axis=-1) > INVALID_ABOVE * n
        # "Supported asserts p > p0 (rejects p <= p0), refuted asserts p <= p0 (rejects p > p0)."
        supported, refuted = p_supported <= alpha, p_refuted <= alpha
        # Both happen only if a part reversed between looks; then nothing is decided.
        now = np.select(
            [invalid, supported & ~refuted, refuted & ~supported],
            [Ruling.INVALID, Ruling.SUPPORTED, Ruling.REFUTED],
            default=Ruling.OPEN,
        )
        # "Reversed only if effect >= 0 is rejected too, otherwise null": asked of the part that
        # refutes, whose share of alpha is 1 / k.
        refuting = down.argmin(axis=-1)[..., None]
        p_opposite = np.take_along_axis(other_way.p_supported, refuting, axis=-1)[..., 0]
        turned = (now == Ruling.REFUTED) & (parts * p_opposite <= alpha)

        going = ruling == Ruling.OPEN
        taken = np.where(going, number, taken)
        p_up = np.where(going[..., None], up, p_up)
        p_down = np.where(going[..., None], down, p_down)
        reversed_ = np.where(going, turned, reversed_)
        ruling = np.where(going, now, ruling)
    return SequentialRun(
        ruling=ruling, looks=taken, p_supported=p_up, p_refuted=p_down, reversed=reversed_
    )


def _exact(
    run: SequentialRun, events: Bools, failed: Bools, *, looks: Sequence[tuple[int, float]]
) -> SequentialRun:
    """P: "One counterexample refutes", whatever else holds; so every replicate at hand counts.

    A replicate that failed is no counterexample: a residual that is not a number says nothing of a
    theorem. It is no confirmation either. These claims stand outside every family: their P is 0 in
    the direction decided and 1 otherwise.
    """
    n = failed.shape[-1]
    reached = sum(size <= n for size, _ in looks)
    counterexample = (~events & ~failed[..., None, :]).any(axis=(-2, -1))
    fails = failed.sum(axis=-1)
    ruling = np.select(
        [counterexample, fails > INVALID_ABOVE * n, fails > 0],
        [Ruling.REFUTED, Ruling.INVALID if reached else Ruling.OPEN, Ruling.OPEN],
        default=Ruling.SUPPORTED if reached else Ruling.OPEN,
    )
    ones = np.ones_like(run.p_supported)
    return SequentialRun(
        ruling=ruling,
        looks=np.full_like(run.looks, reached),
        p_supported=ones * (ruling != Ruling.SUPPORTED)[..., None],
        p_refuted=ones * (ruling != Ruling.REFUTED)[..., None],
        reversed=np.zeros_like(run.reversed),
    )


def _by_witness(run: SequentialRun, happened: Bools) -> SequentialRun:
    """Existential: "One stored witness supports", wherever it turns up; counting only refutes.

    What counting would support has its witness already. Support is logic and errs only if the event
    is not what it says; with a witness P is 0 for it and 1 against it. "Refuted if P >= .25 is
    rejected" is the sign test's refutation at p0 = .25.
    """
    witness = happened.all(axis=-2).any(axis=-1)
    none = np.asarray(~witness)[..., None]
    return dataclasses.replace(
        run,
        ruling=np.where(witness, Ruling.SUPPORTED, run.ruling),
        p_supported=np.where(none, 1.0, 0.0),
        p_refuted=np.where(none, run.p_refuted, 1.0),
    )
