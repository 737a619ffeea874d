"""Claims as Markdown tables, for the summary of a CI job or a comment on a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from reports.summary import (
    ClaimSummary,
    Summary,
    claimed_text,
    condition_name,
    deciding_part,
    effect_of,
    extent_text,
    left_out_text,
    own_subjects,
)
from reports.words import VERDICT_MARKS, counts_text, duration, effect_text, finding

MARKDOWN_LIMIT = 60_000
"""Bytes that fit into a job summary or a comment."""


def to_markdown(summary: Summary) -> str:
    """A job summary: counts, headlines and claims, never longer than `MARKDOWN_LIMIT`."""
    run = summary.run
    commit = str(run.provenance.get("commit") or "unknown commit")[:12]
    extent = "" if run.whole else f"{extent_text(run)}, "
    settings = (
        f"Profile {_cell(run.profile)} on {_cell(run.device)}, {extent}{_cell(commit)}, "
        f"{run.measured} cells measured and {run.reused} reused in {duration(run.seconds)}, "
        f"claims {_cell(run.claims_digest[:12])}."
    )
    noun = "claim" if len(summary.claims) == 1 else "claims"
    found = counts_text(item.verdict for item in summary.claims)
    counted = f"{len(summary.claims)} {noun}: {found}"
    own = ", ".join(
        f"{_cell(name)} **{_cell(value)}**" for name, value in own_subjects(run).items()
    )
    head = [
        "# depth-claims",
        "",
        "; ".join(filter(None, (counted, left_out_text(summary)))) + ".",
        "",
        *(
            [f"With your own {own}: this run is reported without locked verdicts.", ""]
            if own
            else []
        ),
        settings,
        "",
        *_headlines(summary),
        "| Claim | Statement | Verdict | Effect [interval] | Claimed | n |",
        "|---|---|---|---|---|--:|",
    ]
    rows = [_markdown_row(item) for item in summary.claims]
    return "\n".join([*head, *_within(rows, MARKDOWN_LIMIT - len("\n".join(head).encode()))]) + "\n"


def _headlines(summary: Summary) -> list[str]:
    """The table of headlines and a blank line after it; nothing if there are none."""
    rows = [
        _line(
            item.statement,
            f"{VERDICT_MARKS[item.verdict]} {item.verdict.value}",
            _finding(item.representative),
            ", ".join(claim.claim.id for claim in item.claims) or "none in this run",
        )
        for item in summary.headlines
    ]
    head = ["| Headline | Verdict | What was found | Claims |", "|---|---|---|---|"]
    return [*head, *rows, ""] if rows else []


def _finding(item: ClaimSummary | None) -> str:
    """The effect that represents a claim as a sentence; empty if nothing was measured."""
    condition = None if item is None else item.weakest
    effect = None if condition is None else effect_of(deciding_part(condition))
    if condition is None or effect is None:
        return ""
    where = f"{condition_name(condition)}: " if condition.parameters else ""
    return f"{where}{finding(effect)}, n = {condition.decision.n}"


def _within(rows: Sequence[str], limit: int) -> list[str]:
    shown: list[str] = []
    used = 200  # the closing line
    for row in rows:
        used += len(row.encode()) + 1
        if used > limit:
            rest = len(rows) - len(shown)
            return [*shown, "", f"{rest} more claims are in claims.html and claims.csv."]
        shown.append(row)
    return shown


def _markdown_row(item: ClaimSummary) -> str:
    condition = item.weakest
    part = None if condition is None else deciding_part(condition)
    verdict = f"{VERDICT_MARKS[item.verdict]} {item.verdict.value}"
    if condition is None or part is None:
        return _line(item.claim.id, item.claim.statement, verdict, "", "", "")
    several = len(item.confirmatory) > 1
    where = f" ({condition_name(condition)})" if several else ""
    return _line(
        item.claim.id,
        item.claim.statement,
        verdict,
        effect_text(effect_of(part)) + where,
        claimed_text(condition, part),
        str(condition.decision.n),
    )


def _line(*cells: str) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """Text escaped for one cell of a Markdown table."""
    escaped = " ".join(text.split())
    for mark, replacement in (
        ("\\", "\\\\"),
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "\\|"),
        ("_", "\\_"),
        ("*", "\\*"),
        ("`", "\\`"),
        ("[", "\\["),
        ("]", "\\]"),
    ):
        escaped = escaped.replace(mark, replacement)
    return escaped
