"""Figures as geometry, in percent of their width and height; one template macro draws all of them.

Percentages let a figure fill any width without a script.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence

from harness.claim import Scale
from harness.verdict.verdict import Verdict
from reports.words import setting

Ticks = tuple[tuple[float, str], ...]
"""Places along an axis, in percent, with their labels."""

_LARGEST = 690.0
"""Larger logarithms are labelled with this one."""

_LABELS = 45
"""Characters of labels that fit below a narrow figure."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stroke:
    """A path in a box of 100 by 100; `css` is its CSS classes."""

    path: str
    css: str
    title: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
    """A symbol of the page's icons at a place; `css` is its CSS classes."""

    x: float
    y: float
    symbol: str
    css: str
    title: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure: what it shows in words, its height in pixels, and what is drawn.

    `framed` figures leave room for the labels of their axes.
    """

    description: str = ""
    height: int
    strokes: tuple[Stroke, ...] = ()
    marks: tuple[Mark, ...] = ()
    x_ticks: Ticks = ()
    y_ticks: Ticks = ()
    framed: bool = False

    @property
    def size(self) -> int:
        """Approximate number of characters on a page."""
        strokes = sum(50 + len(stroke.path) + len(stroke.title) for stroke in self.strokes)
        return 500 + strokes + sum(100 + len(mark.title) for mark in self.marks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """A scale from `first` to `last`, both logarithms where the scale is logarithmic.

    `inset` is the margin at either end, in percent.
    """

    first: float
    last: float
    scale: Scale = Scale.LINEAR
    inset: float = 4.0

    def place(self, value: float) -> float:
        """Where a value lies, in percent."""
        span = self.last - self.first
        share = (value - self.first) / span if 0 < span < math.inf else 0.5
        return round(self.inset + (100 - 2 * self.inset) * min(1.0, max(0.0, share)), 2)

    def up(self, value: float) -> float:
        """Where a value lies from the top, in percent."""
        return round(100 - self.place(value), 2)

    def across(self) -> Ticks:
        """A few round numbers from left to right; ratios on a logarithmic scale."""
        find = _ratios if self.scale is Scale.LOG else _steps
        return tuple(
            (self.place(value), _label(value, self.scale)) for value in find(self.first, self.last)
        )

    def upwards(self) -> Ticks:
        """The same from the bottom to the top."""
        return tuple((round(100 - place, 2), label) for place, label in self.across())


def axis_over(values: Iterable[float], scale: Scale) -> Axis:
    """An axis over natural values; those without a place on it are ignored."""
    placed = [position(value, scale) for value in values if has_place(value, scale)] or [0.0]
    first, last = min(placed), max(placed)
    pad = 0.0 if last > first else abs(first) * 0.1 or 1.0
    return Axis(first=first - pad, last=last + pad, scale=scale)


def has_place(value: float, scale: Scale) -> bool:
    """Whether an axis has a place for a value."""
    return math.isfinite(value) and (scale is Scale.LINEAR or value > 0)


def position(value: float, scale: Scale) -> float:
    """A natural value as an axis takes it."""
    return math.log(value) if scale is Scale.LOG else value


def polyline(points: Iterable[tuple[float, float] | None]) -> str:
    """A path through places; None breaks it."""
    pieces = []
    for there, run in itertools.groupby(points, key=lambda point: point is not None):
        if there:
            pieces.append("M" + " ".join(f"{p[0]:.5g} {p[1]:.5g}" for p in run if p is not None))
    return "".join(pieces)


def css_of(verdict: Verdict) -> str:
    """The CSS class that gives something the colour of a verdict."""
    return f"v-{verdict.value.replace(' ', '-')}"


def symbol_of(verdict: Verdict) -> str:
    """The icon that marks a verdict in a figure."""
    return f"point-{verdict.value.replace(' ', '-')}"


def thin_ticks(ticks: Ticks) -> Ticks:
    """Every so many ticks, so that their labels do not overlap in a narrow figure."""
    step = max(1, math.ceil(sum(len(label) + 2 for _, label in ticks) / _LABELS))
    return ticks[::step]


def _steps(first: float, last: float) -> Sequence[float]:
    rough = (last - first) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * size for size in (1, 2, 5, 10) if power * size >= rough * 0.999)
    start = math.ceil(first / step)
    values = [number * step for number in range(start, start + 6) if number * step <= last]
    return [0.0 if abs(value) < step * 1e-9 else value for value in values]


def _ratios(first: float, last: float) -> Sequence[float]:
    low, high = first / math.log(10), last / math.log(10)
    if high - low > 1.2:
        every = max(1, math.ceil((high - low) / 4))
        powers = range(math.ceil(low / every) * every, math.floor(high) + 1, every)
        return [power * math.log(10) for power in powers]
    # Less than about a decade: round ratios, evenly spaced as ratios go.
    ends = math.exp(max(-600.0, first)), math.exp(min(600.0, last))
    return [math.log(value) for value in _steps(*ends) if value > 0]


def _label(value: float, scale: Scale) -> str:
    if scale is Scale.LOG:
        value = math.exp(max(-_LARGEST, min(_LARGEST, value)))
    return setting(value, digits=3)
