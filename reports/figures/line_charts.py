"""Charts of numbers along layers, widths or depths: medians over replicates from the records."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence

from harness.store import Record
from harness.verdict.results import ConditionResult
from reports.article import STAR, LineChart, LineSource
from reports.figures.charts import Chart, chosen, line, mark
from reports.figures.geometry import (
    Axis,
    Drawing,
    Mark,
    Stroke,
    axis_over,
    has_place,
    position,
    thin_ticks,
)
from reports.figures.records import Library
from reports.words import number, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class MedianBand:
    """Median and quartiles of all replicates; one that has no number counts as infinite."""

    low: float
    median: float
    high: float
    n: int
    lost: int


def line_chart(
    asked: LineChart, conditions: Sequence[ConditionResult], library: Library
) -> Chart | None:
    """A chart of the lines that were measured; None if there are none."""
    worst = -math.inf if asked.more_is_better else math.inf
    seen = [points_of(source, conditions, library) for source in asked.lines]
    order = in_order(seen)
    spreads = {
        (series, source.name): {at: spread(values, worst) for at, values in points.items()}
        for series, (source, points) in enumerate(zip(asked.lines, seen, strict=True), start=1)
        if points
    }
    if not spreads:
        return None
    rule = [] if asked.rule is None else [asked.rule]
    ends = [
        value
        for along in spreads.values()
        for each in along.values()
        for value in (each.low, each.median, each.high)
    ]
    y = axis_over([*ends, *rule], asked.scale)
    strokes = [
        Stroke(path=f"M0 {y.up(position(level, asked.scale))}H100", css="margin") for level in rule
    ]
    x = {name: round(100 * (k + 0.5) / len(order), 2) for k, name in enumerate(order)}
    marks: list[Mark] = []
    for (series, name), along in spreads.items():
        drawn, own = _series(series, name, along, x, y)
        strokes += drawn
        marks += own
    title = "; ".join(_in_words(name, along) for (_, name), along in spreads.items())
    return Chart(
        title=asked.title,
        drawing=Drawing(
            description=f"{asked.title}: {title}",
            height=200,
            strokes=tuple(strokes),
            marks=tuple(marks),
            x_ticks=thin_ticks(tuple((place, name) for name, place in x.items())),
            y_ticks=y.upwards(),
            framed=True,
        ),
        series=tuple(spreads),
        notes=tuple(
            f"{name}: {lost} of {sum(each.n for each in along.values())} replicates "
            "without a number"
            for (_, name), along in spreads.items()
            if (lost := sum(each.lost for each in along.values()))
        ),
    )


def _series(
    series: int, name: str, along: Mapping[str, MedianBand], x: Mapping[str, float], y: Axis
) -> tuple[list[Stroke], list[Mark]]:
    """A line of medians, an upright line over each middle half, and a mark on each median.

    The upper edge is above all numbers. The lower edge is below all of them or, on a logarithmic
    axis, at most 0.
    """

    def up(value: float) -> float | None:
        return y.up(position(value, y.scale)) if has_place(value, y.scale) else None

    points: list[tuple[float, float] | None] = []
    whiskers, marks = "", []
    for at in sorted(along, key=x.__getitem__):
        each = along[at]
        low, median, high = up(each.low), up(each.median), up(each.high)
        if low is not None or high is not None:
            bottom = 100 if low is None else low
            whiskers += f"M{x[at]} {bottom}V{0 if high is None else high}"
        points.append(None if median is None else (x[at], median))
        if median is not None:
            title = f"{name}, {at}: {number(each.median)} [{number(each.low)}, {number(each.high)}]"
            marks.append(mark(series, x[at], median, f"{title}, n = {each.n}"))
    strokes = [Stroke(path=whiskers, css=f"whisker s-{series}"), line(series, points)]
    return [stroke for stroke in strokes if stroke.path], marks


def in_order(lines: Iterable[Iterable[str]]) -> list[str]:
    """Places of all lines along their common axis: by size if all are numbers.

    Otherwise in the order of the records; a place that a line lacks is where other lines have it.
    """
    order: list[str] = []
    for one in lines:
        after = 0
        for name in one:
            if name not in order:
                order.insert(after, name)
            after = order.index(name) + 1
    sizes = {name: size for name in order if (size := _size(name)) is not None}
    # Records keep their values by name, in which 10 comes before 2.
    return sorted(order, key=sizes.__getitem__) if len(sizes) == len(order) else order


def points_of(
    source: LineSource, conditions: Iterable[ConditionResult], library: Library
) -> dict[str, list[float]]:
    """A line's numbers, one per replicate, by what the star stands for; NaN if there is none."""
    found: dict[str, list[float]] = {}
    starred = next((name for name, value in source.where.items() if value == STAR), None)
    for condition in chosen(source, conditions):
        for role, ids in condition.records.items():
            if not fnmatch.fnmatchcase(role, source.role):
                continue
            for record in filter(None, map(library.read, ids)):
                for name, value in _values(record, source.value):
                    if starred is not None:
                        place = condition.parameters[starred]
                    elif STAR in source.value:
                        place = name
                    elif STAR in source.role:
                        place = _starred(role, source.role)
                    else:
                        place = source.name
                    text = place if isinstance(place, str) else setting(place)
                    found.setdefault(text, []).append(value)
    return found


def _values(record: Record, asked: str) -> list[tuple[str, float]]:
    """Numbers of a record by what a star in their name stands for."""
    one, _, other = asked.partition(" / ")
    if other:
        if not {one, other} <= record.values.keys():
            return []
        above, below = record.values[one], record.values[other]
        return [("", above / below if below else math.nan)]
    return [
        (_starred(name, one), value)
        for name, value in record.values.items()
        if fnmatch.fnmatchcase(name, one)
    ]


def _size(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def _starred(text: str, pattern: str) -> str:
    """What the star of a pattern matches in a text."""
    before, _, after = pattern.partition(STAR)
    return text[len(before) : len(text) - len(after)]


def spread(values: Sequence[float], worst: float) -> MedianBand:
    """Median and quartiles; a replicate without a number counts as worse than all others."""
    ordered = sorted(value if math.isfinite(value) else worst for value in values)
    low, median, high = (_quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    return MedianBand(low=low, median=median, high=high, n=len(ordered), lost=ordered.count(worst))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """As numpy's, but between two equal infinities it is that infinity, not NaN."""
    place = share * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return below if below == above else below + place % 1 * (above - below)


def _in_words(name: str, along: Mapping[str, MedianBand]) -> str:
    def median(each: MedianBand) -> str:
        known = number(each.median) if math.isfinite(each.median) else "no number"
        return known + (f" ({each.lost} of {each.n} without one)" if each.lost else "")

    return f"{name}: " + ", ".join(f"{at} {median(each)}" for at, each in along.items())
