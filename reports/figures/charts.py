"""Charts of lines: a few series as a drawing with a legend."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

from harness.verdict.results import ConditionResult
from reports.article import STAR, Selection
from reports.figures.geometry import Drawing, Mark, Stroke, polyline

SERIES = 6
"""The most lines that a reader can distinguish in a chart."""

POINTS = 64
"""The most points of a line that a reader can distinguish."""

_MARKS = 7

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart with the numbers and names of its lines, and notes on them."""

    title: str
    drawing: Drawing
    series: tuple[tuple[int, str], ...]
    notes: tuple[str, ...] = ()


def chosen(selection: Selection, conditions: Iterable[ConditionResult]) -> list[ConditionResult]:
    """The conditions of a claim that have the selected parameters."""
    return [
        item
        for item in conditions
        if item.claim.id == selection.claim
        and all(
            name in item.parameters and value in (STAR, item.parameters[name])
            for name, value in selection.where.items()
        )
    ]


def line(number: int, points: Sequence[tuple[float, float] | None]) -> Stroke:
    """The line of a series through places; None breaks it."""
    return Stroke(path=polyline(points), css=f"line s-{number}")


def mark(number: int, x: float, y: float, title: str) -> Mark:
    """A point of a series, with its tooltip."""
    return Mark(x=x, y=y, symbol=f"series-{number}", css=f"s-{number}", title=title)


def evenly_spaced(items: Sequence[Item], count: int = _MARKS) -> list[Item]:
    """At most so many items, evenly spaced, the first and the last among them."""
    last = len(items) - 1
    places = {round(k * last / (count - 1)) for k in range(count)} if items else set()
    return [items[place] for place in sorted(places)]


def thin_points(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """About `POINTS` of the pairs at most, evenly spaced on a logarithmic axis, with both ends."""
    if len(pairs) <= POINTS:
        return list(pairs)
    first, last = (math.log1p(pairs[k][0]) for k in (0, -1))
    step = (last - first) / (POINTS - 1)
    found = [pairs[0]]
    for pair in pairs[1:-1]:
        if math.log1p(pair[0]) >= math.log1p(found[-1][0]) + step:
            found.append(pair)
    return [*found, pairs[-1]]
