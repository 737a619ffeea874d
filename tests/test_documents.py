"""The document of a run: it keeps its schema, and the run can be made from it again."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from report_fixtures import full_run, judged, make_run, make_store, simple

from harness.claim import HEADLINES, Criterion, Estimand, event, exact, existential
from harness.errors import OptionError, StoreError
from harness.verdict.results import Run
from harness.verdict.verdict import Stop
from reports.__main__ import main
from reports.documents.archive import archive_run, documents, latest
from reports.documents.build import document, dumps, schema
from reports.documents.read import read_run, run_of
from reports.summary import summarise

SCHEMA_1 = Path(__file__).parents[1] / "docs" / "standard" / "claims.json"
BELOW, ABOVE = (Criterion(effect="x", label="x", **{side: 0.25}) for side in ("below", "above"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return full_run(make_store(tmp_path_factory.mktemp("documents")))


@pytest.fixture(scope="module")
def content(run: Run) -> Any:
    return written(run)


def written(run: Run) -> Any:
    """The parsed document of a run; it has to be strict JSON."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(dumps(document(summarise(run))), parse_constant=refuse)


def test_a_document_keeps_the_contract(content: Any, run: Run) -> None:
    jsonschema.validate(content, schema())
    assert content["schema"] == 2
    assert [item["key"] for item in content["headlines"]] == list(HEADLINES)
    relu = next(item for item in content["headlines"] if item["key"] == "relu")
    assert (relu["claims"], relu["exploratory"]) == (["E1"], ["E2"])
    assert sum(len(item["conditions"]) for item in content["claims"]) == len(run.conditions)


def test_a_document_makes_the_same_run_again(
    content: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = summarise(run).family
    monkeypatch.delattr("reports.summary.family")  # nothing is judged afresh
    again = run_of(content)
    assert again == dataclasses.replace(run, family=family)
    assert again.family is not None
    assert again.family.p
    assert written(again) == content


MISSING = object()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("claims.0.verdict", "maybe"),
        ("claims.0.reason", MISSING),
        ("claims.0.alpha", "small"),
        ("claims.0.estimands.main.criteria", MISSING),
        ("claims.0.conditions.0.n", "12"),
        ("claims.0.conditions.0.extra", 1),
        ("claims.0.conditions.0.effect.value", None),
        ("claims.0.conditions.0.evidence.p_supported", MISSING),
        ("claims.0.conditions.0.evidence.parts.0.criterion.scale", "square"),
        ("run.multiverses.B8.main.shares.perhaps", 0.5),
        ("run.components.disconnect.parts.0.share", 1.5),
        ("run.family.expected_wrong", MISSING),
    ],
)
def test_the_schema_refuses_what_breaks_the_contract(
    content: Any, place: str, value: object
) -> None:
    spoilt = copy.deepcopy(content)
    *path, last = (int(name) if name.isdigit() else name for name in place.split("."))
    target = spoilt
    for name in path:
        target = target[name]
    if value is MISSING:
        del target[last]
    else:
        target[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, schema())


@pytest.mark.parametrize(
    ("estimand", "values", "stop", "looks", "witness"),
    [
        (event("z", ABOVE), [0.9] * 12, Stop.DECIDED, [[12]], None),
        (event("z", ABOVE), [0.1, 0.9] * 24, Stop.EXHAUSTED, [[6], [12], [24]], None),
        (event("z", ABOVE), [0.1, 0.9] * 6, None, [[6]], None),
        (exact("z", ABOVE), [0.9] * 5 + [0.1], Stop.COUNTEREXAMPLE, [], None),
        (existential("z", ABOVE), [0.1] * 3 + [0.9], Stop.WITNESS, [], 3),
    ],
    ids=["decided", "exhausted", "open", "counterexample", "witness"],
)
def test_a_document_has_when_a_condition_stopped_and_why(
    estimand: Estimand,
    values: list[float],
    stop: Stop | None,
    looks: list[list[int]],
    witness: int | None,
) -> None:
    item = judged(estimand, values)
    content = written(make_run([item]))
    jsonschema.validate(content, schema())
    evidence = content["claims"][0]["conditions"][0]["evidence"]
    assert (evidence["stop"], evidence["witness"]) == (stop, witness)
    assert [look["events"] for look in evidence["looks"]] == looks
    assert run_of(content).conditions == (item,)


