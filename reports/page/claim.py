"""Everything that the page shows of one claim."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence

from harness.verdict.results import ConditionResult
from reports import words
from reports.article import Answer, answers
from reports.figures import charts, intervals
from reports.figures.intervals import Axis, Bar
from reports.figures.pictures import Album, Gallery, galleries
from reports.figures.records import Cells, Library, captions, cells_of, distinct, panels
from reports.page.conditions import (
    ConditionView,
    EstimandView,
    axes_of,
    by_effect,
    by_estimand,
    condition_view,
    parts_shown,
)
from reports.page.panels import MultiverseView, multiverse_view
from reports.split_conditions import sides_text
from reports.summary import ClaimSummary, Summary

PICTURES_LIMIT = 3 * 2**20
"""Characters of base64 that the images of a page may take.

With the charts, their script (1 MiB) and some hundred conditions the page stays below 8 MiB."""

CHARTS_LIMIT = 3 * 2**19
"""Characters of JSON that the charts of a page may take."""

_BARS = 24
"""Effects of a claim that are drawn in the plot of all; more would hide the other claims."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraceView:
    """The traces of one replicate, in charts with common lines, told by their numbers."""

    name: str
    series: tuple[tuple[int, str], ...]
    charts: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClaimView:
    """Everything that the page shows of a claim.

    `multiverses` has one an estimand, and none where the cells around it were not measured.
    """

    summary: ClaimSummary
    answer: Answer
    digest: str
    p: str
    p_holm: str
    shown: ConditionView | None
    sides: str
    counterexamples: tuple[str, ...]
    bars: tuple[Bar, ...]
    more_bars: int
    estimands: tuple[EstimandView, ...]
    traces: tuple[TraceView, ...]
    galleries: tuple[Gallery, ...]
    multiverses: tuple[MultiverseView, ...]
    networks: tuple[str, ...]
    decoders: tuple[str, ...]
    problems: tuple[str, ...]
    command: str


class Claims:
    """Views of claims, with the charts and images that they ask for.

    Parameters
    ----------
    summary : Summary
        The run.
    library : Library
        Its records.
    """

    def __init__(self, summary: Summary, library: Library) -> None:
        self._summary = summary
        self._library = library
        self.album = Album(limit=PICTURES_LIMIT)
        self.charts: dict[str, charts.Chart] = {}
        self.charts_left_out = 0
        self._keys: dict[str, str] = {}
        self._free = CHARTS_LIMIT

    def view(self, summary: ClaimSummary) -> ClaimView:
        """The view of one claim."""
        self._library.problems.clear()
        ordered = (*summary.confirmatory, *summary.exploratory)
        cells = {id(item): cells_of(item, self._library) for item in ordered}
        grouped = by_estimand(summary.conditions)
        axes = {name: axes_of(conditions) for name, conditions in grouped.items()}
        views = {
            id(item): condition_view(
                item,
                axes[item.estimand],
                networks=cells[id(item)].networks,
                decoders=cells[id(item)].decoders,
            )
            for item in ordered
        }
        drawn = intervals.toward(
            shown
            for condition in summary.confirmatory
            for shown in parts_shown(
                condition,
                weakest=condition is summary.shown and len(summary.confirmatory) > 1,
            )
        )
        pictured = distinct(cells.values())
        claim, family = summary.claim, self._summary.family
        around = self._summary.run.multiverses.get(claim.id, {})
        return ClaimView(
            summary=summary,
            answer=answers().get(claim.id, Answer()),
            digest=claim.digest,
            p=words.probability(family.p[claim.id]) if claim.id in family.p else "",
            p_holm=words.probability(family.holm[claim.id]) if claim.id in family.holm else "",
            shown=None if summary.shown is None else views[id(summary.shown)],
            sides=sides_text(summary.confirmatory),
            counterexamples=self._counterexamples(summary.confirmatory),
            bars=drawn[:_BARS],
            more_bars=max(0, len(drawn) - _BARS),
            estimands=tuple(
                self._estimand(conditions, axes[name], views)
                for name, conditions in grouped.items()
            ),
            traces=self.traces(pictured),
            galleries=galleries(captions(pictured), self.album),
            multiverses=tuple(
                multiverse_view(found, claim.estimands[name]) for name, found in around.items()
            ),
            networks=_names(view.networks for view in views.values()),
            decoders=_names(view.decoders for view in views.values()),
            problems=tuple(dict.fromkeys(self._library.problems)),
            command=_command(summary.conditions),
        )

    def _counterexamples(self, conditions: Iterable[ConditionResult]) -> tuple[str, ...]:
        """What refuted exact conditions, in words."""
        found = (
            record.labels["counterexample"]
            for condition in conditions
            if (number := condition.decision.counterexample) is not None
            for ids in condition.records.values()
            if number < len(ids)
            and (record := self._library.read(ids[number])) is not None
            and "counterexample" in record.labels
        )
        return tuple(dict.fromkeys(found))

    def _estimand(
        self,
        conditions: Sequence[ConditionResult],
        axes: Mapping[str, Axis],
        views: Mapping[int, ConditionView],
    ) -> EstimandView:
        judged_by = conditions[0].judged_by
        groups = by_effect(judged_by.criteria)
        drawn = (
            charts.replicate_chart(
                conditions, judged_by.criteria.index(group[0]), title=group[0].label
            )
            for group in groups.values()
        )
        return EstimandView(
            text=judged_by.text,
            kind=words.KIND_WORDS[judged_by.kind],
            claimed=words.parts_text(judged_by),
            axes=tuple(
                (group[0].label, axes[name]) for name, group in groups.items() if name in axes
            ),
            confirmatory=tuple(views[id(item)] for item in conditions if item.confirmatory),
            beside=tuple(views[id(item)] for item in conditions if not item.confirmatory),
            replicates=tuple(key for chart in drawn if (key := self.chart(chart))),
            presupposes_descent=judged_by.presupposes_descent,
        )

    def traces(self, cells: Sequence[Cells]) -> tuple[TraceView, ...]:
        """The traces of first replicates, in charts with common lines."""
        views = []
        for name, records in panels(cells, most=charts.SERIES):
            found = [
                charts.trace_chart(
                    "m_g", records, title="m_g, distance of the outputs", reference="m_r"
                ),
                charts.trace_chart("m_i", records, title="m_i, distance of the inputs"),
            ]
            keys = tuple(key for chart in found if (key := self.chart(chart)))
            if keys:
                views.append(
                    TraceView(name=name, series=tuple(enumerate(records, start=1)), charts=keys)
                )
        return tuple(views)

    def chart(self, chart: charts.Chart | None) -> str | None:
        """The key of a chart, the same for the same chart; None where it does not fit."""
        if chart is None:
            return None
        content = json.dumps([chart.spec, chart.title, chart.tables])
        if content not in self._keys:
            if len(content) > self._free:
                self.charts_left_out += 1
                return None
            self._free -= len(content)
            self._keys[content] = f"chart-{len(self.charts) + 1}"
            self.charts[self._keys[content]] = chart
        return self._keys[content]


def _names(groups: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _command(conditions: Sequence[ConditionResult]) -> str:
    """The command line of all conditions of a claim: their tests without the parameters."""
    tests: dict[str, None] = {}
    options: list[str] = []
    for condition in conditions:
        words_ = shlex.split(condition.command)
        tests[words_[1].split("[")[0]] = None
        options = words_[2:]
    return shlex.join(["pytest", *tests, *options]) if tests else ""
