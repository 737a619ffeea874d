"""A run from its document: what `build` wrote, as the values that it was written from.

Numbers that were not finite come back as NaN; whether one was infinite is told by nothing that
reads a run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.claim import Claim, Criterion, Estimand, Kind, Scale
from harness.errors import StoreError
from harness.statistics.clusters import Beyond
from harness.statistics.components import Component, Components
from harness.statistics.multiplicity import Family
from harness.statistics.multiverse import Choice, Factor, Multiverse
from harness.verdict.results import ConditionResult, Run, Table
from harness.verdict.verdict import Decision, Effect, Look, Part, Refutation, Stop, Verdict
from reports.documents.build import SCHEMA

Json = Mapping[str, Any]


def read_run(path: Path) -> Run:
    """The run of a document on disk.

    Raises
    ------
    StoreError
        Where it cannot be read, is of a newer format, or is no document of a run.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        schema = content["schema"]
        if schema == SCHEMA:
            return run_of(content)
    except OSError as error:
        raise StoreError(
            path,
            rule=f"the document of a run cannot be read ({error.strerror})",
            remedy="Name a file, or a folder, that can be read",
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            path,
            rule="this is no document of a run, or not all of it",
            remedy="Name a claims.json as `pytest claims/` writes it, or measure again",
        ) from error
    raise StoreError(
        path,
        rule=f"the document has schema {schema}, this version reads {SCHEMA}",
        remedy="Use the version of depth-claims that wrote it",
    )


def run_of(content: Json) -> Run:
    """The run of a parsed document."""
    told = content["run"]
    claims = {item["id"]: _claim(item, told["claims"][item["id"]]) for item in content["claims"]}
    return Run(
        profile=told["profile"],
        device=told["device"],
        claims_digest=told["claims_digest"],
        claims=tuple(claims.values()),
        conditions=tuple(
            _condition(claims[item["id"]], condition)
            for item in content["claims"]
            for condition in item["conditions"]
        ),
        provenance=told["provenance"],
        measured=told["measured"],
        reused=told["reused"],
        seconds=_number(told["seconds"]),
        ended=told["ended"],
        custom=told["custom"],
        every_condition=told.get("every_condition", True),  # older documents have none
        multiverses={
            claim: {estimand: _multiverse(item) for estimand, item in own.items()}
            for claim, own in told["multiverses"].items()
        },
        components={name: _components(item) for name, item in told["components"].items()},
        family=_family(told["family"]),
    )


def _claim(item: Json, stated: Json) -> Claim:
    return Claim(
        id=item["id"],
        statement=item["statement"],
        section=item["section"],
        source=item.get("source", ""),  # older documents have none
        method=stated["method"],
        estimands={name: _estimand(told) for name, told in stated["estimands"].items()},
        headline=item["headline"],
        related_headline=stated.get(
            "related_headline", stated.get("beside_headline")
        ),  # its old name
        alpha=stated["alpha"],
        looks=tuple((n, share) for n, share in stated["looks"]),
    )


def _estimand(told: Json) -> Estimand:
    return Estimand(
        kind=Kind(told["kind"]),
        criteria=tuple(
            Criterion(**{**criterion, "scale": Scale(criterion["scale"])})
            for criterion in told["criteria"]
        ),
        text=told["text"],
        presupposes_descent=told["presupposes_descent"],
    )


def _condition(claim: Claim, told: Json) -> ConditionResult:
    evidence = told["evidence"]
    return ConditionResult(
        claim=claim,
        estimand=evidence["estimand"],
        parameters={name: _known(value) for name, value in told["parameters"].items()},
        confirmatory=told["confirmatory"],
        decision=_decision(told, evidence, claim.estimands[evidence["estimand"]]),
        records={role: tuple(ids) for role, ids in evidence["records"].items()},
        command=evidence["command"],
        tables=tuple(_table(table) for table in evidence["tables"]),
        gallery=evidence["gallery"],
        beyond=_beyond(evidence["beyond"]),
    )


def _decision(told: Json, evidence: Json, judged_by: Estimand) -> Decision:
    refutation, stop = evidence["refutation"], evidence["stop"]
    return Decision(
        verdict=Verdict(told["verdict"]),
        reason=told["reason"],
        n=told["n"],
        # One part per criterion in their order, or none at all.
        parts=tuple(
            _part(part, criterion)
            for part, criterion in zip(evidence["parts"], judged_by.criteria, strict=False)
        ),
        p_supported=_number(evidence["p_supported"]),
        p_refuted=_number(evidence["p_refuted"]),
        final=evidence["final"],
        invalid=evidence["invalid"],
        # Older documents do not tell which.
        failed=tuple(evidence.get("failed", ())),
        values={
            name: tuple(_number(value) for value in values)
            for name, values in evidence["values"].items()
        },
        refutation=None if refutation is None else Refutation(refutation),
        counterexample=evidence["counterexample"],
        witness=evidence["witness"],
        stop=None if stop is None else Stop(stop),
        path=tuple(Look(**{**look, "events": tuple(look["events"])}) for look in evidence["looks"]),
        needed=evidence["needed"],
    )


def _part(told: Json, criterion: Criterion) -> Part:
    effect = told["effect"]
    return Part(
        criterion=criterion,
        events=told["events"],
        n=told["n"],
        p_supported=_number(told["p_supported"]),
        p_refuted=_number(told["p_refuted"]),
        effect=None if effect is None else Effect(**{**effect, "scale": Scale(effect["scale"])}),
        share_low=_number(told["share_low"]),
        share_high=_number(told["share_high"]),
    )


def _table(told: Json) -> Table:
    return Table(
        title=told["title"],
        columns=tuple(told["columns"]),
        rows=tuple(tuple(_known(cell) for cell in row) for row in told["rows"]),
    )


def _beyond(told: Json | None) -> Beyond | None:
    if told is None:
        return None
    means = {name: _number(mean) for name, mean in told["means"].items()}
    return Beyond(**{**told, "means": means})


def _multiverse(told: Json) -> Multiverse:
    return Multiverse(
        cells=told["cells"],
        shares=told["shares"],
        factors=tuple(_factor(factor) for factor in told["factors"]),
        verdict_together=told["verdict_together"],
        effect_together=told["effect_together"],
        curve=tuple(Choice(**choice) for choice in told["curve"]),
    )


def _factor(told: Json) -> Factor:
    return Factor(
        name=told["name"],
        verdict_share=told["verdict_share"],
        effect_share=told["effect_share"],
        verdicts={level["level"]: level["verdicts"] for level in told["levels"]},
        effects={level["level"]: level["effect"] for level in told["levels"]},
    )


def _components(told: Json) -> Components:
    return Components(
        levels=told["levels"],
        mean=told["mean"],
        variance=told["variance"],
        level=told["level"],
        parts=tuple(
            Component(**{**part, "source": tuple(part["source"])}) for part in told["parts"]
        ),
    )


def _family(told: Json) -> Family:
    p, holm = ({name: _number(p) for name, p in told[key].items()} for key in ("p", "holm"))
    return Family(**{**told, "p": p, "holm": holm})


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _known(value: str | int | float | None) -> str | int | float:
    return math.nan if value is None else value
