"""A run as one JSON document, `claims.json`, described by `claims.schema.json`.

Values that are dataclasses in the harness have the names of their fields here. Effects on a
logarithmic scale are log ratios. Numbers are always finite: any other is null. The document holds
all of a run except its records; `reports.documents.read` makes the run from it again.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
from collections.abc import Mapping
from importlib import resources
from typing import Any

from harness.statistics.multiverse import Factor
from harness.verdict.evidence import Part
from harness.verdict.results import ConditionResult
from reports.summary import ClaimSummary, HeadlineSummary, Summary, deciding_part, effect_of
from reports.words import counts

SCHEMA = 2
"""Version of the document's format."""


def document(summary: Summary) -> dict[str, object]:
    """The document of a run, made of plain JSON values."""
    run = summary.run
    return {
        "schema": SCHEMA,
        "run": {
            **_fields(run, without=("claims", "conditions")),
            "counts": plain(counts(item.verdict for item in summary.claims)),
            "family": plain(summary.family),
        },
        "headlines": [_headline(item) for item in summary.headlines],
        "claims": [_claim(item) for item in summary.claims],
    }


def dumps(content: Mapping[str, object], *, compact: bool = False) -> str:
    """The document as text: strict JSON, without NaN and infinity."""
    indent, separators = (None, (",", ":")) if compact else (1, None)
    text = json.dumps(
        content, allow_nan=False, indent=indent, separators=separators, ensure_ascii=False
    )
    return text + "\n"


def schema() -> dict[str, Any]:
    """The JSON Schema of the document."""
    text = resources.files("reports").joinpath("claims.schema.json").read_text("utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def plain(value: object) -> object:
    """A value as JSON can hold it: non-finite numbers are null, anything unknown is its text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Part):
        return {**_fields(value), "effect": plain(effect_of(value))}
    if isinstance(value, Factor):
        return _factor(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    return str(value)


def _fields(value: Any, *, without: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        field.name: plain(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.name not in without
    }


def _factor(factor: Factor) -> dict[str, object]:
    """A factor as a list of its levels, since these may be numbers, which no JSON key can be."""
    return {
        **_fields(factor, without=("verdicts", "effects")),
        "levels": [
            {
                "level": level,
                "verdicts": plain(verdicts),
                "effect": plain(factor.effects.get(level)),
            }
            for level, verdicts in factor.verdicts.items()
        ],
    }


def _headline(headline: HeadlineSummary) -> dict[str, object]:
    return {
        "key": headline.key,
        "statement": headline.statement,
        "verdict": headline.verdict.value,
        "reason": headline.reason,
        "claims": [item.claim.id for item in headline.claims],
        "exploratory": [item.claim.id for item in headline.exploratory],
    }


def _claim(summary: ClaimSummary) -> dict[str, object]:
    return {
        **_fields(summary.claim),
        "digest": summary.claim.digest,
        "verdict": summary.verdict.value,
        "reason": summary.reason,
        "conditions": [_condition(item) for item in summary.conditions],
    }


def _condition(condition: ConditionResult) -> dict[str, object]:
    decision = condition.decision
    part = deciding_part(condition)
    evidence = _fields(condition, without=("claim", "parameters", "confirmatory", "decision"))
    evidence |= _fields(decision, without=("verdict", "reason", "n", "path"))
    return {
        "parameters": plain(condition.parameters),
        "confirmatory": condition.confirmatory,
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "n": decision.n,
        "margin": None if part is None else plain(part.criterion.margin),
        "effect": plain(effect_of(part)),
        "evidence": {**evidence, "looks": plain(decision.path)},
    }
