"""Console output: the final table of a run, a comparison, a history."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from harness.claim import Kind
from harness.verdict.results import ConditionResult, Run
from harness.verdict.verdict import Verdict
from reports.comparison.compare import Comparison, compared_text
from reports.comparison.history import History, verdicts_text
from reports.summary import (
    ClaimSummary,
    HeadlineSummary,
    Summary,
    claimed_text,
    condition_name,
    deciding_part,
    effect_of,
    left_out_text,
    own_subjects,
    run_text,
    summarise,
)
from reports.words import VERDICT_MARKS, counts, counts_text, duration, effect_text, parts_text

LINES = 80
"""Lines that the table aims at; conditions that would exceed it are summarised."""

_LEAST_WIDTH = 72
_INDENT = 6
_VERDICT = 14
_N = 4
_COLOURS = {
    Verdict.SUPPORTED: "32",
    Verdict.REFUTED: "31",
    Verdict.MIXED: "35",
    Verdict.INCONCLUSIVE: "33",
    Verdict.INVALID: "31",
    Verdict.NOT_RUN: "2",
    Verdict.NOT_TESTABLE: "2",
}


def final_table(run: Run, *, width: int, color: bool) -> str:
    """Every claim with verdict, effect, interval and n, headline claims first.

    Parameters
    ----------
    run : Run
        The run.
    width : int
        Columns of the terminal, at least 72; no line is longer.
    color : bool
        Whether to colour verdicts by ANSI sequences.
    """
    summary = summarise(run).selected()
    layout = _Layout(width=max(width, _LEAST_WIDTH), color=color, summary=summary)
    groups: list[tuple[HeadlineSummary | None, Sequence[ClaimSummary]]] = [
        (headline, [*headline.claims, *headline.exploratory]) for headline in summary.headlines
    ]
    if summary.others:
        groups.append((None, summary.others))
    for most in range(12, 0, -1):
        lines = [layout.heading(run), layout.columns()]
        for headline, group in groups:
            lines += ["", layout.title(headline)]
            for claim in group:
                exploratory = headline is not None and claim.claim.headline != headline.key
                lines += layout.claim(claim, exploratory=exploratory, conditions=most)
        lines += ["", *layout.footer(run)]
        if len(lines) <= LINES:
            break
    return "\n".join(line.rstrip() for line in lines) + "\n"


def final_line(run: Run, *, color: bool) -> str:
    """Two lines: how many claims have each verdict, and how many were not selected.

    Parameters as for `final_table`.
    """
    summary = summarise(run).selected()
    layout = _Layout(width=_LEAST_WIDTH, color=color, summary=summary)
    left_out = left_out_text(summary)
    return "\n".join([layout.counted(), *([left_out] if left_out else [])])


class _Layout:
    """Column widths for one table, and the lines made with them."""

    def __init__(self, *, width: int, color: bool, summary: Summary) -> None:
        self._width = width
        self._color = color
        self._summary = summary
        rows = [_effect(condition) for item in summary.claims for condition in item.confirmatory]
        self._effect = min(32, max([17, *map(len, rows)]))
        columns = (_VERDICT, self._effect, _N)
        self._text = max(10, width - _INDENT - sum(columns) - 2 * len(columns))

    def heading(self, run: Run) -> str:
        custom = "".join(f" · {name} {value}" for name, value in own_subjects(run).items())
        return self._fit(f"depth-claims · profile {run.profile} · {run.device}{custom}")

    def columns(self) -> str:
        return self._dim(self._row("criterion", "verdict", "effect [interval]", "n"))

    def title(self, headline: HeadlineSummary | None) -> str:
        if headline is None:
            return self._bold("Other claims")
        mark = f"{VERDICT_MARKS[headline.verdict]} {headline.verdict.value.upper()}"
        room = self._width - len(mark) - 2
        statement = _shorten(headline.statement, room)
        return f"{self._bold(statement)}  {self._paint(mark, headline.verdict)}"

    def claim(self, item: ClaimSummary, *, exploratory: bool, conditions: int) -> list[str]:
        note = "(exploratory) " if exploratory else ""
        statement = textwrap.wrap(note + item.claim.statement, self._width - _INDENT) or [""]
        claimed, *rest = textwrap.wrap(_claimed(item), self._text) or [""]
        if len(rest) > 1:
            rest = [_shorten(" ".join(rest), self._text)]
        n = str(item.weakest.decision.n) if item.weakest else ""
        return [
            item.claim.id.ljust(_INDENT) + statement[0],
            *(" " * _INDENT + line for line in statement[1:]),
            self._row(claimed, item.verdict, _effect(item.weakest), n),
            *(" " * _INDENT + self._dim(line) for line in rest),
            *self._counterexample(item),
            *self._conditions(item, conditions),
        ]

    def _counterexample(self, item: ClaimSummary) -> list[str]:
        """The first counterexample to an exact claim, in one line."""
        reasons = [
            condition.decision.reason
            for condition in item.confirmatory
            if condition.decision.counterexample is not None
        ]
        room = self._width - _INDENT
        return [" " * _INDENT + self._dim(_shorten(reason, room)) for reason in reasons[:1]]

    def _conditions(self, item: ClaimSummary, most: int) -> list[str]:
        listed = _listed(item, most)
        lines = [
            self._row(
                "· " + (condition_name(condition) or "as stated"),
                condition.decision.verdict,
                _effect(condition),
                str(condition.decision.n),
            )
            for condition in listed
        ]
        hidden = [] if len(item.confirmatory) == 1 else _without(item.confirmatory, listed)
        notes = []
        if hidden:
            notes.append(f"{len(hidden)} more: " + _counts_of(hidden))
        if item.exploratory:
            notes.append(f"{len(item.exploratory)} exploratory: " + _counts_of(item.exploratory))
        if notes:
            room = self._width - _INDENT
            lines.append(" " * _INDENT + self._dim(_shorten(f"· {'; '.join(notes)}", room)))
        return lines

    def counted(self) -> str:
        claims = self._summary.claims
        found = counts(item.verdict for item in claims)
        words = ", ".join(
            self._paint(f"{count} {verdict.value}", verdict) for verdict, count in found.items()
        )
        noun = "claim" if len(claims) == 1 else "claims"
        return f"{len(claims)} {noun}{': ' if words else ''}{words}"

    def footer(self, run: Run) -> list[str]:
        cells = (
            f"{run.measured} cells measured, {run.reused} reused, {duration(run.seconds)} · "
            f"claims {run.claims_digest[:12]}"
        )
        how = (
            "Effect: median over n replicates with its interval, × for ratios. A claim shows its "
            "weakest condition. Exploratory results decide nothing."
        )
        left_out = " ".join(item.claim.id for item in self._summary.left_out)
        others = f"{left_out_text(self._summary)}: {left_out}" if left_out else ""
        return [
            self.counted(),
            *(self._dim(line) for line in textwrap.wrap(others, self._width)),
            self._dim(self._fit(cells)),
            *(self._dim(line) for line in textwrap.wrap(how, self._width)),
        ]

    def _row(self, text: str, verdict: Verdict | str, effect: str, n: str) -> str:
        if isinstance(verdict, Verdict):
            word = f"{VERDICT_MARKS[verdict]} {verdict.value}"
            mark = self._paint(word, verdict) + " " * (_VERDICT - len(word))
        else:
            mark = f"  {verdict}".ljust(_VERDICT)
        cells = [
            " " * _INDENT + _shorten(text, self._text).ljust(self._text),
            mark,
            _shorten(effect, self._effect).ljust(self._effect),
            n.rjust(_N),
        ]
        return "  ".join(cells)

    def _fit(self, text: str) -> str:
        return _shorten(text, self._width)

    def _paint(self, text: str, verdict: Verdict) -> str:
        return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m" if self._color else text

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._color else text

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self._color else text


def _claimed(item: ClaimSummary) -> str:
    """What is claimed of the effect that represents a claim."""
    shown = item.weakest
    if shown is None:
        return parts_text(next(iter(item.claim.estimands.values())))
    part = deciding_part(shown)
    if part is None or shown.judged_by.kind is not Kind.CONJUNCTION:
        return parts_text(shown.judged_by)
    weakest = f"(weakest of {len(shown.decision.parts)} parts)"
    return f"{part.criterion.label} {claimed_text(shown, part)} {weakest}"


def _effect(condition: ConditionResult | None) -> str:
    """The effect of a condition's deciding part with its interval."""
    effect = None if condition is None else effect_of(deciding_part(condition))
    return "" if effect is None else effect_text(effect)


