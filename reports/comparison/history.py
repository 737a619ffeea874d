"""Effects over the runs in a folder: whether a verdict holds, and whether an effect drifts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Sequence

from harness.verdict.evidence import Effect
from harness.verdict.results import ConditionResult, Run
from harness.verdict.verdict import Verdict
from reports import words
from reports.comparison.compare import rules
from reports.documents.build import plain
from reports.figures.geometry import Axis, Drawing, Mark, Stroke, css_of, symbol_of
from reports.page.template import environment
from reports.summary import (
    condition_name,
    deciding_part,
    effect_of,
    extent_text,
    setting_text,
    summarise,
)

PAGE = "history.html"

_INSET = 6.0
"""Per cent of the figure that are left free at its edges."""

_MOST = 12
"""Verdicts that are shown of a line."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A condition over the runs that measured it with the same settings and for the same claim.

    `name` includes the settings if they differ between runs. If the rules of the claim changed
    between runs, `stated` is the first run with this version of it.
    """

    claim: str
    name: str
    stated: int | None
    confirmatory: bool
    verdicts: tuple[Verdict, ...]
    first: str
    last: str
    drawing: Drawing

    @property
    def steady(self) -> bool:
        """Whether the verdict never changed."""
        return len(set(self.verdicts)) <= 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class History:
    """Runs, oldest first, and the conditions that they measured."""

    runs: tuple[Run, ...]
    left_out: int
    lines: tuple[Line, ...]


def history(runs: Sequence[Run]) -> History:
    """Effects over runs; a run that adds nothing to the one before it is left out."""
    ordered = sorted(runs, key=lambda run: run.ended)
    shown: list[Run] = []
    for run in ordered:
        if not shown or not _content(run) <= _content(shown[-1]):
            shown.append(run)
    alike = len({setting_text(run) for run in shown}) <= 1
    measured: dict[tuple[str, str, str], dict[Hashable, dict[int, ConditionResult]]] = {}
    for number, run in enumerate(shown):
        for item in run.conditions:
            if item.measured:
                key = item.claim.id, condition_name(item), setting_text(run)
                stated = measured.setdefault(key, {}).setdefault(rules(item.claim), {})
                stated[number] = item
    return History(
        runs=tuple(shown),
        left_out=len(ordered) - len(shown),
        lines=tuple(
            _line(
                claim,
                name if alike else " · ".join(filter(None, (name, setting))),
                found,
                stated=min(found) + 1 if len(statements) > 1 else None,
                of=len(shown),
            )
            for (claim, name, setting), statements in measured.items()
            for found in statements.values()
        ),
    )


def render(found: History) -> str:
    """The page of a history."""
    return (
        environment()
        .get_template("history.html")
        .render(
            found=found,
            counts=list(map(verdicts_text, found.runs)),
            extent_text=extent_text,
            most=_MOST,
        )
    )


def verdicts_text(run: Run) -> str:
    """How many of the selected claims of a run have each verdict."""
    return words.counts_text(item.verdict for item in summarise(run).selected().claims)


def _content(run: Run) -> set[str]:
    """The settings and results of a run, without when and how they were obtained."""
    return {
        json.dumps([setting_text(run), plain(item)]) for item in run.conditions if item.measured
    }


def _line(
    claim: str, name: str, found: dict[int, ConditionResult], *, stated: int | None, of: int
) -> Line:
    effects = {
        number: effect
        for number, item in found.items()
        if (effect := effect_of(deciding_part(item))) is not None
    }
    last = found[max(found)]
    part = deciding_part(last)
    return Line(
        claim=claim,
        name=name,
        stated=stated,
        confirmatory=last.confirmatory,
        verdicts=tuple(item.decision.verdict for item in found.values()),
        first=words.effect_text(effects[min(effects)]) if effects else "-",
        last=words.effect_text(effects[max(effects)]) if effects else "-",
        drawing=_drawing(
            [
                (number, effect, found[number].decision.verdict)
                for number, effect in effects.items()
            ],
            margins=[part.criterion.margin] if part is not None and effects else [],
            of=of,
        ),
    )


def _drawing(
    effects: Sequence[tuple[int, Effect, Verdict]], *, margins: Sequence[float], of: int
) -> Drawing:
    """Effects with their intervals from left to right; an open end runs off the figure."""
    ends = [end for _, e, _ in effects for end in (e.value, e.low, e.high) if end is not None]
    ends += margins
    x = Axis(first=0, last=of - 1, inset=_INSET)
    y = Axis(first=min(ends, default=0.0), last=max(ends, default=0.0), inset=_INSET)
    strokes = [Stroke(path=f"M0 {y.up(margin)}H100", css="margin") for margin in margins]
    marks = []
    for number, effect, verdict in effects:
        title = f"run {number + 1}: {words.effect_text(effect)}, {verdict.value}"
        low = 100.0 if effect.low is None else y.up(effect.low)
        high = 0.0 if effect.high is None else y.up(effect.high)
        at, css = x.place(number), css_of(verdict)
        strokes.append(Stroke(path=f"M{at} {low}V{high}", css=css, title=title))
        marks.append(
            Mark(x=at, y=y.up(effect.value), symbol=symbol_of(verdict), css=css, title=title)
        )
    return Drawing(
        description="; ".join(mark.title for mark in marks),
        height=44,
        strokes=tuple(strokes),
        marks=tuple(marks),
    )