def test_what_is_not_finite_is_null_and_comes_back_as_nan() -> None:
    item = judged(event("z", BELOW), [math.nan, math.inf, *([0.9] * 22)], share=math.inf)
    content = written(make_run([item], seconds=math.nan))
    jsonschema.validate(content, schema())
    found = content["claims"][0]["conditions"][0]
    assert found["evidence"]["values"]["x"][:3] == [None, None, 0.9]
    assert found["evidence"]["invalid"] == {"x is not finite": 2}
    assert found["parameters"] == {"share": None}
    again = run_of(content)
    assert math.isnan(again.seconds)
    assert math.isnan(again.conditions[0].decision.values["x"][1])
    assert math.isnan(float(again.conditions[0].parameters["share"]))
    assert written(again) == content


def test_a_run_that_is_part_of_the_conditions_is_partial_when_read_again() -> None:
    whole = make_run([judged(event("z", ABOVE), [0.9] * 12)])
    for run in (whole, dataclasses.replace(whole, every_condition=False)):
        assert run_of(written(run)).whole is run.every_condition


# --- the first schema -------------------------------------------------------------------------


def test_a_document_of_the_first_schema_is_read_with_the_names_of_today() -> None:
    old = json.loads(SCHEMA_1.read_text("utf-8"))
    assert old["schema"] == 1
    run = read_run(SCHEMA_1)
    assert len(run.conditions) == sum(len(item["conditions"]) for item in old["claims"])
    first, told = run.conditions[0], old["claims"][0]["conditions"][0]
    assert told["parameters"] == {"network": "resnet50", "cut": "conv1"}
    assert first.parameters == {"network": "resnet50", "layer": "conv1"}
    assert list(told["evidence"]["records"]) == ["copy", "blurred"]
    assert list(first.records) == ["reconstruction", "blurred"]
    assert first.decision.parts[0].criterion == first.judged_by.criteria[0]
    assert first.decision.values["r"] == tuple(told["evidence"]["values"]["r"])
    verdicts = {item["id"]: item["verdict"] for item in old["claims"]}
    assert {item.claim.id: item.verdict for item in summarise(run).claims} == verdicts
    content = written(run)
    jsonschema.validate(content, schema())
    assert run_of(content).conditions == run.conditions


def test_a_document_of_the_first_schema_is_compared(tmp_path: Path) -> None:
    new = tmp_path / "claims.json"
    new.write_text(json.dumps(written(read_run(SCHEMA_1))), "utf-8")
    report = ["--report", str(tmp_path / "out")]
    assert main(["compare", str(SCHEMA_1), str(new), *report]) == 0
    assert main(["history", str(SCHEMA_1), *report]) == 0


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", *(f'{{"schema": {n}{rest}}}' for n in (1, 2) for rest in ("", ', "run": 3'))],
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "claims.json"
    path.write_text(text)
    with pytest.raises(StoreError, match="no document of a run"):
        read_run(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("profile", None),
        ("measured", "3"),
        ("seconds", "long"),
        ("custom", 1),
        ("ended", "yesterday"),
    ],
)
def test_a_damaged_document_is_one_error(
    content: Any, tmp_path: Path, key: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "claims.json"
    path.write_text(json.dumps({**content, "run": {**content["run"], key: value}}))
    with pytest.raises(StoreError):
        read_run(path)
    assert main(["history", str(path), "--report", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"ERROR: {path}")


def test_a_newer_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text('{"schema": 99}')
    with pytest.raises(StoreError, match="schema 99"):
        read_run(tmp_path / "claims.json")


def test_a_store_has_each_run_once_and_finds_the_last(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    item = simple([0.9] * 12)
    early = make_run([item], ended="2026-01-01T09:00:00+00:00")
    # Later, though its clock reads earlier.
    late = make_run([item], ended="2026-01-01T08:00:00-05:00")
    for run in (late, early, early):
        archive_run(run, store)
    assert len(documents(store.folder)) == 2
    assert latest(store.folder).ended == late.ended
    assert list(store) == []


def test_a_place_without_documents_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no document of a run here"):
        documents(tmp_path)