def _listed(item: ClaimSummary, most: int) -> list[ConditionResult]:
    """The conditions that get a line: all if they are few, else some with each verdict."""
    conditions = item.confirmatory
    if len(conditions) <= 1:
        return []
    ranks: Counter[Verdict] = Counter()
    ranked = []
    for number, condition in enumerate(conditions):
        verdict = condition.decision.verdict
        ranked.append((ranks[verdict], verdict is item.verdict, number))
        ranks[verdict] += 1
    return [conditions[number] for number in sorted(entry[2] for entry in sorted(ranked)[:most])]


def _without(
    conditions: Sequence[ConditionResult], listed: Sequence[ConditionResult]
) -> list[ConditionResult]:
    return [c for c in conditions if not any(c is other for other in listed)]


def _counts_of(conditions: Sequence[ConditionResult]) -> str:
    return counts_text(item.decision.verdict for item in conditions)


def _shorten(text: str, room: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= room else flat[: max(0, room - 1)].rstrip() + "…"


def comparison(found: Comparison) -> str:
    """Which runs are compared, what changed, and how many conditions both measured."""
    lines = [f"A: {run_text(found.before)}", f"B: {run_text(found.after)}"]
    lines += [
        f"{item.claim}: {item.before.value} -> {item.after.value}"
        + (" (claim changed)" if item.restated else "")
        for item in found.claims
        if item.changed
    ]
    for pair in found.pairs:
        if pair.changed:
            name = f"{pair.claim} {pair.name}".rstrip()
            note = "" if pair.confirmatory else " (exploratory)"
            effects = f"{effect_text(pair.effect_before)} -> {effect_text(pair.effect_after)}"
            lines.append(
                f"{name}{note}: {pair.before.value} -> {pair.after.value}, "
                f"{effects}, paired difference {pair.difference_text}"
            )
    head = "verdicts changed" if found.changed else "no verdict changed"
    return "\n".join([*lines, f"{head}; conditions: {compared_text(found)}"])


def history(found: History) -> str:
    """The runs of a history and the conditions whose verdict changed."""
    lines = [
        f"run {number}: {run_text(run)}, {verdicts_text(run)}"
        for number, run in enumerate(found.runs, start=1)
    ]
    if found.left_out:
        lines.append(f"omitted, since they add nothing to the run before: {found.left_out}")
    restated = dict.fromkeys(line.claim for line in found.lines if line.stated)
    if restated:
        lines.append(
            f"changed between runs, and not compared across the change: {', '.join(restated)}"
        )
    lines += [
        f"{line.claim} {line.name}: {' -> '.join(verdict.value for verdict in line.verdicts)}, "
        f"{line.first} -> {line.last}"
        for line in found.lines
        if not line.steady
    ]
    steady = sum(line.steady for line in found.lines)
    return "\n".join([*lines, f"{steady} of {len(found.lines)} conditions kept their verdict"])
