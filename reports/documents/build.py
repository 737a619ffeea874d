"""A run as one JSON document, `claims.json`; its schema is `claims.schema.json` beside this file.

Effects on a logarithmic scale are log ratios here. Numbers are always finite: what is not is null.
The document holds all of a run but its records: `reports.documents.read` makes the run of it again.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
from collections.abc import Mapping
from importlib import resources
from typing import Any

from harness.claim import Claim
from harness.statistics.components import Components
from harness.statistics.multiverse import Factor, Multiverse
from harness.verdict.results import ConditionResult, Run
from harness.verdict.verdict import Effect, Part
from reports.summary import ClaimSummary, HeadlineSummary, Summary, deciding_part, effect_of
from reports.words import counts

SCHEMA = 1
"""Version of the document's format."""


def document(summary: Summary) -> dict[str, object]:
    """The document of a run, made of plain JSON values."""
    return {
        "schema": SCHEMA,
        "run": _run(summary.run, summary),
        "headlines": [_headline(item) for item in summary.headlines],
        "claims": [_claim(item) for item in summary.claims],
    }


def dumps(content: Mapping[str, object], *, compact: bool = False) -> str:
    """The document as text; strict JSON, without NaN and infinity."""
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
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    return str(value)


def _run(run: Run, summary: Summary) -> dict[str, object]:
    found = counts(item.verdict for item in summary.claims)
    return {
        "profile": run.profile,
        "device": run.device,
        "claims_digest": run.claims_digest,
        "ended": run.ended,
        "seconds": plain(float(run.seconds)),
        "measured": run.measured,
        "reused": run.reused,
        "custom": plain(run.custom),
        "every_condition": run.every_condition,
        "counts": {verdict.value: count for verdict, count in found.items()},
        "provenance": plain(run.provenance),
        "claims": {claim.id: _stated(claim) for claim in run.claims},
        "family": plain(summary.family),
        "multiverses": {
            claim: {estimand: _multiverse(item) for estimand, item in own.items()}
            for claim, own in run.multiverses.items()
        },
        "components": {name: _components(item) for name, item in run.components.items()},
    }


def _stated(claim: Claim) -> dict[str, object]:
    """A claim as it was frozen, all that its digest covers."""
    return {
        "digest": claim.digest,
        "method": claim.method,
        "related_headline": claim.related_headline,
        "alpha": claim.alpha,
        "looks": plain(claim.looks),
        "estimands": {name: plain(estimand) for name, estimand in claim.estimands.items()},
    }


def _multiverse(found: Multiverse) -> dict[str, object]:
    return {
        "cells": found.cells,
        "shares": plain(found.shares),
        "factors": [_factor(factor) for factor in found.factors],
        "verdict_together": plain(found.verdict_together),
        "effect_together": plain(found.effect_together),
        "curve": [plain(choice) for choice in found.curve],
    }


def _factor(factor: Factor) -> dict[str, object]:
    """A factor; its levels may be numbers, which no key of JSON can be."""
    return {
        "name": factor.name,
        "verdict_share": plain(factor.verdict_share),
        "effect_share": plain(factor.effect_share),
        "levels": [
            {"level": level, "verdicts": dict(seen), "effect": plain(factor.effects.get(level))}
            for level, seen in factor.verdicts.items()
        ],
    }


def _components(found: Components) -> dict[str, object]:
    return {
        "levels": plain(found.levels),
        "mean": found.mean,
        "variance": found.variance,
        "level": found.level,
        "parts": [plain(part) for part in found.parts],
        "statement": found.statement,
    }


def _headline(headline: HeadlineSummary) -> dict[str, object]:
    return {
        "key": headline.key,
        "statement": headline.statement,
        "verdict": headline.verdict.value,
        "reason": headline.reason,
        "claims": [item.claim.id for item in headline.claims],
        "beside": [item.claim.id for item in headline.exploratory],
    }


def _claim(summary: ClaimSummary) -> dict[str, object]:
    claim = summary.claim
    return {
        "id": claim.id,
        "statement": claim.statement,
        "section": claim.section,
        "source": claim.source,
        "headline": claim.headline,
        "verdict": summary.verdict.value,
        "reason": summary.reason,
        "conditions": [_condition(item) for item in summary.conditions],
    }


def _condition(condition: ConditionResult) -> dict[str, object]:
    decision = condition.decision
    part = deciding_part(condition)
    return {
        "parameters": plain(condition.parameters),
        "confirmatory": condition.confirmatory,
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "n": decision.n,
        "margin": None if part is None else plain(float(part.criterion.margin)),
        "effect": None if part is None else _effect(effect_of(part)),
        "evidence": _evidence(condition),
    }


def _evidence(condition: ConditionResult) -> dict[str, object]:
    decision = condition.decision
    judged_by = condition.judged_by
    return {
        "estimand": condition.estimand,
        "kind": judged_by.kind.value,
        "text": judged_by.text,
        "presupposes_descent": judged_by.presupposes_descent,
        "alpha": condition.claim.alpha,
        "p_supported": plain(float(decision.p_supported)),
        "p_refuted": plain(float(decision.p_refuted)),
        "final": decision.final,
        "refutation": None if decision.refutation is None else decision.refutation.value,
        "counterexample": decision.counterexample,
        "witness": decision.witness,
        "stop": None if decision.stop is None else decision.stop.value,
        "looks": [plain(look) for look in decision.path],
        "needed": decision.needed,
        "invalid": dict(decision.invalid),
        "failed": list(decision.failed),
        "parts": [_part(part) for part in decision.parts],
        "values": plain(
            {name: [float(value) for value in values] for name, values in decision.values.items()}
        ),
        "beyond": plain(condition.beyond),
        "tables": [plain(table) for table in condition.tables],
        "records": {role: list(ids) for role, ids in condition.records.items()},
        "gallery": dict(condition.gallery),
        "command": condition.command,
    }


def _part(part: Part) -> dict[str, object]:
    criterion = part.criterion
    return {
        "label": criterion.label,
        "margin": plain(float(criterion.margin)),
        "direction": "above" if criterion.above is not None else "below",
        "share": criterion.share,
        "events": int(part.events),
        "n": part.n,
        "share_low": plain(float(part.share_low)),
        "share_high": plain(float(part.share_high)),
        "p_supported": plain(float(part.p_supported)),
        "p_refuted": plain(float(part.p_refuted)),
        "effect": _effect(effect_of(part)),
    }


def _effect(effect: Effect | None) -> dict[str, object] | None:
    if effect is None:
        return None
    return {
        "name": effect.name,
        "label": effect.label,
        "value": float(effect.value),
        "low": plain(effect.low),
        "high": plain(effect.high),
        "level": effect.level,
        "scale": effect.scale.value,
        "hodges_lehmann": plain(effect.hodges_lehmann),
        "superiority": plain(effect.superiority),
    }
