"""Everything that the page shows of one claim."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Mapping, Sequence

from harness.verdict.results import ConditionResult
from reports import words
from reports.article import Answer, answers
from reports.figures import intervals
from reports.figures.charts import SERIES, Chart
from reports.figures.galleries import Album, Gallery, galleries
from reports.figures.geometry import Axis, Drawing
from reports.figures.records import (
    Cells,
    Library,
    by_caption,
    cells_of,
    chart_groups,
    without_repeats,
)
from reports.figures.traces import trace_chart
from reports.page.conditions import (
    ConditionView,
    EstimandView,
    ReplicatesView,
    axes_of,
    by_effect,
    by_estimand,
    condition_view,
    parts_shown,
)
from reports.page.panels import MultiverseView, multiverse_view
from reports.page.split_conditions import sides_text
from reports.summary import ClaimSummary, Summary

IMAGES_LIMIT = 3 * 2**20
"""Characters of base64 that the images of a page may take."""

CHARTS_LIMIT = 3 * 2**19
"""Characters that the charts of a page may take.

With the images and some hundred conditions the page stays below 8 MiB."""

_BARS = 24
"""Effects of a claim that are drawn in the plot of all; more would hide the other claims."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraceView:
    """The traces of one replicate, in charts with common lines."""

    name: str
    series: tuple[tuple[int, str], ...]
    charts: tuple[Chart, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClaimView:
    """Everything that the page shows of a claim.

    `multiverses` has one per estimand; none if the cells around it were not measured.
    """

    summary: ClaimSummary
    answer: Answer
    weakest: ConditionView | None
    sides: str
    counterexamples: tuple[str, ...]
    forest: Drawing
    more_bars: int
    estimands: tuple[EstimandView, ...]
    traces: tuple[TraceView, ...]
    galleries: tuple[Gallery, ...]
    multiverses: tuple[MultiverseView, ...]
    problems: tuple[str, ...]
    command: str


class Claims:
    """Views of claims; counts the charts and images that they use."""

    def __init__(self, summary: Summary, library: Library) -> None:
        self._summary = summary
        self._library = library
        self.album = Album(limit=IMAGES_LIMIT)
        self.charts_left_out = 0
        self._free = CHARTS_LIMIT

    def view(self, summary: ClaimSummary) -> ClaimView:
        """The view of one claim."""
        self._library.problems.clear()
        ordered = (*summary.confirmatory, *summary.exploratory)
        grouped = by_estimand(summary.conditions)
        axes = {name: axes_of(conditions) for name, conditions in grouped.items()}
        views = {id(item): condition_view(item, axes[item.estimand]) for item in ordered}
        bars = intervals.bars_against_margin(
            part
            for condition in summary.confirmatory
            for part in parts_shown(
                condition,
                weakest=condition is summary.weakest and len(summary.confirmatory) > 1,
            )
        )
        shown = without_repeats(cells_of(item, self._library) for item in ordered)
        claim = summary.claim
        around = self._summary.run.multiverses.get(claim.id, {})
        return ClaimView(
            summary=summary,
            answer=answers().get(claim.id, Answer()),
            weakest=None if summary.weakest is None else views[id(summary.weakest)],
            sides=sides_text(summary.confirmatory),
            counterexamples=self._counterexamples(summary.confirmatory),
            forest=intervals.forest(bars[:_BARS], name=claim.id),
            more_bars=max(0, len(bars) - _BARS),
            estimands=tuple(
                self._estimand(conditions, axes[name], views)
                for name, conditions in grouped.items()
            ),
            traces=self.traces(shown),
            galleries=galleries(by_caption(shown), self.album),
            multiverses=tuple(
                multiverse_view(found, claim.estimands[name]) for name, found in around.items()
            ),
            problems=tuple(dict.fromkeys(self._library.problems)),
            command=_command(summary.conditions),
        )

    def _counterexamples(self, conditions: Iterable[ConditionResult]) -> tuple[str, ...]:
        """The counterexamples to exact conditions, in words."""
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
            (group[0].label, intervals.replicates(conditions, group)) for group in groups.values()
        )
        return EstimandView(
            judged_by=judged_by,
            kind=words.KIND_WORDS[judged_by.kind],
            claimed=words.parts_text(judged_by),
            axes=tuple(
                (group[0].label, intervals.scale(axes[name]))
                for name, group in groups.items()
                if name in axes
            ),
            confirmatory=tuple(views[id(item)] for item in conditions if item.confirmatory),
            exploratory=tuple(views[id(item)] for item in conditions if not item.confirmatory),
            replicates=tuple(
                ReplicatesView(title=label, rows=found[1], axis=intervals.scale(found[0]))
                for label, found in drawn
                if found is not None and self._fits(*(row for _, row in found[1]))
            ),
        )

    def traces(self, cells: Sequence[Cells]) -> tuple[TraceView, ...]:
        """The traces of first replicates, in charts with common lines."""
        views = []
        for name, records in chart_groups(cells, limit=SERIES):
            found = (
                self.chart(
                    trace_chart(
                        "m_g", records, title="m_g, distance of the outputs", reference="m_r"
                    )
                ),
                self.chart(trace_chart("m_i", records, title="m_i, distance of the inputs")),
            )
            charts = tuple(chart for chart in found if chart is not None)
            if charts:
                series = tuple(enumerate(records, start=1))
                views.append(TraceView(name=name, series=series, charts=charts))
        return tuple(views)

    def chart(self, chart: Chart | None) -> Chart | None:
        """A chart; None if there is none, or if it does not fit."""
        return chart if chart is not None and self._fits(chart.drawing) else None

    def _fits(self, *drawings: Drawing) -> bool:
        size = sum(drawing.size for drawing in drawings)
        if size > self._free:
            self.charts_left_out += 1
            return False
        self._free -= size
        return True


def _command(conditions: Sequence[ConditionResult]) -> str:
    """The command line of all conditions of a claim: their tests without the parameters."""
    tests: dict[str, None] = {}
    options: list[str] = []
    for condition in conditions:
        _, test, *options = shlex.split(condition.command)
        tests[test.split("[")[0]] = None
    return shlex.join(["pytest", *tests, *options]) if tests else ""
