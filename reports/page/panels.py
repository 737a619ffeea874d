"""Descriptive panels: the multiverse of other choices, and variance components."""

from __future__ import annotations

import dataclasses
import math

from harness.claim import Estimand, Scale
from harness.statistics.components import Components
from harness.statistics.multiverse import Choice, Multiverse
from harness.verdict.verdict import Verdict
from reports import words
from reports.figures.geometry import Axis, Drawing, Mark, Stroke, css_of, symbol_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiverseView:
    """The cells around an estimand's confirmatory ones; `effect` names what is drawn of them."""

    found: Multiverse
    effect: str
    scale: Scale
    curve: Drawing


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComponentsView:
    """Sources of an effect's spread: name, share in words, and the share drawn."""

    family: str
    statement: str
    block: str
    sources: tuple[tuple[str, str, Drawing], ...]


def multiverse_view(found: Multiverse, estimand: Estimand) -> MultiverseView:
    """The view of the cells around an estimand's confirmatory ones, on the scale of their effect.

    That is the effect of the first criterion; margins of other effects are not drawn.
    """
    first = estimand.criteria[0]
    margins = [each.margin for each in estimand.criteria if each.effect == first.effect]
    return MultiverseView(
        found=found,
        effect=first.label,
        scale=first.scale,
        curve=_curve(found, margins, first.label, first.scale),
    )


def _curve(found: Multiverse, margins: list[float], label: str, scale: Scale) -> Drawing:
    """Effects in rising order against the margins."""
    drawn = [(k, c, c.effect) for k, c in enumerate(found.curve) if c.effect is not None]
    ends = [end for end in (*(effect for _, _, effect in drawn), *margins) if math.isfinite(end)]
    y = Axis(first=min(ends, default=0.0), last=max(ends, default=0.0), scale=scale)
    x = Axis(first=0, last=max(1, len(found.curve) - 1))
    marks = tuple(
        Mark(
            x=x.place(number),
            y=y.up(effect),
            symbol=symbol_of(Verdict(choice.verdict)),
            css=css_of(Verdict(choice.verdict)),
            title=_title(choice, scale),
        )
        for number, choice, effect in drawn
    )
    listed = "; ".join(mark.title for mark in marks)
    return Drawing(
        description=f"{label} of {len(marks)} cells in rising order: {listed}",
        height=150,
        strokes=tuple(Stroke(path=f"M0 {y.up(margin)}H100", css="margin") for margin in margins),
        marks=marks,
        y_ticks=tuple(
            (y.up(value), words.quantity(value, scale))
            for value in dict.fromkeys((y.first, y.last))
        ),
        framed=True,
    )


def components_view(name: str, found: Components) -> ComponentsView:
    """The view of one family's variance components."""
    levels = " x ".join(f"{count} {factor}s" for factor, count in found.levels.items())
    return ComponentsView(
        family=name,
        statement=found.statement,
        block=f"{levels}, each combination measured once; intervals at {found.level:.0%}.",
        sources=tuple(
            (
                " x ".join(part.source)
                + (" (with the noise)" if len(part.source) == len(found.levels) else ""),
                f"{words.percent(part.share)} "
                f"[{words.percent(part.low)}, {words.percent(part.high)}]",
                Drawing(
                    height=14,
                    strokes=(
                        Stroke(path=f"M0 15H{100 * part.share:.4g}V85H0Z", css="share"),
                        Stroke(path=f"M{100 * part.low:.4g} 50H{100 * part.high:.4g}", css="ink"),
                    ),
                ),
            )
            for part in found.parts
        ),
    )


def _title(choice: Choice, scale: Scale) -> str:
    chosen = ", ".join(f"{name} {level}" for name, level in choice.factors.items())
    effect = "none" if choice.effect is None else words.quantity(choice.effect, scale)
    return f"{chosen}: {effect}, {choice.verdict}"
