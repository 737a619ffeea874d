"""Claims as tables: CSV with one row per condition, and Markdown for a job's summary."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence

from harness.results import ConditionResult
from reports.document import plain
from reports.summary import (
    ClaimSummary,
    Summary,
    claimed_text,
    condition_name,
    deciding_part,
    effect_of,
)
from reports.words import (
    VERDICT_MARKS,
    counts_text,
    duration,
    effect_text,
)

MARKDOWN_LIMIT = 60_000
"""Bytes that a job's summary holds without being cut."""

_COLUMNS = (
    "claim",
    "headline",
    "section",
    "statement",
    "claim_verdict",
    "estimand",
    "kind",
    "confirmatory",
    "condition",
    "verdict",
    "reason",
    "n",
    "effect",
    "scale",
    "value",
    "low",
    "high",
    "level",
    "direction",
    "margin",
    "p_supported",
    "p_refuted",
    "parameters",
)


def to_csv(summary: Summary) -> str:
    """Tidy CSV, one row per condition; each parameter has a column of its own as well.

    Effects with scale "log" are log ratios; an empty `low` or `high` is unbounded.
    """
    names = dict.fromkeys(
        name
        for claim in summary.claims
        for condition in claim.conditions
        for name in condition.parameters
    )
    columns = [*_COLUMNS, *(f"parameter_{name}" for name in names)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    for claim in summary.claims:
        for condition in claim.conditions:
            writer.writerow(_row(claim, condition))
    return buffer.getvalue()


def to_markdown(summary: Summary) -> str:
    """A page for a job's summary: counts, headlines, claims; always below `MARKDOWN_LIMIT`."""
    run = summary.run
    commit = str(run.provenance.get("commit") or "unknown commit")[:12]
    settings = (
        f"Profile {_cell(run.profile)} on {_cell(run.device)}, {_cell(commit)}, "
        f"{run.measured} cells measured and {run.reused} reused in {duration(run.seconds)}, "
        f"claims {_cell(run.claims_digest[:12])}."
    )
    head = [
        "# depth-claims",
        "",
        f"{len(summary.claims)} claims: {counts_text(item.verdict for item in summary.claims)}.",
        "",
        settings,
        "",
        "| Headline | Verdict | Claims |",
        "|---|---|---|",
        *(
            _line(
                item.statement,
                f"{VERDICT_MARKS[item.verdict]} {item.verdict.value}",
                ", ".join(claim.claim.id for claim in item.claims) or "none in this run",
            )
            for item in summary.headlines
        ),
        "",
        "| Claim | Statement | Verdict | Effect [interval] | Claimed | n |",
        "|---|---|---|---|---|--:|",
    ]
    rows = [_markdown_row(item) for item in summary.claims]
    return "\n".join([*head, *_within(rows, MARKDOWN_LIMIT - len("\n".join(head).encode()))]) + "\n"


def _within(rows: Sequence[str], limit: int) -> list[str]:
    kept: list[str] = []
    used = 200  # the closing line
    for row in rows:
        used += len(row.encode()) + 1
        if used > limit:
            rest = len(rows) - len(kept)
            return [*kept, "", f"{rest} more claims are in claims.html and claims.csv."]
        kept.append(row)
    return kept


def _markdown_row(item: ClaimSummary) -> str:
    condition = item.shown
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
    """Text that Markdown shows as it is, within one cell."""
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


def _row(claim: ClaimSummary, condition: ConditionResult) -> dict[str, object]:
    decision = condition.decision
    part = deciding_part(condition)
    effect = effect_of(part)
    row: dict[str, object] = {
        "claim": claim.claim.id,
        "headline": claim.claim.headline or "",
        "section": claim.claim.section,
        "statement": claim.claim.statement,
        "claim_verdict": claim.verdict.value,
        "estimand": condition.estimand,
        "kind": condition.judged_by.kind.value,
        "confirmatory": str(condition.confirmatory).lower(),
        "condition": condition_name(condition),
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "n": decision.n,
        "p_supported": plain(float(decision.p_supported)),
        "p_refuted": plain(float(decision.p_refuted)),
        "parameters": json.dumps(plain(condition.parameters), allow_nan=False, ensure_ascii=False),
        **_named(condition.parameters.items()),
    }
    if part is not None:
        row["direction"] = "above" if part.criterion.above is not None else "below"
        row["margin"] = plain(float(part.criterion.margin))
    if effect is not None:
        row.update(
            effect=effect.name,
            scale=effect.scale.value,
            value=effect.value,
            low=plain(effect.low),
            high=plain(effect.high),
            level=effect.level,
        )
    return row


def _named(parameters: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {f"parameter_{name}": plain(value) for name, value in parameters}
