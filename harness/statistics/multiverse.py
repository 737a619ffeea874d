"""The multiverse around a confirmatory cell: how often each verdict comes out, and what moves it.

Every cell is one set of choices (decoder, step, loss, blur, start, source of images, architecture,
precision) under which the same claim was judged. They describe how far a verdict depends on choices
that could have been made otherwise; none of them decides it.

A factor's weight is its share of the variance between cells, averaged over all orders in which the
factors can enter an additive model (LMG, the Shapley value of R squared). Choices varied one at a
time around a confirmatory cell are not balanced, and then the share that a factor explains depends
on what entered before it; the average does not, and in a balanced block it is the usual one-way
share. For verdicts, which have no scale, the variance is that of their indicators (Gini's), so that
with one factor the share is Goodman and Kruskal's tau.

References
----------
Steegen, S., Tuerlinckx, F., Gelman, A. and Vanpaemel, W. (2016). Increasing transparency through a
multiverse analysis. Perspectives on Psychological Science 11, 702-712.
Simonsohn, U., Simmons, J. P. and Nelson, L. D. (2020). Specification curve analysis. Nature Human
Behaviour 4, 1208-1214.
Lindeman, R. H., Merenda, P. F. and Gold, R. Z. (1980). Introduction to Bivariate and Multivariate
Analysis. Scott Foresman, p. 119; Groemping, U. (2007). Estimators of relative importance in linear
regression based on variance decomposition. The American Statistician 61, 139-147.
Light, R. J. and Margolin, B. H. (1971). An analysis of variance for categorical data. JASA 66,
534-544.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Level = str | int | float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """One cell of the multiverse.

    Parameters
    ----------
    factors : mapping of str to (str, int or float)
        The level of each factor; all cells name the same factors.
    verdict : str
        What was decided there.
    effect : float or None
        The median effect on the scale of the claim, where there is one.
    """

    factors: Mapping[str, Level]
    verdict: str
    effect: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Factor:
    """How much one factor moves verdict and effect.

    Parameters
    ----------
    name : str
        The factor.
    verdict_share, effect_share : float or None
        Share of the variance between cells, in [0, 1]; None where nothing varies.
    verdicts : mapping of level to (mapping of str to int)
        Verdicts by level.
    effects : mapping of level to (float or None)
        Median of the effects by level.
    """

    name: str
    verdict_share: float | None
    effect_share: float | None
    verdicts: Mapping[Level, Mapping[str, int]]
    effects: Mapping[Level, float | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multiverse:
    """What the cells around a claim say together.

    Parameters
    ----------
    cells : int
        Their number.
    shares : mapping of str to float
        Share of each verdict, the most frequent first.
    factors : tuple of Factor
        Those that vary, the one that matters most first: by the verdict, and where the verdict does
        not vary (or for equals) by the effect.
    verdict_together, effect_together : float or None
        Share of the variance that all factors explain together; the rest is their interactions.
    curve : tuple of Choice
        The cells that have an effect, by rising effect (a specification curve).
    """

    cells: int
    shares: Mapping[str, float]
    factors: tuple[Factor, ...]
    verdict_together: float | None
    effect_together: float | None
    curve: tuple[Choice, ...]


def multiverse(choices: Sequence[Choice]) -> Multiverse:
    """Shares of the verdicts, and the factors by how much they move them.

    Parameters
    ----------
    choices : sequence of Choice
        The cells around one claim, the confirmatory one included. Factors with one level are left
        out of the ranking.
    """
    counts = Counter(choice.verdict for choice in choices)
    measured = [c for c in choices if c.effect is not None and math.isfinite(c.effect)]
    by_verdict = _importance(
        choices, np.array([[c.verdict == v for v in counts] for c in choices], dtype=float)
    )
    by_effect = _importance(measured, np.array([[c.effect] for c in measured], dtype=float))
    factors = [
        Factor(
            name=name,
            verdict_share=by_verdict.get(name),
            effect_share=by_effect.get(name),
            verdicts={
                level: dict(Counter(c.verdict for c in choices if c.factors[name] == level))
                for level in _levels(choices, name)
            },
            effects={
                level: _median([c.effect for c in measured if c.factors[name] == level])
                for level in _levels(choices, name)
            },
        )
        for name in _varied(choices)
    ]
    return Multiverse(
        cells=len(choices),
        shares={verdict: count / len(choices) for verdict, count in counts.most_common()},
        factors=tuple(
            sorted(factors, key=lambda f: (-(f.verdict_share or 0.0), -(f.effect_share or 0.0)))
        ),
        verdict_together=math.fsum(by_verdict.values()) if by_verdict else None,
        effect_together=math.fsum(by_effect.values()) if by_effect else None,
        curve=tuple(sorted(measured, key=lambda c: c.effect or 0.0)),
    )


def _levels(choices: Sequence[Choice], name: str) -> list[Level]:
    """Levels of a factor, in the order in which they turn up."""
    return list(dict.fromkeys(choice.factors[name] for choice in choices))


def _varied(choices: Sequence[Choice]) -> list[str]:
    """Factors with more than one level."""
    names = choices[0].factors if choices else {}
    return [name for name in names if len(_levels(choices, name)) > 1]


def _importance(choices: Sequence[Choice], response: Floats) -> dict[str, float]:
    """The share of the response's variance for each factor (LMG); empty where it has none.

    Parameters
    ----------
    choices : sequence of Choice
        The cells.
    response : array, shape (cells, columns)
        The effect, or an indicator for each verdict; the columns' variances add up.
    """
    names = _varied(choices)
    centred = response - response.mean(axis=0) if len(choices) else response
    total = float(np.square(centred).sum())
    if not names or total == 0:
        return {}
    columns = {
        name: np.array(
            [[c.factors[name] == level for level in _levels(choices, name)[1:]] for c in choices],
            dtype=float,
        )
        for name in names
    }
    explained = {
        chosen: _explained(centred, [columns[name] for name in chosen]) / total
        for size in range(len(names) + 1)
        for chosen in itertools.combinations(names, size)
    }
    count = len(names)
    shares = {}
    for name in names:
        gains = [
            (explained[tuple(n for n in names if n in chosen or n == name)] - before)
            / (count * math.comb(count - 1, len(chosen)))
            for chosen, before in explained.items()
            if name not in chosen
        ]
        share = math.fsum(gains)
        # No gain is negative; what rounding leaves of nothing must not rank.
        shares[name] = share if share > 1e-9 else 0.0
    return shares


def _explained(centred: Floats, columns: Sequence[Floats]) -> float:
    """Sum of squares that an additive model of some factors explains."""
    if not columns:
        return 0.0
    design = np.concatenate(columns, axis=1)
    design = design - design.mean(axis=0)
    coefficients = np.linalg.lstsq(design, centred, rcond=None)[0]
    return float(np.square(design @ coefficients).sum())


def _median(effects: Sequence[float | None]) -> float | None:
    return float(np.median(np.array(effects, dtype=float))) if effects else None
