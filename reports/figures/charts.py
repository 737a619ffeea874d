"""Charts that are drawn in the browser: Altair specifications, and the rows for each chart.

A page has one copy of each specification; a chart names the one it uses and brings its own rows.
Colours are custom properties of the page, so that charts follow its light and dark schemes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt

from harness.claim import Scale
from harness.store import Record
from harness.verdict.results import ConditionResult
from reports.summary import effect_of
from reports.words import parameters_text, quantity

Table = Mapping[str, object]
"""Rows by column: a list has an entry per row, anything else is the same in all of them."""

SERIES = 6
"""Lines that a chart can tell apart."""

_COLOURS = tuple(f"var(--series-{number})" for number in range(1, SERIES + 1))
_SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
POINTS = 64
"""Of a line, as many as can be told apart."""

_MARKS = 7
_DIGITS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart: the specification it uses, its data, and what it shows in words."""

    spec: str
    title: str
    description: str
    height: int
    tables: tuple[Table, ...]


def specifications() -> dict[str, Callable[[], alt.LayerChart]]:
    """The Vega-Lite specifications by name, each with a data set named "rows" to be filled."""
    return {
        "traces": lambda: _traces(reference=False),
        "traces-reference": lambda: _traces(reference=True),
        "replicates": lambda: _replicates(logarithmic=False),
        "replicates-log": lambda: _replicates(logarithmic=True),
    }


def trace_chart(
    name: str, records: Mapping[str, Record], *, title: str, reference: str | None = None
) -> Chart | None:
    """A measure along the iterations, one line per role of a condition.

    Parameters
    ----------
    name : str
        Of the trace ("m_g").
    records : mapping of str to Record
        One record per line, at most `SERIES` by their names.
    title : str
        What is drawn.
    reference : str or None
        Name of a final value that is drawn as a rule ("m_r").
    """
    tables: list[Table] = []
    for number, (role, record) in enumerate(records.items()):
        line = _along(record, name)
        if line is None:
            continue
        key = {"run": role, "series": number % SERIES + 1}
        tables.append({**key, **line})
        level = record.values.get(reference, math.nan) if reference else math.nan
        if drawable(level):
            tables.append({**key, "level": rounded(level)})
    if not tables:
        return None
    return Chart(
        spec="traces-reference" if any("level" in table for table in tables) else "traces",
        title=title,
        description=f"{title} over the iterations, for {', '.join(records)}",
        height=190,
        tables=tuple(tables),
    )


def replicate_chart(
    conditions: Sequence[ConditionResult], index: int, *, title: str
) -> Chart | None:
    """Every replicate's effect for one criterion of an estimand, by condition, with the margin.

    Parameters
    ----------
    conditions : sequence of ConditionResult
        Conditions judged by the same estimand.
    index : int
        Number of the criterion in the estimand.
    title : str
        What is drawn.
    """
    criterion = conditions[0].judged_by.criteria[index]
    logarithmic = criterion.scale is Scale.LOG
    tables: list[Table] = []
    for condition in conditions:
        name = parameters_text(condition.parameters) or condition.estimand
        values = condition.decision.values.get(criterion.effect, ())
        finite = [(k, value) for k, value in enumerate(values) if math.isfinite(value)]
        if not finite:
            continue
        events = condition.decision.events(criterion) or tuple(map(criterion.holds, values))
        tables.append(
            {
                "condition": name,
                "replicate": [k for k, _ in finite],
                "value": [_natural(value, logarithmic=logarithmic) for _, value in finite],
                "event": [int(events[k]) for k, _ in finite],
            }
        )
        parts = condition.decision.parts
        effect = effect_of(parts[index]) if index < len(parts) else None
        if effect is not None:
            tables.append(
                {
                    "condition": name,
                    "median": _natural(effect.value, logarithmic=logarithmic),
                    "text": quantity(effect.value, effect.scale),
                }
            )
    if not any("median" in table for table in tables):
        return None
    same = [item for item in conditions[0].judged_by.criteria if item.effect == criterion.effect]
    tables += [{"margin": _natural(item.margin, logarithmic=logarithmic)} for item in same]
    return Chart(
        spec="replicates-log" if logarithmic else "replicates",
        title=title,
        description=f"{title}: one mark per replicate, by condition, and the margin as a rule",
        height=26 * len({table["condition"] for table in tables if "condition" in table}),
        tables=tuple(tables),
    )


def _natural(value: float, *, logarithmic: bool) -> float:
    return rounded(math.exp(max(-600.0, min(600.0, value))) if logarithmic else value)


def _along(record: Record, name: str) -> Table | None:
    iterations = record.traces.get("iteration", ())
    values = record.traces.get(name, ())
    kept = _thinned(
        [
            (iteration, value)
            for iteration, value in zip(iterations, values, strict=False)
            if drawable(value) and math.isfinite(iteration)
        ]
    )
    if not kept:
        return None
    return {
        "iteration": [int(iteration) for iteration, _ in kept],
        "value": [rounded(value) for _, value in kept],
        "mark": marked(len(kept)),
    }


