"""The article's figures, each with its measured counterpart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from harness.verdict.results import ConditionResult
from reports.article import Distribution, Figure, Profile, Some, figures
from reports.figures.charts import Chart
from reports.figures.distributions import distribution_chart
from reports.figures.pictures import Gallery, galleries
from reports.figures.profiles import chosen, profile_chart, without_number
from reports.figures.records import Cells, Library, captions, cells_of, distinct
from reports.page.claim import Claims, TraceView
from reports.summary import ClaimSummary, Summary


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnView:
    """A chart of numbers, its lines by their number in the chart, and the claims it draws on.

    `lost` tells how many replicates of a line ended without a number, where any did.
    """

    chart: str
    lost: tuple[str, ...]
    series: tuple[tuple[int, str], ...]
    claims: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FigureView:
    """A figure of the article with the claims that answer it and what is drawn for it."""

    figure: Figure
    claims: tuple[ClaimSummary, ...]
    galleries: tuple[Gallery, ...]
    distributions: tuple[DrawnView, ...]
    profiles: tuple[DrawnView, ...]
    traces: tuple[TraceView, ...]
    problems: tuple[str, ...]

    @property
    def measured(self) -> bool:
        """Whether anything is drawn."""
        return bool(self.galleries or self.distributions or self.profiles or self.traces)


def figure_views(summary: Summary, made: Claims, library: Library) -> tuple[FigureView, ...]:
    """Views of the figures that the claims of a run answer, in the article's order.

    Parameters
    ----------
    summary : Summary
        The run.
    made : Claims
        Takes charts and images; what claims show already costs nothing more.
    library : Library
        The run's records.
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
    return FigureView(
        figure=figure,
        claims=claims,
        galleries=galleries(captions(_cells(figure.pictures, conditions, library)), made.album),
        distributions=tuple(
            view
            for asked in figure.distributions
            if (view := _distribution(asked, conditions, made, library)) is not None
        ),
        profiles=tuple(
            view
            for profile in figure.charts
            if (view := _profile(profile, conditions, made, library)) is not None
        ),
        traces=made.traces(_cells(figure.traces, conditions, library)),
        # Last, when all has been asked for.
        problems=tuple(dict.fromkeys(library.problems)),
    )


def _cells(
    asked: Iterable[Some], conditions: Sequence[ConditionResult], library: Library
) -> list[Cells]:
    return distinct(
        cells_of(condition, library) for some in asked for condition in chosen(some, conditions)
    )


def _distribution(
    asked: Distribution, conditions: Sequence[ConditionResult], made: Claims, library: Library
) -> DrawnView | None:
    curve = (asked.name, asked.claim)
    rules = ((rule.name, rule.claim) for rule in asked.rules)
    return _chart(distribution_chart(asked, conditions, library), (curve, *rules), made)


def _profile(
    asked: Profile, conditions: Sequence[ConditionResult], made: Claims, library: Library
) -> DrawnView | None:
    lines = ((line.name, line.claim) for line in asked.lines)
    return _chart(profile_chart(asked, conditions, library), tuple(lines), made)


def _chart(drawn: Chart | None, lines: Sequence[tuple[str, str]], made: Claims) -> DrawnView | None:
    """A view of a chart; `lines` are those it was asked for, each with its claim."""
    key = made.chart(drawn)
    if drawn is None or key is None:
        return None
    there = {str(table["run"]) for table in drawn.tables if "run" in table}
    return DrawnView(
        chart=key,
        lost=without_number(drawn),
        series=tuple(
            (number, name) for number, (name, _) in enumerate(lines, start=1) if name in there
        ),
        claims=tuple(dict.fromkeys(claim for name, claim in lines if name in there)),
    )
