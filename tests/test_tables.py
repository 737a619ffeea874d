"""The tables of a run: a row per condition, and a row per replicate and effect."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_fixtures import full_run, make_run, make_store

from harness.verdict.results import Run
from reports.documents.tables import Frame, conditions, replicates
from reports.figures.records import Library
from reports.summary import summarise


@pytest.fixture(scope="module")
def run_and_tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Frame]]:
    store = make_store(tmp_path_factory.mktemp("tables"))
    run = full_run(store)
    summary = summarise(run)
    return run, [conditions(summary), replicates(summary, Library(store))]


def read_csv(frame: Frame) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(frame.csv())))


def read_parquet(frame: Frame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(frame.parquet())).to_pylist()
    return rows


def test_a_condition_has_a_row(run_and_tables: tuple[Run, list[Frame]]) -> None:
    run, (table, _) = run_and_tables
    rows = read_csv(table)
    assert len(rows) == len(run.conditions)
    first = rows[0]
    assert (first["claim"], first["parameter_network"], first["parameter_layer"]) == (
        "A1", "resnet18", "conv1",
    )  # fmt: skip
    assert float(first["low"]) <= float(first["value"]) <= float(first["high"])
    assert json.loads(first["parameters"]) == {"network": "resnet18", "layer": "conv1"}
    assert {row["confirmatory"] for row in rows} == {"true", "false"}


def test_a_replicate_has_a_row_for_each_effect(run_and_tables: tuple[Run, list[Frame]]) -> None:
    run, (_, table) = run_and_tables
    rows = read_parquet(table)
    first = run.conditions[0]
    assert len(rows) == sum(
        len(values) for item in run.conditions for values in item.decision.values.values()
    )
    own = rows[: first.decision.n]
    assert [row["replicate"] for row in own] == list(range(first.decision.n))
    assert (own[0]["image"], own[0]["outcome"]) == ("astronaut", "plateau")
    assert sum(row["as_claimed"] for row in own) == first.decision.parts[0].events


def test_parquet_and_csv_agree(run_and_tables: tuple[Run, list[Frame]]) -> None:
    for table in run_and_tables[1]:
        for typed, row in zip(read_parquet(table), read_csv(table), strict=True):
            assert typed.keys() == row.keys()
            assert typed["value"] == (float(row["value"]) if row["value"] else None)
            assert str(typed["confirmatory"]).lower() == row["confirmatory"]


def test_parquet_keeps_what_is_not_finite_and_what_is_missing() -> None:
    rows = [
        {"value": math.inf, "text": 'a "b",\nc', "truth": True},
        {"value": -math.inf, "text": "nan", "truth": False},
        {"value": 0.1 + 0.2},
        {"text": "NULL"},
        {"text": ""},
        {"text": "a\rb"},
    ]
    columns = {"value": pa.float64(), "text": pa.string(), "truth": pa.bool_()}
    *found, last = read_parquet(Frame(columns=columns, rows=[*rows, {"value": math.nan}]))
    assert found == [{name: row.get(name) for name in columns} for row in rows]
    assert math.isnan(last["value"])


def test_tables_of_no_claims_have_columns() -> None:
    table = conditions(summarise(make_run([])))
    assert table.csv().startswith("claim,headline,")
    assert pq.read_table(pa.BufferReader(table.parquet())).column_names[0] == "claim"
