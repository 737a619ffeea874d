"""A run as tidy tables: a row per condition, and a row per replicate and effect.

Effects with scale "log" are log ratios; an empty `low` or `high` is unbounded, an empty `value` is
not finite. Every parameter has a text column of its own; `parameters` has all of them as JSON.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from harness.store import Record
from harness.verdict.results import ConditionResult
from reports.documents.build import plain
from reports.figures.records import Library
from reports.summary import ClaimSummary, Summary, condition_name, deciding_part, effect_of

Row = Mapping[str, object]

_TEXT, _REAL, _WHOLE, _TRUTH = pa.string(), pa.float64(), pa.int64(), pa.bool_()

_CONDITIONS: Mapping[str, pa.DataType] = {
    "claim": _TEXT,
    "headline": _TEXT,
    "section": _TEXT,
    "statement": _TEXT,
    "claim_verdict": _TEXT,
    "estimand": _TEXT,
    "kind": _TEXT,
    "confirmatory": _TRUTH,
    "condition": _TEXT,
    "verdict": _TEXT,
    "reason": _TEXT,
    "n": _WHOLE,
    "effect": _TEXT,
    "scale": _TEXT,
    "value": _REAL,
    "low": _REAL,
    "high": _REAL,
    "level": _REAL,
    "direction": _TEXT,
    "margin": _REAL,
    "p_supported": _REAL,
    "p_refuted": _REAL,
    "stop": _TEXT,
    "parameters": _TEXT,
}
_REPLICATES: Mapping[str, pa.DataType] = {
    "claim": _TEXT,
    "estimand": _TEXT,
    "confirmatory": _TRUTH,
    "condition": _TEXT,
    "replicate": _WHOLE,
    "image": _TEXT,
    "outcome": _TEXT,
    "effect": _TEXT,
    "label": _TEXT,
    "scale": _TEXT,
    "value": _REAL,
    "as_claimed": _TRUTH,
    "records": _TEXT,
    "parameters": _TEXT,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """A tidy table.

    Parameters
    ----------
    columns : mapping of str to pyarrow.DataType
        Names in order, with types.
    rows : sequence of mapping
        Values by column; missing ones are empty.
    """

    columns: Mapping[str, pa.DataType]
    rows: Sequence[Row]

    def csv(self) -> str:
        """The table as CSV with a header, truth values as "true" and "false"."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=list(self.columns), lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})
        return buffer.getvalue()

    def parquet(self) -> bytes:
        """The table as a Parquet file."""
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(self.rows), pa.schema(self.columns)), sink)
        content: bytes = sink.getvalue().to_pybytes()
        return content


def conditions(summary: Summary) -> Frame:
    """A row per condition, with the effect of its deciding part."""
    return _frame(
        _CONDITIONS,
        summary,
        [_condition(claim, item) for claim in summary.claims for item in claim.conditions],
    )


def replicates(summary: Summary, library: Library) -> Frame:
    """A row per condition, replicate and effect, with the images and outcomes of its records.

    An invalid replicate is never `as_claimed`, whatever its value. The column is empty if an older
    document does not say which replicates are invalid.
    """
    records = library.of(summary.run)
    return _frame(
        _REPLICATES,
        summary,
        [row for item in summary.run.conditions for row in _replicates(item, records)],
    )


def _frame(columns: Mapping[str, pa.DataType], summary: Summary, rows: Sequence[Row]) -> Frame:
    names = dict.fromkeys(
        f"parameter_{name}"
        for claim in summary.claims
        for item in claim.conditions
        for name in item.parameters
    )
    return Frame(columns={**columns, **dict.fromkeys(names, _TEXT)}, rows=rows)


def _condition(claim: ClaimSummary, condition: ConditionResult) -> Row:
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
        "confirmatory": condition.confirmatory,
        "condition": condition_name(condition),
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "n": decision.n,
        "p_supported": plain(float(decision.p_supported)),
        "p_refuted": plain(float(decision.p_refuted)),
        "stop": None if decision.stop is None else decision.stop.value,
        **_parameters(condition),
    }
    if part is not None:
        row["direction"] = "above" if part.criterion.above is not None else "below"
        row["margin"] = plain(float(part.criterion.margin))
    if effect is not None:
        row.update(
            effect=effect.name,
            scale=effect.scale.value,
            value=effect.value,
            low=effect.low,
            high=effect.high,
            level=effect.level,
        )
    return row


def _replicates(condition: ConditionResult, records: Mapping[str, Record]) -> Iterable[Row]:
    criteria = {criterion.effect: criterion for criterion in condition.judged_by.criteria}
    for name, values in condition.decision.values.items():
        criterion = criteria.get(name)
        events = condition.decision.events(criterion) if criterion else None
        for number, value in enumerate(values):
            ids = {
                role: own[number] for role, own in condition.records.items() if number < len(own)
            }
            drawn = [records[identity] for identity in ids.values() if identity in records]
            yield {
                "claim": condition.claim.id,
                "estimand": condition.estimand,
                "confirmatory": condition.confirmatory,
                "condition": condition_name(condition),
                "replicate": number,
                "image": _joined(record.labels.get("image", "") for record in drawn),
                "outcome": _joined(record.outcome for record in drawn),
                "effect": name,
                "label": criterion.label if criterion else name,
                "scale": criterion.scale.value if criterion else None,
                "value": plain(float(value)),
                "as_claimed": events[number] if events else None,
                "records": json.dumps(ids),
                **_parameters(condition),
            }


def _parameters(condition: ConditionResult) -> Row:
    text = json.dumps(plain(condition.parameters), allow_nan=False, ensure_ascii=False)
    return {
        "parameters": text,
        **{f"parameter_{name}": str(value) for name, value in condition.parameters.items()},
    }


def _joined(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name for name in names if name))


def _cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
