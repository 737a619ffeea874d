"""Charts of a measure along the iterations, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness.claim import Scale
from harness.store import Record
from reports.figures.charts import Chart, evenly_spaced, line, mark, thin_points
from reports.figures.geometry import Axis, Drawing, Stroke, Ticks, axis_over, has_place
from reports.words import number

_ITERATIONS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
_APART = 9
"""Least distance of two labels of iterations, in percent."""


def trace_chart(
    name: str, records: Mapping[str, Record], *, title: str, reference: str | None = None
) -> Chart | None:
    """A measure along the iterations, one line per record; None if there is nothing to draw.

    Parameters
    ----------
    name : str
        Of the trace ("m_g").
    records : mapping of str to Record
        One record per line, by its name.
    title : str
        What is drawn.
    reference : str or None
        Name of a final value that is drawn as a rule ("m_r").
    """
    seen = {
        role: (series, pairs, record.values.get(reference or "", math.nan))
        for series, (role, record) in enumerate(records.items(), start=1)
        if (pairs := _along(record, name))
    }
    if not seen:
        return None
    x = Axis(
        first=min(math.log1p(pairs[0][0]) for _, pairs, _ in seen.values()),
        last=max(math.log1p(pairs[-1][0]) for _, pairs, _ in seen.values()),
        inset=1.0,
    )
    levels = [level for _, _, level in seen.values()]
    y = axis_over(
        [*(value for _, pairs, _ in seen.values() for _, value in pairs), *levels], Scale.LOG
    )
    strokes, marks = [], []
    for role, (series, pairs, level) in seen.items():
        if has_place(level, Scale.LOG):
            label = f"{role}: {reference} {number(level)}"
            path = f"M0 {y.up(math.log(level))}H100"
            strokes.append(Stroke(path=path, css=f"reference s-{series}", title=label))
        places = [(x.place(math.log1p(at)), y.up(math.log(value))) for at, value in pairs]
        strokes.append(line(series, places))
        for place, (at, value) in evenly_spaced(list(zip(places, pairs, strict=True))):
            label = f"{role}: {number(value)} after {at:,.0f}"
            marks.append(mark(series, *place, label))
    return Chart(
        title=title,
        drawing=Drawing(
            description=f"{title} over the iterations, for {', '.join(seen)}",
            height=190,
            strokes=tuple(strokes),
            marks=tuple(marks),
            x_ticks=_ticks(x),
            y_ticks=y.upwards(),
            framed=True,
        ),
        series=tuple((series, role) for role, (series, _, _) in seen.items()),
    )


def _along(record: Record, name: str) -> list[tuple[float, float]]:
    """Iterations with their values, those that a logarithmic axis has a place for."""
    both = zip(record.traces.get("iteration", ()), record.traces.get(name, ()), strict=False)
    return thin_points(
        [
            (iteration, value)
            for iteration, value in both
            if has_place(value, Scale.LOG) and math.isfinite(iteration)
        ]
    )


def _ticks(x: Axis) -> Ticks:
    found: list[tuple[float, str]] = []
    for iteration in _ITERATIONS:
        at = math.log1p(iteration)
        if x.first <= at <= x.last and (not found or x.place(at) >= found[-1][0] + _APART):
            found.append((x.place(at), f"{iteration:,}"))
    return tuple(found)
