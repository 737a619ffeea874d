"""The article's figures, each with what was measured for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from harness.verdict.results import ConditionResult
from reports.article import Figure, LineChart, Selection, figures
from reports.figures.charts import Chart, chosen
from reports.figures.galleries import Gallery, galleries
from reports.figures.line_charts import line_chart
from reports.figures.records import Cells, Library, by_caption, cells_of, without_repeats
from reports.page.claim import Claims, TraceView
from reports.summary import ClaimSummary, Summary


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChartView:
    """A chart of numbers, and the claims that its lines come from."""

    chart: Chart
    claims: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FigureView:
    """A figure of the article with the claims that answer it and what is drawn for it."""

    figure: Figure
    claims: tuple[ClaimSummary, ...]
    galleries: tuple[Gallery, ...]
    line_charts: tuple[ChartView, ...]
    traces: tuple[TraceView, ...]
    problems: tuple[str, ...]

    @property
    def measured(self) -> bool:
        """Whether anything is drawn."""
        return bool(self.galleries or self.line_charts or self.traces)


def figure_views(summary: Summary, made: Claims, library: Library) -> tuple[FigureView, ...]:
    """Views of the figures that the claims of a run answer, in the article's order.

    `made` counts the charts and images; `library` has the run's records.
    """
    claims = {item.claim.id: item for item in summary.claims}
    return tuple(
        _view(
            figure,
            tuple(claims[name] for name in figure.claims if name in claims),
            summary.run.conditions,
            made,
            library,
        )
        for figure in figures().values()
        if not claims.keys().isdisjoint(figure.claims)
    )


def _view(
    figure: Figure,
    claims: tuple[ClaimSummary, ...],
    conditions: Sequence[ConditionResult],
    made: Claims,
    library: Library,
) -> FigureView:
    library.problems.clear()

    def cells(selections: Iterable[Selection]) -> list[Cells]:
        return without_repeats(
            cells_of(condition, library)
            for selection in selections
            for condition in chosen(selection, conditions)
        )

    def views(asked: Iterable[LineChart]) -> tuple[ChartView, ...]:
        drawn = ((each, made.chart(line_chart(each, conditions, library))) for each in asked)
        return tuple(
            ChartView(chart=chart, claims=_claims(each, chart))
            for each, chart in drawn
            if chart is not None
        )

    return FigureView(
        figure=figure,
        claims=claims,
        galleries=galleries(by_caption(cells(figure.images)), made.album),
        line_charts=views(figure.charts),
        traces=made.traces(cells(figure.traces)),
        # Last, when all has been asked for.
        problems=tuple(dict.fromkeys(library.problems)),
    )


def _claims(asked: LineChart, chart: Chart) -> tuple[str, ...]:
    """The claims of the lines that could be drawn."""
    drawn = {name for _, name in chart.series}
    return tuple(dict.fromkeys(line.claim for line in asked.lines if line.name in drawn))