def _thinned(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about `POINTS` of the pairs, evenly spaced on a logarithmic axis, ends kept."""
    if len(pairs) <= POINTS:
        return list(pairs)
    first, last = (math.log1p(pairs[k][0]) for k in (0, -1))
    step = (last - first) / (POINTS - 1)
    kept = [pairs[0]]
    for pair in pairs[1:-1]:
        if math.log1p(pair[0]) >= math.log1p(kept[-1][0]) + step:
            kept.append(pair)
    return [*kept, pairs[-1]]


def marked(count: int) -> list[int]:
    """Which of a line's points, 1 or 0, show the mark that tells it from other lines."""
    places = {round(k * (count - 1) / (_MARKS - 1)) for k in range(_MARKS)}
    return [int(number in places) for number in range(count)]


def drawable(value: float) -> bool:
    """Whether a logarithmic axis has a place for a number."""
    return math.isfinite(value) and value > 0


def rounded(value: float) -> float:
    """A number with the digits that a chart can show."""
    return float(f"{value:.{_DIGITS}g}")


def series_encodings() -> tuple[alt.Color, alt.Shape]:
    """Colour and shape of a chart's lines; the page has a legend of its own for them."""
    known = list(range(1, SERIES + 1))
    return (
        alt.Color("series:N", legend=None, scale=alt.Scale(domain=known, range=list(_COLOURS))),
        alt.Shape("series:N", legend=None, scale=alt.Scale(domain=known, range=list(_SHAPES))),
    )


def layered(*layers: alt.Chart) -> alt.LayerChart:
    """Layers in the width and the look of the page."""
    # All at once: each `properties` or `configure` would copy the whole.
    return alt.LayerChart(layer=list(layers), width="container", config=CONFIG)


def _traces(*, reference: bool) -> alt.LayerChart:
    iteration = alt.X(
        "iteration:Q",
        title="iteration",
        scale=alt.Scale(type="symlog", constant=1, nice=False),
        axis=alt.Axis(
            values=[0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000],
            format="~s",
            labelOverlap="greedy",
        ),
    )
    # Of the many ticks of a logarithmic axis, those with a label.
    labelled: Any = {"condition": {"test": "datum.label !== ''", "value": 1}, "value": 0}
    value = alt.Y(
        "value:Q",
        title=None,
        scale=alt.Scale(type="log", nice=False, padding=6),
        axis=alt.Axis(format="~g", tickCount=5, gridOpacity=labelled, tickOpacity=labelled),
    )
    colour, shape = series_encodings()
    tooltip = [
        alt.Tooltip("run:N"),
        alt.Tooltip("iteration:Q", format=","),
        alt.Tooltip("value:Q", format=".3~g"),
    ]
    base = alt.Chart(alt.NamedData(name="rows"))
    runs = base.transform_filter("isValid(datum.value)")
    levels = (
        base.transform_filter("isValid(datum.level)")
        .mark_rule(strokeDash=[2, 3], strokeWidth=1.25, clip=True)
        .encode(
            y=alt.Y("level:Q", title=None),
            color=colour,
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("level:Q", title="m_r, the reference", format=".3~g"),
            ],
        )
    )
    return layered(
        *([levels] if reference else []),
        runs.mark_line(strokeWidth=1.75, clip=True).encode(x=iteration, y=value, color=colour),
        runs.transform_filter("datum.mark === 1")
        .mark_point(filled=True, size=36, opacity=1)
        .encode(x=iteration, y=value, color=colour, shape=shape),
        # Wide and invisible: a target that a pointer can hit.
        runs.mark_point(filled=True, size=220, opacity=0).encode(
            x=iteration, y=value, tooltip=tooltip
        ),
    )


def _replicates(*, logarithmic: bool) -> alt.LayerChart:
    scale = (
        alt.Scale(type="log", nice=False, padding=12)
        if logarithmic
        else alt.Scale(zero=False, nice=False, padding=12)
    )
    across: dict[str, Any] = {
        "scale": scale,
        "axis": alt.Axis(format="~g", tickCount=5, grid=False),
        "title": None,
    }
    condition = alt.Y(
        "condition:N",
        sort=None,
        title=None,
        axis=alt.Axis(labelLimit=190, grid=True, ticks=False, domain=False, labelPadding=8),
    )
    base = alt.Chart(alt.NamedData(name="rows"))
    values = base.transform_filter("isValid(datum.value)").transform_calculate(
        claimed="datum.event ? 'as claimed' : 'not as claimed'"
    )
    return layered(
        base.transform_filter("isValid(datum.margin)")
        .mark_rule(color="var(--ink)", strokeDash=[4, 3], strokeWidth=1.25)
        .encode(x=alt.X("margin:Q", **across)),
        values.mark_point(filled=True, size=42, opacity=0.55, color="var(--series-1)").encode(
            x=alt.X("value:Q", **across),
            y=condition,
            shape=alt.Shape(
                "claimed:N",
                title=None,
                scale=alt.Scale(domain=["as claimed", "not as claimed"], range=["circle", "cross"]),
                legend=alt.Legend(orient="top", symbolFillColor="var(--series-1)"),
            ),
            tooltip=[
                alt.Tooltip("condition:N"),
                alt.Tooltip("replicate:Q"),
                alt.Tooltip("value:Q", format=".3~g"),
                alt.Tooltip("claimed:N", title="this one is"),
            ],
        ),
        base.transform_filter("isValid(datum.median)")
        .mark_tick(thickness=2.5, size=20, color="var(--ink)", opacity=1)
        .encode(
            x=alt.X("median:Q", **across),
            y=condition,
            tooltip=[alt.Tooltip("condition:N"), alt.Tooltip("text:N", title="median")],
        ),
    )


CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--ink-soft)",
        "titleColor": "var(--ink-soft)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "gridColor": "var(--line-soft)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
    },
    "legend": {
        "orient": "top",
        "labelColor": "var(--ink-soft)",
        "labelFontSize": 11,
        "labelLimit": 220,
        "symbolSize": 50,
        "padding": 0,
        "offset": 6,
        "columns": 4,
    },
}
