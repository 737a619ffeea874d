"""A run from its document: the values that `reports.documents.build` wrote it from.

Numbers that were not finite come back as NaN.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cattrs
from cattrs.gen import make_dict_structure_fn, override

from harness.claim import Claim
from harness.errors import StoreError
from harness.statistics.multiverse import Factor
from harness.verdict.results import ConditionResult, Run
from harness.verdict.verdict import Decision
from reports.documents import schema_1
from reports.documents.build import SCHEMA

Json = Mapping[str, Any]


def read_run(path: Path) -> Run:
    """The run of a document on disk.

    Raises
    ------
    StoreError
        If it cannot be read, is of a newer format, or is no document of a run.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        schema = content["schema"]
        if schema in (SCHEMA, schema_1.SCHEMA):
            return run_of(content)
    except OSError as error:
        raise StoreError(
            path,
            rule=f"the document of a run cannot be read ({error.strerror})",
            remedy="Name a file, or a folder, that can be read",
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, cattrs.BaseValidationError) as error:
        raise StoreError(
            path,
            rule="this is no document of a run, or not all of it",
            remedy="Name a claims.json as `pytest claims/` writes it, or measure again",
        ) from error
    raise StoreError(
        path,
        rule=f"the document has schema {schema}, this version reads up to {SCHEMA}",
        remedy="Use the version of depth-claims that wrote it",
    )


def run_of(content: Json) -> Run:
    """The run of a parsed document.

    Raises what is no document of a run: a wrong type, a missing key, a date that is none.
    """
    if content["schema"] == schema_1.SCHEMA:
        content = schema_1.upgraded(content)
    claims = [(_CONVERTER.structure(item, Claim), item["conditions"]) for item in content["claims"]]
    run = _CONVERTER.structure({**content["run"], "claims": [], "conditions": []}, Run)
    dt.datetime.fromisoformat(run.ended)
    return dataclasses.replace(
        run,
        claims=tuple(claim for claim, _ in claims),
        conditions=tuple(
            _condition(claim, item) for claim, conditions in claims for item in conditions
        ),
    )


def _condition(claim: Claim, item: Json) -> ConditionResult:
    evidence = item["evidence"]
    decision = _CONVERTER.structure({**item, **evidence, "path": evidence["looks"]}, Decision)
    return _CONVERTER.structure(
        {**item, **evidence, "claim": claim, "decision": decision}, ConditionResult
    )


def _number(value: object, _: object) -> float:
    """A number; null stands for one that is not finite."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _scalar(value: object, _: object) -> str | int | float:
    """A text or a number as it is; null stands for a number that is not finite."""
    if value is None:
        return math.nan
    if not isinstance(value, (str, int, float)):
        raise TypeError(f"{value!r} is neither a text nor a number")
    return value


def _exactly(value: object, kind: type) -> object:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _factor(value: Json, _: object) -> Factor:
    levels = [(_scalar(item["level"], None), item) for item in value["levels"]]
    return Factor(
        name=value["name"],
        verdict_share=value["verdict_share"],
        effect_share=value["effect_share"],
        verdicts={level: item["verdicts"] for level, item in levels},
        effects={level: item["effect"] for level, item in levels},
    )


def _is_scalar(kind: object) -> bool:
    """Whether a type is a union of texts and numbers."""
    return isinstance(kind, types.UnionType) and {str, float} <= set(kind.__args__) <= {
        str, int, float,
    }  # fmt: skip


def _converter() -> cattrs.Converter:
    made = cattrs.Converter(detailed_validation=False)
    for kind in (str, int, bool):
        made.register_structure_hook(kind, _exactly)
    made.register_structure_hook(float, _number)
    made.register_structure_hook(enum.StrEnum, lambda value, kind: kind(value))
    made.register_structure_hook_func(_is_scalar, _scalar)
    made.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    made.register_structure_hook(Factor, _factor)
    # A condition's claim and decision are structured already.
    given = override(struct_hook=lambda value, _: value)
    made.register_structure_hook(
        ConditionResult, make_dict_structure_fn(ConditionResult, made, claim=given, decision=given)
    )
    return made


_CONVERTER = _converter()
