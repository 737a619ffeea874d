"""Effects with their intervals against the margin, and the replicates behind them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from harness.claim import Criterion
from harness.verdict.evidence import Part
from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Verdict
from reports.figures.geometry import Axis, Drawing, Mark, Stroke, css_of, symbol_of
from reports.summary import effect_of
from reports.words import effect_text, parameters_text, quantity

_ROW = 11


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
    """An interval with its point, in percent; an open end runs off the figure."""

    verdict: Verdict
    point: float
    low: float | None
    high: float | None
    title: str


def bars_against_margin(parts: Iterable[tuple[Part, Verdict, str]]) -> tuple[Bar, ...]:
    """Bars on one scale whose middle is the margin and whose right side is what is claimed.

    Each part of the claim comes with the verdict and the name of its condition. Distances from the
    margin are to scale among parts that share an effect.
    """
    items = [
        (part, effect, verdict, name)
        for part, verdict, name in parts
        if (effect := effect_of(part)) is not None
    ]
    reach: dict[str, float] = {}
    for part, effect, _, _ in items:
        name = part.criterion.effect
        ends = (effect.value, effect.low, effect.high)
        distances = [abs(part.criterion.past_margin(end)) for end in ends if end is not None]
        reach[name] = max(reach.get(name, 0.0), *distances)
    bars = []
    for part, effect, verdict, name in items:
        criterion, furthest = part.criterion, reach[part.criterion.effect]
        on = Axis(first=-furthest, last=furthest)
        low, high = (
            None if end is None else on.place(criterion.past_margin(end))
            for end in (effect.low, effect.high)
        )
        if criterion.above is None:
            low, high = high, low
        bars.append(
            Bar(
                verdict=verdict,
                point=on.place(criterion.past_margin(effect.value)),
                low=low,
                high=high,
                title=f"{name}: {effect_text(effect)}".removeprefix(": "),
            )
        )
    return tuple(bars)


def forest(bars: Sequence[Bar], *, name: str) -> Drawing:
    """Bars of a claim below each other; what is claimed lies to the right of the middle."""
    height = _ROW * len(bars) + 7
    listed = "".join(f" {item.title}, {item.verdict.value};" for item in bars)
    strokes = [
        Stroke(path="M50 0H100V100H50Z", css="claimed"),
        Stroke(path="M50 0V100", css="margin"),
    ]
    return _with_bars(strokes, bars, first=9, height=height, description=f"{name}:{listed}")


def axis(parts: Sequence[Part]) -> Axis | None:
    """The scale for parts that share an effect, in the effect's own direction."""
    effects = [effect for part in parts if (effect := effect_of(part))]
    numbers = [
        value
        for effect in effects
        for value in (effect.value, effect.low, effect.high)
        if value is not None
    ]
    numbers += [part.criterion.margin for part in parts]
    if not effects or not math.isfinite((max(numbers) - min(numbers)) * 2):
        return None
    first, last = min(numbers), max(numbers)
    pad = (last - first) * 0.06 or abs(first) * 0.1 or 1.0
    return Axis(first=first - pad, last=last + pad, scale=effects[0].scale)


def track(part: Part, criteria: Sequence[Criterion], on: Axis, *, verdict: Verdict) -> Drawing:
    """An effect on an axis, with the margins and what is claimed of it."""
    effect = effect_of(part)
    bars = []
    if effect is not None:
        low, high = (None if end is None else on.place(end) for end in (effect.low, effect.high))
        bars.append(
            Bar(
                verdict=verdict,
                point=on.place(effect.value),
                low=low,
                high=high,
                title=effect_text(effect),
            )
        )
    return _with_bars(_claimed(criteria, on), bars, first=11, height=22)


def scale(on: Axis) -> Drawing:
    """The ticks of an axis alone."""
    return Drawing(height=4, x_ticks=on.across())


