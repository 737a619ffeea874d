"""Effects drawn against their margins: the geometry of small figures, in percent of their width.

No markup here; the templates draw it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from harness.claim import Scale
from harness.verdict.verdict import Part, Verdict
from reports.summary import effect_of
from reports.words import effect_text, setting

_INSET = 4.0
_LARGEST = 690.0
"""Logarithms beyond it are shown as it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
    """One interval: its ends and its point, in percent; an open end runs off the figure."""

    verdict: Verdict
    point: float
    low: float
    high: float
    open_low: bool
    open_high: bool
    title: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """A common scale for bars: what is claimed is between `claimed_low` and `claimed_high`."""

    first: float
    last: float
    scale: Scale
    margins: tuple[float, ...]
    claimed_low: float
    claimed_high: float
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """Where a value lies, in percent of the figure's width."""
        span = self.last - self.first
        share = (value - self.first) / span if span > 0 else 0.5
        return round(_INSET + (100 - 2 * _INSET) * min(1.0, max(0.0, share)), 2)


def toward(parts: Iterable[tuple[Part, Verdict, str]]) -> tuple[Bar, ...]:
    """Bars on one scale whose middle is the margin and whose right side is what is claimed.

    Parameters
    ----------
    parts : iterable of (Part, Verdict, str)
        Parts of one claim, each with the verdict and the name of its condition. Distances from
        the margin are to scale among those that share an effect.
    """
    items = [(part, verdict, name) for part, verdict, name in parts if effect_of(part)]
    reach: dict[str, float] = {}
    for part, _, _ in items:
        name = part.criterion.effect
        reach[name] = max([reach.get(name, 0.0), *(abs(d) for d in _distances(part))])
    bars = []
    for part, verdict, name in items:
        effect = effect_of(part)
        assert effect is not None  # filtered above
        scale = reach[part.criterion.effect]
        flip = part.criterion.above is None
        low, high = (effect.high, effect.low) if flip else (effect.low, effect.high)
        point, left, right = (
            None if value is None else _middle(part.criterion.past_margin(value), scale)
            for value in (effect.value, low, high)
        )
        bars.append(
            Bar(
                verdict=verdict,
                point=50.0 if point is None else point,
                low=0.0 if left is None else left,
                high=100.0 if right is None else right,
                open_low=left is None,
                open_high=right is None,
                title=f"{name}: {effect_text(effect)}".removeprefix(": "),
            )
        )
    return tuple(bars)


def axis(parts: Sequence[Part]) -> Axis | None:
    """The scale for parts that share an effect, in the effect's own direction."""
    effects = [effect for part in parts if (effect := effect_of(part))]
    if not effects:
        return None
    criteria = list(dict.fromkeys(part.criterion for part in parts))
    margins = sorted({criterion.margin for criterion in criteria})
    numbers = [
        value
        for effect in effects
        for value in (effect.value, effect.low, effect.high)
        if value is not None
    ] + margins
    first, last = min(numbers), max(numbers)
    if not math.isfinite((last - first) * 2):
        return None
    pad = (last - first) * 0.06 or abs(first) * 0.1 or 1.0
    first, last = first - pad, last + pad
    bare = Axis(
        first=first,
        last=last,
        scale=effects[0].scale,
        margins=(),
        claimed_low=0.0,
        claimed_high=100.0,
        ticks=(),
    )
    above = [criterion.margin for criterion in criteria if criterion.above is not None]
    below = [criterion.margin for criterion in criteria if criterion.above is None]
    return dataclasses.replace(
        bare,
        margins=tuple(bare.place(margin) for margin in margins),
        claimed_low=bare.place(max(above)) if above else 0.0,
        claimed_high=bare.place(min(below)) if below else 100.0,
        ticks=_ticks(bare),
    )


def bar(part: Part, on: Axis, *, verdict: Verdict) -> Bar | None:
    """An effect on an axis."""
    effect = effect_of(part)
    if effect is None:
        return None
    return Bar(
        verdict=verdict,
        point=on.place(effect.value),
        low=0.0 if effect.low is None else on.place(effect.low),
        high=100.0 if effect.high is None else on.place(effect.high),
        open_low=effect.low is None,
        open_high=effect.high is None,
        title=effect_text(effect),
    )


def _distances(part: Part) -> list[float]:
    effect = effect_of(part)
    assert effect is not None  # callers have filtered
    ends = (effect.value, effect.low, effect.high)
    return [part.criterion.past_margin(value) for value in ends if value is not None]


def _middle(distance: float, reach: float) -> float:
    share = distance / reach if reach > 0 else 0.0
    return round(50 + (50 - _INSET) * share, 2)


def _ticks(on: Axis) -> tuple[tuple[float, str], ...]:
    """Two to four round numbers along an axis; ratios on a logarithmic one."""
    find = _ratios if on.scale is Scale.LOG else _steps
    values = find(on.first, on.last)
    return tuple((on.place(value), _tick(value, on.scale)) for value in values)


def _steps(first: float, last: float) -> list[float]:
    rough = (last - first) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * size for size in (1, 2, 5, 10) if power * size >= rough * 0.999)
    start = math.ceil(first / step)
    values = [number * step for number in range(start, start + 5) if number * step <= last]
    return [0.0 if abs(value) < step * 1e-9 else value for value in values]


def _ratios(first: float, last: float) -> list[float]:
    low, high = first / math.log(10), last / math.log(10)
    if high - low > 1.2:
        every = max(1, math.ceil((high - low) / 4))
        powers = range(math.ceil(low / every) * every, math.floor(high) + 1, every)
        return [power * math.log(10) for power in powers]
    # Less than about a decade: round ratios, evenly spaced as ratios go.
    ends = math.exp(max(-600.0, first)), math.exp(min(600.0, last))
    return [math.log(value) for value in _steps(*ends) if value > 0]


def _tick(value: float, scale: Scale) -> str:
    if scale is Scale.LOG:
        value = math.exp(max(-_LARGEST, min(_LARGEST, value)))
    return setting(value, digits=3)
