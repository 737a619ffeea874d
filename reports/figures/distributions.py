"""Distributions of the points of one replicate, with single values as vertical lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from harness.claim import Scale
from harness.store import Record
from harness.verdict.results import ConditionResult
from reports.article import Distribution, LineSource, Selection
from reports.figures.charts import POINTS, Chart, chosen, evenly_spaced, line, mark
from reports.figures.geometry import Axis, Drawing, Stroke, axis_over, has_place
from reports.figures.records import Library
from reports.words import number, percent


def distribution_chart(
    asked: Distribution, conditions: Sequence[ConditionResult], library: Library
) -> Chart | None:
    """The share of a first replicate's points up to each value; None if there are no points."""
    points = _points(asked, conditions, library)
    if not points:
        return None
    levels = [
        (series, rule.name, level)
        for series, rule in enumerate(asked.rules, start=2)
        if (level := _level(rule, conditions, library)) is not None
    ]
    x = axis_over([points[0], points[-1], *(level for _, _, level in levels)], Scale.LOG)
    y = Axis(first=0.0, last=1.0, inset=0.0)
    parts = [f"{asked.name} from {number(points[0])} to {number(points[-1])}"]
    strokes, marks = [], []
    for series, name, level in levels:
        parts.append(f"{name} {number(level)}")
        at = x.place(math.log(level))
        strokes.append(Stroke(path=f"M{at} 0V100", css=f"line s-{series}", title=parts[-1]))
        marks.append(mark(series, at, 0, parts[-1]))
    curve = [
        (value, (k + 1) / len(points), x.place(math.log(value)))
        for k, value in evenly_spaced(list(enumerate(points)), POINTS)
    ]
    # Steps: level up to the next value, then up.
    corners = [(at, y.up(share)) for _, share, at in curve]
    steps = [corners[0]]
    for corner in corners[1:]:
        steps += [(corner[0], steps[-1][1]), corner]
    strokes.append(line(1, steps))
    marks += [
        mark(1, at, y.up(share), f"{percent(share)} of the points up to {number(value)}")
        for value, share, at in evenly_spaced(curve)
    ]
    return Chart(
        title=asked.title,
        drawing=Drawing(
            description=f"{asked.title}: {'; '.join(parts)}",
            height=200,
            strokes=tuple(strokes),
            marks=tuple(marks),
            x_ticks=x.across(),
            y_ticks=tuple((y.up(k / 4), f"{25 * k} %") for k in range(5)),
            framed=True,
        ),
        series=((1, asked.name), *((series, name) for series, name, _ in levels)),
    )


def _points(
    asked: Distribution, conditions: Sequence[ConditionResult], library: Library
) -> list[float]:
    """A trace of the first replicate, sorted; empty if one of its points cannot be drawn."""
    for record in _first(asked, asked.role, conditions, library):
        points = sorted(record.traces.get(asked.trace, ()))
        if points and all(has_place(point, Scale.LOG) for point in points):
            return points
    return []


def _level(
    rule: LineSource, conditions: Sequence[ConditionResult], library: Library
) -> float | None:
    """The number of a rule in the first replicate."""
    for record in _first(rule, rule.role, conditions, library):
        level = record.values.get(rule.value, math.nan)
        if has_place(level, Scale.LOG):
            return level
    return None


def _first(
    selection: Selection, role: str, conditions: Sequence[ConditionResult], library: Library
) -> Iterable[Record]:
    for condition in chosen(selection, conditions):
        for identity in condition.records.get(role, ())[:1]:
            record = library.read(identity)
            if record is not None:
                yield record