def replicates(
    conditions: Sequence[ConditionResult], criteria: Sequence[Criterion]
) -> tuple[Axis, tuple[tuple[str, Drawing], ...]] | None:
    """Every replicate's effect by condition on one axis; None if there is no median.

    The conditions are judged by the same estimand, and the criteria are those of one effect; the
    first says which replicates are events.
    """
    first = criteria[0]
    found = []
    for condition in conditions:
        values = condition.decision.values.get(first.effect, ())
        events = condition.decision.events(first) or tuple(map(first.holds, values))
        pairs = [
            (number, value, bool(event))
            for number, (value, event) in enumerate(zip(values, events, strict=False))
            if math.isfinite(value)
        ]
        own = (part for part in condition.decision.parts if part.criterion == first)
        effect = effect_of(next(own, None))
        if pairs:
            found.append((condition, pairs, effect))
    medians = [effect.value for _, _, effect in found if effect is not None]
    numbers = [value for _, pairs, _ in found for _, value, _ in pairs]
    numbers += [*medians, *(criterion.margin for criterion in criteria)]
    if not medians or not math.isfinite((max(numbers) - min(numbers)) * 2):
        return None
    pad = 0.0 if max(numbers) > min(numbers) else 1.0
    on = Axis(first=min(numbers) - pad, last=max(numbers) + pad, scale=first.scale)
    rows = []
    for condition, pairs, effect in found:
        dots = [
            Stroke(
                path=f"M{on.place(value)} 50h0",
                css="dots",
                title=f"replicate {number}: {quantity(value, first.scale)}",
            )
            for number, value, _ in pairs
        ]
        missed = [dot for dot, (_, _, event) in zip(dots, pairs, strict=True) if not event]
        hollow = Stroke(path="".join(dot.path for dot in missed), css="hollow")
        strokes = [*_claimed(criteria, on), *dots, *([hollow] if missed else [])]
        if effect is not None:
            title = f"median {effect_text(effect)}"
            path = f"M{on.place(effect.value)} 10V90"
            strokes.append(Stroke(path=path, css="median", title=title))
        held = sum(event for _, _, event in pairs)
        name = parameters_text(condition.parameters) or condition.estimand
        description = f"{name}: {held} of {len(pairs)} replicates as claimed"
        rows.append((name, Drawing(description=description, height=26, strokes=tuple(strokes))))
    return on, tuple(rows)


def _claimed(criteria: Sequence[Criterion], on: Axis) -> list[Stroke]:
    above = [criterion.margin for criterion in criteria if criterion.above is not None]
    below = [criterion.margin for criterion in criteria if criterion.above is None]
    left = on.place(max(above)) if above else 0.0
    right = on.place(min(below)) if below else 100.0
    margins = sorted({on.place(criterion.margin) for criterion in criteria})
    return [
        Stroke(path=f"M{left} 0H{max(left, right)}V100H{left}Z", css="claimed"),
        *(Stroke(path=f"M{place} 0V100", css="margin") for place in margins),
    ]


def _with_bars(
    strokes: Sequence[Stroke],
    bars: Sequence[Bar],
    *,
    first: int,
    height: int,
    description: str = "",
) -> Drawing:
    """Strokes with bars over them, the first bar `first` pixels from the top."""
    drawn, marks = list(strokes), []
    end = 300 / height  # three pixels, in percent
    for number, bar in enumerate(bars):
        css = css_of(bar.verdict)
        y = round(100 * (first + _ROW * number) / height, 2)
        low, high = (0.0 if bar.low is None else bar.low), (100.0 if bar.high is None else bar.high)
        caps = "".join(
            f"M{at} {y - end:.4g}V{y + end:.4g}" for at in (bar.low, bar.high) if at is not None
        )
        drawn.append(Stroke(path=f"M{low} {y}H{high}{caps}", css=f"bar {css}", title=bar.title))
        if bar.low is None:
            marks.append(Mark(x=0, y=y, symbol="open-low", css=css))
        if bar.high is None:
            marks.append(Mark(x=100, y=y, symbol="open-high", css=css))
        marks.append(
            Mark(x=bar.point, y=y, symbol=symbol_of(bar.verdict), css=css, title=bar.title)
        )
    return Drawing(description=description, height=height, strokes=tuple(drawn), marks=tuple(marks))
