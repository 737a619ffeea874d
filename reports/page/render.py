"""The page of a run: one document that needs nothing else."""

from __future__ import annotations

from reports import words
from reports.documents.citation import citation
from reports.figures.records import Library
from reports.page.claim import Claims
from reports.page.figures import figure_views
from reports.page.panels import components_view
from reports.page.provenance import facts, seeds_text
from reports.page.template import environment
from reports.summary import ClaimSummary, HeadlineSummary, Summary, own_subjects


def render(summary: Summary, library: Library) -> str:
    """The page of a run with its records."""
    run = summary.run
    made = Claims(summary, library)
    claims = {item.claim.id: made.view(item) for item in summary.claims}
    figures = figure_views(summary, made, library)
    seeds = run.provenance.get("seeds")
    return (
        environment()
        .get_template("report.html")
        .render(
            run=run,
            own=own_subjects(run),
            summary=summary,
            claims=claims,
            figures=figures,
            groups=_groups(summary),
            counts=words.counts(item.verdict for item in summary.claims),
            meanings=words.VERDICT_MEANINGS,
            outcomes=words.OUTCOME_MEANINGS,
            names=words.CONDITION_NAMES,
            sections=tuple(dict.fromkeys(item.claim.section for item in summary.claims)),
            components=tuple(components_view(name, item) for name, item in run.components.items()),
            seeds=seeds_text(seeds) if isinstance(seeds, dict) else "",
            facts=facts(run),
            citation=citation(summary),
            album=made.album,
            charts_left_out=made.charts_left_out,
        )
    )


def _groups(
    summary: Summary,
) -> list[tuple[HeadlineSummary | None, list[tuple[ClaimSummary, bool]]]]:
    """Claims under their headlines, each with whether it is exploratory; the others at the end."""
    groups: list[tuple[HeadlineSummary | None, list[tuple[ClaimSummary, bool]]]] = [
        (
            headline,
            [
                *((item, False) for item in headline.claims),
                *((item, True) for item in headline.exploratory),
            ],
        )
        for headline in summary.headlines
    ]
    if summary.others:
        groups.append((None, [(item, False) for item in summary.others]))
    return groups
