"""Charts of numbers along layers, widths or depths: medians over replicates from the records."""

from __future__ import annotations

import fnmatch
import functools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import altair as alt
import numpy as np

from harness.claim import Scale
from harness.results import ConditionResult
from harness.store import Record
from reports.article import STAR, Line, Profile, Some
from reports.charts import CONFIG, Chart, Table, rounded, series_encodings
from reports.words import number, setting

_MIDDLE = (25, 75)
"""Percentiles between which the middle half lies."""


class Readable(Protocol):
    """Where records are read from."""

    def read(self, identity: str) -> Record | None:
        """A record; None where it cannot be read."""
        ...


def chosen(some: Some, conditions: Iterable[ConditionResult]) -> list[ConditionResult]:
    """The conditions that are meant: those of the claim that have these parameters."""
    return [
        item
        for item in conditions
        if item.claim.id == some.claim
        and all(
            name in item.parameters and value in (STAR, item.parameters[name])
            for name, value in some.where.items()
        )
    ]


def profile_chart(
    asked: Profile, conditions: Sequence[ConditionResult], library: Readable
) -> Chart | None:
    """A chart of the lines that were measured; None where there are none.

    Parameters
    ----------
    asked : Profile
        What to draw.
    conditions : sequence of ConditionResult
        Of the run.
    library : Readable
        Its records.
    """
    tables: list[Table] = []
    for number_, line in enumerate(asked.lines, start=1):
        points = {
            name: numbers
            for name, seen in points_of(line, conditions, library).items()
            if (numbers := [value for value in seen if _drawable(value, asked.scale)])
        }
        if points:
            tables.append({"run": line.name, "series": number_, **_columns(points)})
    if not tables:
        return None
    rule: list[Table] = [] if asked.rule is None else [{"level": asked.rule}]
    return Chart(
        spec=_name(asked.scale, rule=asked.rule is not None),
        title=asked.title,
        description=f"{asked.title}: {'; '.join(map(_told, tables))}",
        height=200,
        tables=(*tables, *rule),
    )


def points_of(
    line: Line, conditions: Iterable[ConditionResult], library: Readable
) -> dict[str, list[float]]:
    """A line's numbers, one a replicate, by what the star stands for; numbers in their order."""
    found: dict[str, list[float]] = {}
    starred = next((name for name, value in line.where.items() if value == STAR), None)
    for condition in chosen(line, conditions):
        for role, ids in condition.records.items():
            if not fnmatch.fnmatchcase(role, line.role):
                continue
            for record in filter(None, map(library.read, ids)):
                for name, value in _values(record, line.value):
                    if starred is not None:
                        place = condition.parameters[starred]
                    elif STAR in line.value:
                        place = name
                    elif STAR in line.role:
                        place = _starred(role, line.role)
                    else:
                        place = line.name
                    text = place if isinstance(place, str) else setting(place)
                    found.setdefault(text, []).append(value)
    # Records keep their values by name, in which 10 comes before 2.
    return found if not all(map(_is_number, found)) else dict(sorted(found.items(), key=_size))


def _values(record: Record, asked: str) -> list[tuple[str, float]]:
    """Numbers of a record by what a star in their name stands for."""
    one, _, other = asked.partition(" / ")
    if other:
        above, below = record.values.get(one, math.nan), record.values.get(other, math.nan)
        return [("", above / below)] if below else []
    return [
        (_starred(name, one), value)
        for name, value in record.values.items()
        if fnmatch.fnmatchcase(name, one)
    ]


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace(",", "").isdecimal()


def _size(item: tuple[str, list[float]]) -> float:
    return float(item[0].replace(",", ""))


def _starred(text: str, pattern: str) -> str:
    """What the star of a pattern stands for in a text that it fits."""
    before, _, after = pattern.partition(STAR)
    return text[len(before) : len(text) - len(after)]


def _drawable(value: float, scale: Scale) -> bool:
    return math.isfinite(value) and (scale is Scale.LINEAR or value > 0)


def _columns(points: Mapping[str, Sequence[float]]) -> Table:
    middles = [np.percentile(values, _MIDDLE) for values in points.values()]
    return {
        "at": list(points),
        "value": [rounded(statistics.median(values)) for values in points.values()],
        "low": [rounded(float(low)) for low, _ in middles],
        "high": [rounded(float(high)) for _, high in middles],
        "n": [len(values) for values in points.values()],
    }


def _told(table: Table) -> str:
    at, values = table["at"], table["value"]
    assert isinstance(at, list)
    assert isinstance(values, list)
    pairs = zip(at, values, strict=True)
    return f"{table['run']}: " + ", ".join(f"{name} {number(value)}" for name, value in pairs)


def specifications() -> dict[str, Callable[[], alt.LayerChart]]:
    """The Vega-Lite specifications by name, as those of `reports.charts`."""
    return {
        _name(scale, rule=rule): functools.partial(_profiles, scale, rule=rule)
        for scale in Scale
        for rule in (False, True)
    }


def _name(scale: Scale, *, rule: bool) -> str:
    return f"profile-{scale.value}{'-rule' if rule else ''}"


def _profiles(scale: Scale, *, rule: bool) -> alt.LayerChart:
    logarithmic = scale is Scale.LOG
    labelled: Any = {"condition": {"test": "datum.label !== ''", "value": 1}, "value": 0}
    up: dict[str, Any] = {
        "title": None,
        "scale": alt.Scale(type="log", nice=False, padding=6)
        if logarithmic
        else alt.Scale(zero=False, nice=False, padding=8),
        "axis": alt.Axis(
            format="~g", tickCount=5, gridOpacity=labelled, tickOpacity=labelled, labelFlush=True
        ),
    }
    along = alt.X(
        "at:O",
        sort=None,
        title=None,
        scale=alt.Scale(type="point", padding=0.3),
        axis=alt.Axis(labelAngle=0, labelOverlap="greedy", labelLimit=120),
    )
    colour, shape = series_encodings()
    tooltip = [
        alt.Tooltip("run:N"),
        alt.Tooltip("at:N", title="at"),
        alt.Tooltip("value:Q", title="median", format=".3~g"),
        alt.Tooltip("low:Q", title="middle half from", format=".3~g"),
        alt.Tooltip("high:Q", title="to", format=".3~g"),
        alt.Tooltip("n:Q", title="replicates"),
    ]
    base = alt.Chart(alt.NamedData(name="rows"))
    points = base.transform_filter("isValid(datum.value)")
    value = alt.Y("value:Q", **up)
    across = (
        base.transform_filter("isValid(datum.level)")
        .mark_rule(color="var(--ink)", strokeDash=[4, 3], strokeWidth=1.25)
        .encode(y=alt.Y("level:Q", **up))
    )
    chart: alt.LayerChart = (
        alt.layer(
            # Without data of its own, a layer has no extent and warns.
            *([across] if rule else []),
            points.mark_rule(strokeWidth=1.25, opacity=0.6).encode(
                x=along, y=alt.Y("low:Q", **up), y2="high:Q", color=colour
            ),
            points.mark_line(strokeWidth=1.75).encode(x=along, y=value, color=colour),
            points.mark_point(filled=True, size=48, opacity=1).encode(
                x=along, y=value, color=colour, shape=shape
            ),
            # Wide and invisible: a target that a pointer can hit.
            points.mark_point(filled=True, size=260, opacity=0).encode(
                x=along, y=value, tooltip=tooltip
            ),
        )
        .properties(width="container")
        .configure(**CONFIG)
    )
    return chart
