"""Panels beside the verdicts: the multiverse around a claim, and where an effect's spread is from.

They describe; none of them decides a claim.
"""

from __future__ import annotations

import dataclasses
import math

from harness.claim import Estimand, Scale
from harness.statistics.components import Components
from harness.statistics.multiverse import Choice, Factor, Multiverse
from harness.verdict.verdict import Verdict
from reports import words

_INSET = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShareView:
    """A verdict's share of the cells, and its place in a bar, in percent."""

    verdict: Verdict
    text: str
    start: float
    width: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevelView:
    """One level of a factor: what was decided there, and the median effect."""

    name: str
    verdicts: tuple[tuple[Verdict, int], ...]
    effect: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class FactorView:
    """How much one choice moves verdict and effect."""

    name: str
    verdict_share: str
    effect_share: str
    levels: tuple[LevelView, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointView:
    """A cell on the specification curve; places in percent."""

    x: float
    y: float
    verdict: Verdict
    title: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiverseView:
    """The cells around an estimand's confirmatory ones; `effect` names what is drawn of them."""

    effect: str
    cells: int
    shares: tuple[ShareView, ...]
    factors: tuple[FactorView, ...]
    together: str
    curve: tuple[PointView, ...]
    ticks: tuple[tuple[float, str], ...]
    margins: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceView:
    """What one source adds to the variance; places in percent."""

    name: str
    text: str
    share: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComponentsView:
    """The sources of an effect's spread in one family of claims."""

    family: str
    statement: str
    block: str
    sources: tuple[SourceView, ...]


def multiverse_view(found: Multiverse, estimand: Estimand) -> MultiverseView:
    """The view of the cells around an estimand's confirmatory ones, on the scale of their effect.

    That is the effect of the first criterion; margins of other effects are not drawn.
    """
    first = estimand.criteria[0]
    scale = first.scale
    margins = [each.margin for each in estimand.criteria if each.effect == first.effect]
    values = [choice.effect for choice in found.curve if choice.effect is not None]
    ends = [value for value in (*values, *margins) if math.isfinite(value)]
    low, high = min(ends, default=0.0), max(ends, default=0.0)

    def up(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(100 - _INSET - (100 - 2 * _INSET) * share, 2)

    start, shares = 0.0, []
    for name, share in found.shares.items():
        verdict = Verdict(name)
        text = f"{words.percent(share)} {name}"
        width = round(100 * share, 2)
        shares.append(ShareView(verdict=verdict, text=text, start=round(start, 2), width=width))
        start += 100 * share
    last = max(1, len(found.curve) - 1)
    return MultiverseView(
        effect=first.label,
        cells=found.cells,
        shares=tuple(shares),
        factors=tuple(_factor(factor, scale) for factor in found.factors),
        together=""
        if found.verdict_together is None
        else f"All choices together explain {words.percent(found.verdict_together)} of the "
        "differences between verdicts; the rest is how they act on each other.",
        curve=tuple(
            PointView(
                x=round(_INSET + (100 - 2 * _INSET) * number / last, 2),
                y=up(choice.effect),
                verdict=Verdict(choice.verdict),
                title=_title(choice, scale),
            )
            for number, choice in enumerate(found.curve)
            if choice.effect is not None
        ),
        ticks=tuple(
            (up(value), words.quantity(value, scale)) for value in dict.fromkeys((low, high))
        ),
        margins=tuple(up(margin) for margin in margins),
    )


def components_view(name: str, found: Components) -> ComponentsView:
    """The view of one family's variance components."""
    levels = " x ".join(f"{count} {factor}s" for factor, count in found.levels.items())
    return ComponentsView(
        family=name,
        statement=found.statement,
        block=f"{levels}, each combination measured once; intervals at {found.level:.0%}.",
        sources=tuple(
            SourceView(
                name=" x ".join(part.source)
                + (" (with the noise)" if len(part.source) == len(found.levels) else ""),
                text=f"{words.percent(part.share)} "
                f"[{words.percent(part.low)}, {words.percent(part.high)}]",
                share=round(100 * part.share, 2),
                low=round(100 * part.low, 2),
                high=round(100 * part.high, 2),
            )
            for part in found.parts
        ),
    )


def _factor(factor: Factor, scale: Scale) -> FactorView:
    return FactorView(
        name=factor.name.replace("_", " "),
        verdict_share=_share(factor.verdict_share),
        effect_share=_share(factor.effect_share),
        levels=tuple(
            LevelView(
                name=str(level),
                verdicts=tuple((Verdict(name), count) for name, count in seen.items()),
                effect=_effect(factor.effects.get(level), scale),
            )
            for level, seen in factor.verdicts.items()
        ),
    )


def _title(choice: Choice, scale: Scale) -> str:
    chosen = ", ".join(f"{name} {level}" for name, level in choice.factors.items())
    return f"{chosen}: {_effect(choice.effect, scale)}, {choice.verdict}"


def _effect(value: float | None, scale: Scale) -> str:
    return "none" if value is None else words.quantity(value, scale)


def _share(value: float | None) -> str:
    return "does not vary" if value is None else words.percent(value)
