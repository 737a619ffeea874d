"""Which conditions of a claim go which way, where they do not all go one."""

from __future__ import annotations

from collections.abc import Sequence

from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Verdict
from reports.words import VERDICT_MARKS, parameters_text

_ESTIMAND = ""
"""Stands for the name of the estimand among those of parameters."""

_MOST = 4
"""Names of conditions with one verdict; the others are counted."""


def sides_text(conditions: Sequence[ConditionResult]) -> str:
    """The deciding conditions by verdict, "supported: conv1; refuted: stem, layer1".

    They are told by no more than decides between them: where the verdict is the same on every
    network, none is named. Empty where all have one verdict.
    """
    if len({item.decision.verdict for item in conditions}) < 2:
        return ""
    told = _telling(conditions)
    named: dict[Verdict, dict[str, None]] = {}
    for item in conditions:
        named.setdefault(item.decision.verdict, {})[_name(item, told)] = None
    return "; ".join(
        f"{verdict.value}: {_listed(tuple(named[verdict]))}"
        for verdict in VERDICT_MARKS
        if verdict in named
    )


def _telling(conditions: Sequence[ConditionResult]) -> Sequence[str]:
    """Parameters without which conditions of different verdicts would have one name, or none."""
    told = list(
        dict.fromkeys(name for item in conditions for name in (_ESTIMAND, *item.parameters))
    )
    for name in tuple(told):
        fewer = [other for other in told if other != name]
        verdicts: dict[str, set[Verdict]] = {}
        for item in conditions:
            verdicts.setdefault(_name(item, fewer), set()).add(item.decision.verdict)
        if "" not in verdicts and all(len(found) == 1 for found in verdicts.values()):
            told = fewer
    return told


def _name(condition: ConditionResult, told: Sequence[str]) -> str:
    own = {name: value for name, value in condition.parameters.items() if name in told}
    by_estimand = _ESTIMAND in told or not condition.parameters
    names = (condition.estimand if by_estimand else "", parameters_text(own))
    return " · ".join(text for text in names if text)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST
    more = [f"{rest} more"] if rest > 0 else []
    return ", ".join([*names[:_MOST], *more])
