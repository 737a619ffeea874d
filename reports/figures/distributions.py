"""Charts of how the points of one replicate are spread, with single values as rules beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import altair as alt

from harness.store import Record
from harness.verdict.results import ConditionResult
from reports.article import Distribution, Line, Some
from reports.figures.charts import (
    POINTS,
    Chart,
    Table,
    drawable,
    layered,
    marked,
    rounded,
    series_encodings,
)
from reports.figures.profiles import Readable, chosen
from reports.words import number


def distribution_chart(
    asked: Distribution, conditions: Sequence[ConditionResult], library: Readable
) -> Chart | None:
    """The share of a first replicate's points up to each value; None where there are none.

    Parameters
    ----------
    asked : Distribution
        What to draw.
    conditions : sequence of ConditionResult
        Of the run.
    library : Readable
        Its records.
    """
    points = _points(asked, conditions, library)
    if not points:
        return None
    curve = _curve(points)
    levels = [
        (series, rule.name, level)
        for series, rule in enumerate(asked.rules, start=2)
        if (level := _level(rule, conditions, library)) is not None
    ]
    ends = [points[0], points[-1], *(level for _, _, level in levels)]
    told = "; ".join(f"{name} {number(level)}" for _, name, level in levels)
    return Chart(
        spec="distribution",
        title=asked.title,
        description=f"{asked.title}: {asked.name} from {number(points[0])} to {number(points[-1])}"
        + (f"; {told}" if told else ""),
        height=200,
        tables=(
            {"bottom": rounded(min(ends)), "top": rounded(max(ends))},
            {"run": asked.name, "series": 1, **curve},
            *({"run": name, "series": k, "level": rounded(level)} for k, name, level in levels),
        ),
    )


def specifications() -> dict[str, Callable[[], alt.LayerChart]]:
    """The Vega-Lite specification by name, as those of `reports.figures.charts`."""
    return {"distribution": _distribution}


def _curve(points: Sequence[float]) -> Table:
    """Points in their order with the share up to each, as many as can be told apart."""
    last = len(points) - 1
    kept = sorted({round(k * last / (POINTS - 1)) for k in range(POINTS)})
    return {
        "value": [rounded(points[k]) for k in kept],
        "share": [rounded((k + 1) / len(points)) for k in kept],
        "mark": marked(len(kept)),
    }


def _points(
    asked: Distribution, conditions: Sequence[ConditionResult], library: Readable
) -> list[float]:
    """A trace of the first replicate, in order; none where one of its points cannot be placed."""
    for record in _first(asked, asked.role, conditions, library):
        points = sorted(record.traces.get(asked.trace, ()))
        if points and all(map(drawable, points)):
            return points
    return []


def _level(rule: Line, conditions: Sequence[ConditionResult], library: Readable) -> float | None:
    """The number of a rule in the first replicate."""
    for record in _first(rule, rule.role, conditions, library):
        level = record.values.get(rule.value, math.nan)
        if drawable(level):
            return level
    return None


def _first(
    some: Some, role: str, conditions: Sequence[ConditionResult], library: Readable
) -> Iterable[Record]:
    for condition in chosen(some, conditions):
        for identity in condition.records.get(role, ())[:1]:
            record = library.read(identity)
            if record is not None:
                yield record


def _distribution() -> alt.LayerChart:
    # Of the many ticks of a logarithmic axis, those with a label.
    labelled: Any = {"condition": {"test": "datum.label !== ''", "value": 1}, "value": 0}
    between = [alt.ExprRef(f"data('rows')[0].{end}") for end in ("bottom", "top")]
    across: dict[str, Any] = {
        "title": None,
        "scale": alt.Scale(type="log", domain=between, nice=False, padding=8),
        "axis": alt.Axis(format="~s", tickCount=5, gridOpacity=labelled, tickOpacity=labelled),
    }
    colour, shape = series_encodings()
    share = alt.Y(
        "share:Q",
        title=None,
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", tickCount=5),
    )
    base = alt.Chart(alt.NamedData(name="rows"))
    points = base.transform_filter("isValid(datum.share)")
    rules = base.transform_filter("isValid(datum.level)")
    value, level = alt.X("value:Q", **across), alt.X("level:Q", **across)
    return layered(
        rules.mark_rule(strokeWidth=1.75).encode(
            x=level,
            color=colour,
            tooltip=[alt.Tooltip("run:N"), alt.Tooltip("level:Q", format=".3~g")],
        ),
        rules.mark_point(filled=True, size=48, opacity=1).encode(
            x=level, y=alt.value(0), color=colour, shape=shape
        ),
        points.mark_line(strokeWidth=1.75, interpolate="step-after").encode(
            x=value, y=share, color=colour
        ),
        points.transform_filter("datum.mark === 1")
        .mark_point(filled=True, size=36, opacity=1)
        .encode(x=value, y=share, color=colour, shape=shape),
        # Wide and invisible: a target that a pointer can hit.
        points.mark_point(filled=True, size=220, opacity=0).encode(
            x=value,
            y=share,
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("value:Q", title="up to", format=".3~g"),
                alt.Tooltip("share:Q", title="share of the points", format=".0%"),
            ],
        ),
    )
