"""Effects over the runs of a folder: whether a verdict holds, and whether an effect drifts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from harness.results import ConditionResult, Run
from harness.verdict import Effect, Verdict
from reports import words
from reports.document import document
from reports.page.template import environment
from reports.summary import condition_name, deciding_part, effect_of, summarise

PAGE = "history.html"

_INSET = 6.0
_TOLD = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
    """A condition in one run; places in percent, `low` and `high` down the figure."""

    x: float
    y: float
    low: float
    high: float
    verdict: Verdict
    title: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A condition over the runs that measured it under one profile, on one kind of device.

    Subjects of the user's own make it another line; `name` tells of all this where runs differ in
    it.
    """

    claim: str
    name: str
    confirmatory: bool
    verdicts: tuple[Verdict, ...]
    first: str
    last: str
    marks: tuple[Mark, ...]
    margin: float | None

    @property
    def steady(self) -> bool:
        """Whether its verdict was always the same."""
        return len(set(self.verdicts)) <= 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class History:
    """Runs, oldest first, and the conditions that they measured."""

    runs: tuple[Run, ...]
    left_out: int
    lines: tuple[Line, ...]


def history(runs: Sequence[Run]) -> History:
    """Effects over runs; a run that says what the one before it says is left out."""
    ordered = sorted(runs, key=lambda run: run.ended)
    told: list[Run] = []
    for run in ordered:
        if not told or _said(run) != _said(told[-1]):
            told.append(run)
    alike = len({_setting(run) for run in told}) <= 1
    measured: dict[tuple[str, str, str], dict[int, ConditionResult]] = {}
    for number, run in enumerate(told):
        for item in run.conditions:
            if item.decision.verdict is not Verdict.NOT_RUN:
                key = item.claim.id, condition_name(item), _setting(run)
                measured.setdefault(key, {})[number] = item
    return History(
        runs=tuple(told),
        left_out=len(ordered) - len(told),
        lines=tuple(
            _line(
                claim,
                name if alike else " · ".join(filter(None, (name, setting))),
                found,
                of=len(told),
            )
            for (claim, name, setting), found in measured.items()
        ),
    )


def render(found: History) -> str:
    """The page of a history."""
    return (
        environment()
        .get_template("history.html")
        .render(
            found=found,
            counts=[
                words.counts_text(item.verdict for item in summarise(run).claims)
                for run in found.runs
            ],
            most=_TOLD,
        )
    )


def _setting(run: Run) -> str:
    """Under what a run measured: its numbers are no course with those of another setting."""
    own = (f"{name} {value}" for name, value in sorted(run.custom.items()))
    return ", ".join((f"{run.profile} on {run.device}", *own))


def _said(run: Run) -> object:
    """What a run found, without when and how it came to be."""
    content = document(summarise(run))
    return content["claims"], run.profile, run.device, run.custom, run.claims_digest


def _line(claim: str, name: str, found: dict[int, ConditionResult], *, of: int) -> Line:
    effects = {
        number: effect
        for number, item in found.items()
        if (effect := effect_of(deciding_part(item))) is not None
    }
    last = found[max(found)]
    part = deciding_part(last)
    margin = part.criterion.margin if part is not None else None
    ends = [end for effect in effects.values() for end in _ends(effect)]
    ends += [margin] if margin is not None and ends else []
    low, high = min(ends, default=0.0), max(ends, default=0.0)

    def up(value: float) -> float:
        share = (value - low) / (high - low) if math.isfinite(high - low) and high > low else 0.5
        return round(100 - _INSET - (100 - 2 * _INSET) * share, 2)

    return Line(
        claim=claim,
        name=name,
        confirmatory=last.confirmatory,
        verdicts=tuple(item.decision.verdict for item in found.values()),
        first=words.effect_text(effects[min(effects)]) if effects else "-",
        last=words.effect_text(effects[max(effects)]) if effects else "-",
        marks=tuple(
            Mark(
                x=round(_INSET + (100 - 2 * _INSET) * (number / (of - 1) if of > 1 else 0.5), 2),
                y=up(effect.value),
                low=100.0 if effect.low is None else up(effect.low),
                high=0.0 if effect.high is None else up(effect.high),
                verdict=found[number].decision.verdict,
                title=f"run {number + 1}: {words.effect_text(effect)}, "
                f"{found[number].decision.verdict.value}",
            )
            for number, effect in effects.items()
        ),
        margin=up(margin) if margin is not None and effects else None,
    )


def _ends(effect: Effect) -> list[float]:
    return [end for end in (effect.value, effect.low, effect.high) if end is not None]
