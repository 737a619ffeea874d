"""Charts of numbers along layers, widths or depths: medians over replicates from the records."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import altair as alt

from harness.claim import Scale
from harness.store import Record
from harness.verdict.results import ConditionResult
from reports.article import STAR, Line, Profile, Some
from reports.figures.charts import Chart, Table, layered, rounded, series_encodings
from reports.words import number, setting


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
    worst = -math.inf if asked.more_is_better else math.inf
    seen = [points_of(line, conditions, library) for line in asked.lines]
    places = {name: place for place, name in enumerate(in_order(seen))}
    drawn = [
        (number_, line.name, {name: _spread(values, worst) for name, values in points.items()})
        for number_, (line, points) in enumerate(zip(asked.lines, seen, strict=True), start=1)
        if points
    ]
    if not drawn:
        return None
    lines = [
        {"run": name, "series": number_, **_columns(along, places, asked.scale)}
        for number_, name, along in drawn
    ]
    rule: list[Table] = [] if asked.rule is None else [{"level": asked.rule}]
    return Chart(
        spec=_name(asked.scale, rule=asked.rule is not None),
        title=asked.title,
        description=f"{asked.title}: {'; '.join(_told(name, along) for _, name, along in drawn)}",
        height=200,
        tables=(
            _extent(lines, asked.rule),
            *lines,
            *rule,
        ),
    )


def in_order(lines: Iterable[Iterable[str]]) -> list[str]:
    """Places of all lines along their common axis: by size where all are numbers.

    Otherwise as the records have them: what a line lacks stands where other lines have it.
    """
    order: list[str] = []
    for line in lines:
        after = 0
        for name in line:
            if name not in order:
                order.insert(after, name)
            after = order.index(name) + 1
    sizes = {name: size for name in order if (size := _size(name)) is not None}
    # Records keep their values by name, in which 10 comes before 2.
    return sorted(order, key=sizes.__getitem__) if len(sizes) == len(order) else order


def without_number(chart: Chart) -> tuple[str, ...]:
    """How many replicates of each line ended without a number, in words, where any did."""
    told = []
    for table in chart.tables:
        lost, all_ = table.get("lost"), table.get("n")
        if isinstance(lost, list) and isinstance(all_, list) and any(lost):
            told.append(f"{table['run']}: {sum(lost)} of {sum(all_)} replicates without a number")
    return tuple(told)


def points_of(
    line: Line, conditions: Iterable[ConditionResult], library: Readable
) -> dict[str, list[float]]:
    """A line's numbers, one a replicate, by what the star stands for; NaN where there is none."""
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
    """What the star of a pattern stands for in a text that it fits."""
    before, _, after = pattern.partition(STAR)
    return text[len(before) : len(text) - len(after)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Spread:
    """Median and quartiles of all replicates; infinite where those without a number reach them."""

    low: float
    median: float
    high: float
    n: int
    lost: int


def _spread(values: Sequence[float], worst: float) -> _Spread:
    """A replicate without a number is none that went well: it is worse than all that have one."""
    ordered = sorted(value if math.isfinite(value) else worst for value in values)
    low, median, high = (_quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    return _Spread(low=low, median=median, high=high, n=len(ordered), lost=ordered.count(worst))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """As numpy's, which makes NaN of the way from one infinity to another."""
    place = share * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return below if below == above else below + place % 1 * (above - below)


def _columns(along: Mapping[str, _Spread], places: Mapping[str, int], scale: Scale) -> Table:
    def drawn(value: float) -> float | None:
        fits = math.isfinite(value) and (scale is Scale.LINEAR or value > 0)
        return rounded(value) if fits else None

    spreads = along.values()
    return {
        "at": list(along),
        "place": [places[name] for name in along],
        "value": [drawn(each.median) for each in spreads],
        "low": [drawn(each.low) for each in spreads],
        "high": [drawn(each.high) for each in spreads],
        "n": [each.n for each in spreads],
        "lost": [each.lost for each in spreads],
    }


def _extent(lines: Iterable[Table], rule: float | None) -> Table:
    """Between which numbers the axis runs; 0.1 and 1 where nothing can be drawn."""
    seen = [] if rule is None else [rule]
    for line in lines:
        for name in ("value", "low", "high"):
            column = line[name]
            assert isinstance(column, list)
            seen += [value for value in column if value is not None]
    return {"bottom": min(seen, default=0.1), "top": max(seen, default=1.0)}


def _told(line: str, along: Mapping[str, _Spread]) -> str:
    def median(spread: _Spread) -> str:
        known = number(spread.median) if math.isfinite(spread.median) else "no number"
        return known + (f" ({spread.lost} of {spread.n} without one)" if spread.lost else "")

    return f"{line}: " + ", ".join(f"{name} {median(spread)}" for name, spread in along.items())


def specifications() -> dict[str, Callable[[], alt.LayerChart]]:
    """The Vega-Lite specifications by name, as those of `reports.figures.charts`."""
    return {
        _name(scale, rule=rule): functools.partial(_profiles, scale, rule=rule)
        for scale in Scale
        for rule in (False, True)
    }


def _name(scale: Scale, *, rule: bool) -> str:
    return f"profile-{scale.value}{'-rule' if rule else ''}"


def _profiles(scale: Scale, *, rule: bool) -> alt.LayerChart:
    logarithmic = scale is Scale.LOG
    # From its row, the first: Vega warns of a layer in which it finds no number to begin at.
    between = [alt.ExprRef(f"data('rows')[0].{end}") for end in ("bottom", "top")]
    labelled: Any = {"condition": {"test": "datum.label !== ''", "value": 1}, "value": 0}
    up: dict[str, Any] = {
        "title": None,
        "scale": alt.Scale(type="log", domain=between, nice=False, padding=6)
        if logarithmic
        else alt.Scale(domain=between, zero=False, nice=False, padding=8),
        "axis": alt.Axis(
            format="~g", tickCount=5, gridOpacity=labelled, tickOpacity=labelled, labelFlush=True
        ),
    }
    along = alt.X(
        "at:O",
        # A specification serves many charts, so that their rows bring the order.
        sort=alt.EncodingSortField(field="place", op="min"),
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
        alt.Tooltip("lost:Q", title="of them without a number"),
    ]
    base = alt.Chart(alt.NamedData(name="rows"))
    # A place whose median cannot be drawn keeps its row, so that the line breaks there.
    points = base.transform_filter("isValid(datum.at)")
    value = alt.Y("value:Q", **up)
    # Above all numbers is the upper edge. The lower one is below all of them or, on a logarithmic
    # axis, not above 0.
    middle: list[tuple[str, str, Any]] = [
        ("isValid(datum.low) && isValid(datum.high)", "low", alt.Y2("high:Q")),
        ("isValid(datum.low) && !isValid(datum.high)", "low", alt.value(0)),
        ("!isValid(datum.low) && isValid(datum.high)", "high", alt.value("height")),
    ]
    across = (
        base.transform_filter("isValid(datum.level)")
        .mark_rule(color="var(--ink)", strokeDash=[4, 3], strokeWidth=1.25)
        .encode(y=alt.Y("level:Q", **up))
    )
    return layered(
        # Without data of its own, a layer has no extent and warns.
        *([across] if rule else []),
        *(
            points.transform_filter(there)
            .mark_rule(strokeWidth=1.25, opacity=0.6)
            .encode(x=along, y=alt.Y(f"{end}:Q", **up), y2=other, color=colour)
            for there, end, other in middle
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
