"""Which conditions of a claim support it and which refute it, if their verdicts differ."""

from __future__ import annotations

from collections.abc import Sequence

from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Verdict
from reports.words import VERDICT_MARKS, parameters_text

_ESTIMAND = ""
"""The estimand's name, among the names of parameters."""

_MOST = 4
"""Conditions that are named for each verdict; the rest are counted."""


def sides_text(conditions: Sequence[ConditionResult]) -> str:
    """The confirmatory conditions by verdict, "supported: conv1; refuted: stem, layer1".

    They are named by the parameters that decide between the verdicts and no others: if the verdict
    is the same for every network, no network is named. Empty if all have the same verdict.
    """
    if len({item.decision.verdict for item in conditions}) < 2:
        return ""
    parameters = _distinguishing(conditions)
    named: dict[Verdict, dict[str, None]] = {}
    for item in conditions:
        named.setdefault(item.decision.verdict, {})[_name(item, parameters)] = None
    return "; ".join(
        f"{verdict.value}: {_listed(tuple(named[verdict]))}"
        for verdict in VERDICT_MARKS
        if verdict in named
    )


def _distinguishing(conditions: Sequence[ConditionResult]) -> Sequence[str]:
    """The parameters that conditions of different verdicts need in order to differ in name."""
    needed = list(
        dict.fromkeys(name for item in conditions for name in (_ESTIMAND, *item.parameters))
    )
    for name in tuple(needed):
        fewer = [other for other in needed if other != name]
        verdicts: dict[str, set[Verdict]] = {}
        for item in conditions:
            verdicts.setdefault(_name(item, fewer), set()).add(item.decision.verdict)
        if "" not in verdicts and all(len(found) == 1 for found in verdicts.values()):
            needed = fewer
    return needed


def _name(condition: ConditionResult, parameters: Sequence[str]) -> str:
    own = {name: value for name, value in condition.parameters.items() if name in parameters}
    by_estimand = _ESTIMAND in parameters or not condition.parameters
    names = (condition.estimand if by_estimand else "", parameters_text(own))
    return " · ".join(text for text in names if text)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST
    more = [f"{rest} more"] if rest > 0 else []
    return ", ".join([*names[:_MOST], *more])
