"""What a report can be made of, and made into: documents, tables, badge, comparison, history."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import math
import re
import resource
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_fixtures import condition, full_run, make_claim, make_run, make_store, normal

from harness.claim import (
    Claim,
    Criterion,
    Estimand,
    Kind,
    Scale,
    conjunction,
    equivalence,
    event,
    exact,
    existential,
)
from harness.plan.seeds import ReplicateSeeds, Source, seeding
from harness.statistics.clusters import Beyond
from harness.statistics.multiverse import Choice, multiverse
from harness.store import Store
from harness.verdict.results import ENDED_BEFORE, NOT_SELECTED, ConditionResult, Run
from harness.verdict.verdict import Decision, Verdict
from reports.__main__ import main
from reports.article import answers
from reports.comparison.compare import compare
from reports.comparison.history import history
from reports.documents.archive import archive_run, documents, latest
from reports.documents.build import document, dumps
from reports.documents.citation import citation
from reports.documents.read import read_run, run_of
from reports.documents.tables import Frame, replicates
from reports.figures.charts import replicate_chart
from reports.figures.course import course
from reports.figures.records import Library
from reports.page.evidence import evidence
from reports.page.panels import multiverse_view
from reports.page.provenance import facts, seeds_text
from reports.summary import setting_text, summarise
from reports.text.badge import badge
from reports.text.console import comparison, final_line, final_table
from reports.text.markdown import to_markdown
from reports.words import finding, quantity
from reports.write import write_report

ROOT = Path(__file__).parents[1]
PLAIN = Criterion(effect="x", label="x", above=0.25)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("forms"))


@pytest.fixture(scope="module")
def run(store: Store) -> Run:
    return full_run(store)


@pytest.fixture(scope="module")
def folder(run: Run, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(run, store, tmp_path_factory.mktemp("out")).parent


def told(run: Run) -> Any:
    return json.loads(dumps(document(summarise(run))))


def simple(values: list[float], *, name: str = "Z1", **parameters: str) -> ConditionResult:
    claim = make_claim(name, "It is so.", event("x exceeds a quarter.", PLAIN))
    given = iter(values)
    return condition(claim, parameters, lambda _: {"x": next(given)}, n=len(values))


# --- parts of a run ---------------------------------------------------------------------------

UNTESTABLE = Estimand(kind=Kind.UNTESTABLE, criteria=(), text="It is about taste.")


def part(*asked: ConditionResult, others: Sequence[Claim] = (), **changes: Any) -> Run:
    """A run that was asked for some conditions; no test of the other claims was collected."""
    claims = {item.claim.id: item.claim for item in asked} | {item.id: item for item in others}
    return make_run(asked, claims=tuple(claims.values()), **changes)


def left_out(item: ConditionResult, reason: str = NOT_SELECTED) -> ConditionResult:
    decision = Decision(verdict=Verdict.NOT_RUN, reason=reason, n=0)
    return dataclasses.replace(item, decision=decision)


def test_a_run_is_whole_where_every_condition_had_its_turn() -> None:
    one, other = simple([0.9] * 12), simple([0.9] * 12, name="Z2")
    absent = left_out(other, "the weights are not on this machine")
    assert make_run([one, absent]).whole
    assert not make_run([one, left_out(other)]).whole
    assert not make_run([one, left_out(other, ENDED_BEFORE)]).whole
    assert not part(one, others=[other.claim]).whole
    again = run_of(told(make_run([one, left_out(other)])))
    assert not again.whole


def test_a_partial_run_shows_what_was_selected_and_counts_the_rest(tmp_path: Path) -> None:
    main = make_claim("A1", "It is.", event("x", PLAIN), headline="autoencoding")
    aside = make_claim("B8", "It was.", event("x", PLAIN), headline="disconnect")
    taste = make_claim("F8", "It is fine.", UNTESTABLE)
    run = part(
        condition(main, {}, normal("x", 1, 0.1)),
        left_out(condition(aside, {}, normal("x", 1, 0.1))),
        others=[taste],
    )
    assert {item["id"]: item["verdict"] for item in told(run)["claims"]} == {
        "A1": "supported",
        "B8": "not run",
        "F8": "not testable",
    }
    table = final_table(run, width=80, color=False)
    assert "1 claim: 1 supported\n2 others not selected: B8 F8\n" in table
    assert "m_g falls below m_r" not in table
    assert final_line(run, color=False) == "1 claim: 1 supported\n2 others not selected"
    page = write_report(run, make_store(tmp_path), tmp_path / "out").read_text("utf-8")
    assert '2 others were <a href="#left-out">not selected</a>' in page
    assert page.count('id="B8"') == 1
    assert 'data-claim="B8"' not in page
    assert "F8 (not testable)" in page
    written = (tmp_path / "out" / "summary.md").read_text("utf-8")
    assert "1 claim: 1 supported; 2 others not selected.\n" in written
    assert "B8" not in written
    assert "not run" not in (tmp_path / "out" / "badge.svg").read_text("utf-8")
    assert [row["claim"] for row in _rows(tmp_path / "out" / "claims.csv")] == ["A1", "B8"]


def test_a_summary_tells_whether_the_run_was_partial(run: Run) -> None:
    assert "partial" not in to_markdown(summarise(run))
    partial = to_markdown(summarise(dataclasses.replace(run, every_condition=False)))
    assert "Profile quick on cpu, partial, " in partial


def test_a_summary_tells_of_ones_own_subjects() -> None:
    run = make_run([simple([0.9] * 12)], custom={"images": "/a_b (12)", "network": "resnet34"})
    text = to_markdown(summarise(run))
    assert "With your own images **/a\\_b (12)**, network **resnet34**:" in text
    assert "your own" not in to_markdown(summarise(make_run([simple([0.9] * 12)])))


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


# --- build ------------------------------------------------------------------------------------


def test_build_makes_the_same_report_without_what_takes_long(
    run: Run, store: Store, folder: Path, tmp_path: Path
) -> None:
    archive_run(run, store)
    code = (
        "import sys; from reports.__main__ import main; status = main(sys.argv[1:]); "
        "slow = {'torch', 'scipy.stats', 'statsmodels'}; "
        "sys.exit(status or ', '.join(slow.intersection(sys.modules)) or 0)"
    )
    command = ["build", "--store", str(store.folder), "--report", str(tmp_path)]
    before = seconds_of_children()
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=ROOT, check=False)
    assert done.returncode == 0
    assert seconds_of_children() - before < 5
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def seconds_of_children() -> float:
    """Time that a processor spent on finished child processes, whatever else kept it busy."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_build_takes_a_run_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = make_store(tmp_path)
    first = archive_run(make_run([simple([0.9] * 12)], ended="2026-01-01T09:00:00+00:00"), kept)
    archive_run(make_run([], ended="2026-01-02T09:00:00+00:00"), kept)
    command = ["build", "--store", str(kept.folder), "--report", str(tmp_path / "out")]
    assert main([*command, "--run", first.stem]) == 0
    assert "Z1" in (tmp_path / "out" / "claims.csv").read_text()
    assert main(command) == 0
    assert "Z1" not in (tmp_path / "out" / "claims.csv").read_text()
    assert main([*command, "--run", "1999"]) == 2
    assert "0 runs in the store" in capsys.readouterr().err


def test_a_partial_run_hides_no_whole_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = make_store(tmp_path)
    one, other = simple([0.9] * 12), simple([0.9] * 12, name="Z2")
    few = archive_run(part(one, others=[other.claim], ended="2026-01-01T09:00:00+00:00"), kept)
    monkeypatch.chdir(tmp_path)
    assert main(["build", "--store", str(kept.folder)]) == 0
    assert "run: 2026-01-01T09:00:00+00:00, quick on cpu, partial, 1 of 2 claims measured\n" in (
        capsys.readouterr().out
    )
    whole = make_run([one, other], ended="2026-01-02T09:00:00+00:00")
    archive_run(whole, kept)
    archive_run(part(one, others=[other.claim], ended="2026-01-03T09:00:00+00:00"), kept)
    assert latest(kept.folder).ended == whole.ended
    assert main(["build", "--store", str(kept.folder)]) == 0
    assert "quick on cpu, whole\nreport: reports/latest" in capsys.readouterr().out
    assert main(["build", "--store", str(kept.folder), "--run", few.stem]) == 0
    assert "partial, 1 of 2 claims measured\nreport: reports/latest" in capsys.readouterr().out


def test_build_makes_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--store", str(tmp_path / "typo")]) == 2
    assert "there is no such store" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


# --- compare ----------------------------------------------------------------------------------


def saved(run: Run, path: Path) -> str:
    path.write_text(dumps(document(summarise(run))))
    return str(path)


def test_compare_pairs_replicates_and_tells_a_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 5, 24)
    # Spread hides the shift of 0.4 everywhere but in the paired differences.
    shift = rng.normal(0.4, 0.01, 24)
    before = make_run([simple(list(noise), name="Z2"), simple([0.9] * 12)])
    after = make_run([simple(list(noise + shift), name="Z2"), simple([0.1] * 12)])
    found = compare(before, after)
    turned, other = found.pairs
    assert (turned.claim, turned.before, turned.after) == (
        "Z1", Verdict.SUPPORTED, Verdict.REFUTED,
    )  # fmt: skip
    assert not other.changed
    assert other.pairs == 24
    assert other.difference is not None
    assert other.difference.low is not None
    assert other.difference.high is not None
    assert 0.39 < other.difference.low < 0.4 < other.difference.high < 0.41
    assert found.changed
    a, b = saved(before, tmp_path / "a.json"), saved(after, tmp_path / "b.json")
    assert main(["compare", a, b, "--report", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().out
    assert "Z1: supported -> refuted" in printed
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "comparison.csv").read_text())))
    assert [row["changed"] for row in rows] == ["true", "false"]
    assert "Verdicts changed" in (tmp_path / "out" / "comparison.html").read_text()


def test_compare_a_run_with_itself_is_clean(run: Run, tmp_path: Path) -> None:
    path = saved(run, tmp_path / "a.json")
    assert main(["compare", path, path, "--report", str(tmp_path / "out")]) == 0
    found = compare(run, run)
    assert found.settings == found.missing == found.added == ()
    differences = [pair.difference for pair in found.pairs if pair.difference]
    assert len(differences) > 20
    assert {(item.low, item.value, item.high) for item in differences} == {(0.0, 0.0, 0.0)}


def test_what_was_not_measured_is_no_change() -> None:
    item, other = simple([0.9] * 12), simple([0.9] * 12, name="Z2")
    found = compare(make_run([item, other]), make_run([left_out(item), other]))
    assert not found.changed
    assert [change.claim for change in found.claims] == ["Z2"]
    assert found.missing == ("Z1",)


def test_compare_tells_which_runs_and_how_much_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = (simple([0.9] * 12, name=f"Z{number}") for number in (1, 2, 3))
    a = saved(make_run([one, two, left_out(three)]), tmp_path / "a.json")
    b = saved(part(one, others=[two.claim], custom={"images": "mine"}), tmp_path / "b.json")
    assert main(["compare", a, b, "--report", str(tmp_path / "out")]) == 0
    ended = "2025-11-23T06:40:12+00:00"
    assert capsys.readouterr().out.splitlines()[:3] == [
        f"A: {ended}, quick on cpu, partial, 2 of 3 claims measured",
        f"B: {ended}, quick on cpu, images mine, partial, 1 of 2 claims measured",
        "no verdict changed; conditions: 1 compared, 1 not measured by B",
    ]
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "1 compared, 1 not measured by B" in page
    assert "images mine" in page


def test_two_runs_without_a_common_condition_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = simple([0.9] * 12), simple([0.9] * 12, name="Z2")
    a = saved(part(one, others=[other.claim]), tmp_path / "a.json")
    b = saved(part(other, left_out(one)), tmp_path / "b.json")
    assert main(["compare", a, b, "--report", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"ERROR: {a} (2025-11-23T06:40:12+00:00, quick on cpu, partial" in said
    assert "no condition was measured by both" in said
    assert "Measure the same claims in both" in said
    assert not (tmp_path / "out").exists()


def test_a_changed_claim_is_told_where_its_verdict_changed() -> None:
    after = simple([0.1] * 12)
    after = dataclasses.replace(after, claim=dataclasses.replace(after.claim, method="Otherwise."))
    found = compare(make_run([simple([0.9] * 12)]), make_run([after]))
    assert "Z1: supported -> refuted (claim changed)\n" in comparison(found)


def test_a_run_of_a_part_is_compared_on_what_both_measured() -> None:
    early, late = (simple([0.9] * 12, layer=layer) for layer in ("conv1", "layer4"))
    turned = simple([0.1] * 12, layer="conv1")
    whole = make_run([early, late])
    found = compare(whole, make_run([early, left_out(late)]))
    assert not found.changed
    assert [(item.before, item.after) for item in found.claims] == [(Verdict.SUPPORTED,) * 2]
    found = compare(whole, make_run([turned, left_out(late)]))
    assert [(item.before, item.after) for item in found.claims] == [
        (Verdict.SUPPORTED, Verdict.REFUTED)
    ]


def test_a_change_beside_a_claim_changes_no_verdict() -> None:
    pair = [
        make_run([dataclasses.replace(simple([value] * 12), confirmatory=False)])
        for value in (0.9, 0.1)
    ]
    found = compare(*pair)
    assert found.pairs[0].changed
    assert not found.changed


def test_a_network_of_ones_own_is_compared_with_the_one_it_replaces() -> None:
    before = make_run([simple([0.9] * 12, network="resnet50", layer="conv1")])
    after = make_run([simple([0.8] * 12, network="resnet34", layer="conv1")], device="cuda")
    found = compare(before, after)
    assert [pair.name for pair in found.pairs] == ["resnet50 · conv1 → resnet34 · conv1"]
    assert ("Device", "cpu", "cuda") in found.settings
    twice = make_run([simple([0.8] * 12, network=name, layer="conv1") for name in ("a", "b")])
    assert compare(before, twice).pairs == ()


def test_other_seeds_are_not_paired() -> None:
    before = make_run([simple([0.9] * 12)])
    after = make_run([simple([0.8] * 12)], provenance={"seeds": {"entropy": 1}})
    assert compare(before, after).pairs[0].difference is None


# --- history ----------------------------------------------------------------------------------


def test_history_shows_runs_in_time_and_leaves_repeats_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = make_store(tmp_path)
    for day, value in ((3, 0.1), (1, 0.9), (2, 0.9)):
        archive_run(make_run([simple([value] * 12)], ended=f"2026-01-0{day}T09:00:00+00:00"), kept)
    found = history([read_run(path) for path in documents(kept.folder)])
    assert [run.ended[8:10] for run in found.runs] == ["01", "03"]
    assert found.left_out == 1
    (line,) = found.lines
    assert line.verdicts == (Verdict.SUPPORTED, Verdict.REFUTED)
    assert not line.steady
    assert line.marks[0].x < line.marks[1].x
    assert line.marks[0].y < line.marks[1].y  # a larger effect stands higher
    assert main(["history", str(kept.folder), "--report", str(tmp_path / "out")]) == 0
    assert "Z1 : supported -> refuted" in capsys.readouterr().out
    assert "Effects over 2 runs" in (tmp_path / "out" / "history.html").read_text()


def test_history_draws_no_line_through_other_settings() -> None:
    low, high = ([simple([value] * 12, layer="conv1")] for value in (0.1, 0.9))
    settings: list[dict[str, Any]] = [
        {"profile": "quick"},
        {"profile": "standard"},
        {"device": "cuda"},
        {"custom": {"images": "mine"}},
    ]
    runs = [
        make_run(found, ended=f"2026-01-{day:02}T09:00:00+00:00", **changes)
        for day, (changes, found) in enumerate(
            [(changes, found) for found in (low, high) for changes in settings], start=1
        )
    ]
    found = history(runs)
    assert [line.name for line in found.lines] == [
        "conv1 · quick on cpu",
        "conv1 · standard on cpu",
        "conv1 · quick on cuda",
        "conv1 · quick on cpu, images mine",
    ]
    for line in found.lines:
        assert line.verdicts == (Verdict.REFUTED, Verdict.SUPPORTED)
    assert [line.name for line in history([runs[0], runs[4]]).lines] == ["conv1"]


def test_history_draws_no_line_through_a_changed_claim(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = make_store(tmp_path)
    for day, (value, margin) in enumerate([(0.1, 0.25), (0.9, 0.5), (0.9, 0.25)], start=1):
        judged = event("x exceeds it.", dataclasses.replace(PLAIN, above=margin))
        item = condition(make_claim("Z1", "It is so.", judged), {}, normal("x", value, 0.01))
        archive_run(make_run([item, simple([0.9] * 12, name="Z2")], ended=f"2026-01-0{day}"), kept)
    found = history([read_run(path) for path in documents(kept.folder)])
    told_of = [(line.claim, line.stated, len(line.marks)) for line in found.lines]
    assert told_of == [("Z1", 1, 2), ("Z1", 2, 1), ("Z2", None, 3)]
    assert main(["history", str(kept.folder), "--report", str(tmp_path / "out")]) == 0
    assert (
        "changed between runs, and not compared across the change: Z1\n" in capsys.readouterr().out
    )
    page = (tmp_path / "out" / "history.html").read_text()
    assert page.count("claim as stated in run 2") == 1


def test_another_precision_is_another_setting() -> None:
    run = make_run([simple([0.9] * 12)])
    assert setting_text(run) == "quick on cpu"
    double = {**run.provenance, "precision": "IEEE float64"}
    assert setting_text(dataclasses.replace(run, provenance=double)) == "quick on cpu, IEEE float64"


def test_history_marks_partial_runs_and_leaves_out_those_that_say_nothing_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = make_store(tmp_path)
    one, other = simple([0.9] * 12), simple([0.9] * 12, name="Z2")
    turned = simple([0.1] * 12)
    runs = [
        make_run([one, other]),
        part(one, others=[other.claim]),  # says what the first says
        make_run([one, other]),
        part(turned, left_out(other)),
    ]
    for day, run in enumerate(runs, start=1):
        archive_run(dataclasses.replace(run, ended=f"2026-01-0{day}"), kept)
    found = history([read_run(path) for path in documents(kept.folder)])
    assert [run.ended[-2:] for run in found.runs] == ["01", "04"]
    assert main(["history", str(kept.folder), "--report", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "run 1: 2026-01-01, quick on cpu, whole, 2 supported",
        "run 2: 2026-01-04, quick on cpu, partial, 1 of 2 claims measured, 1 refuted",
    ]
    assert "partial, 1 of 2 claims" in (tmp_path / "out" / "history.html").read_text()


# --- other forms ------------------------------------------------------------------------------


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
    content = Frame(columns=columns, rows=[*rows, {"value": math.nan}]).parquet()
    *found, last = pq.read_table(pa.BufferReader(content)).to_pylist()
    assert found == [{name: row.get(name) for name in columns} for row in rows]
    assert math.isnan(last["value"])


def test_parquet_and_csv_say_the_same(folder: Path, run: Run) -> None:
    for name in ("claims", "replicates"):
        table = pq.read_table(folder / f"{name}.parquet").to_pylist()
        rows = list(csv.DictReader(io.StringIO((folder / f"{name}.csv").read_text("utf-8"))))
        assert len(table) == len(rows) > 0
        for typed, row in zip(table, rows, strict=True):
            assert typed.keys() == row.keys()
            assert (typed["value"] is None) == (row["value"] == "")
            if typed["value"] is not None:
                assert typed["value"] == float(row["value"])
            assert str(typed["confirmatory"]).lower() == row["confirmatory"]
    assert len(pq.read_table(folder / "claims.parquet")) == len(run.conditions)


def test_replicates_have_a_row_an_effect(folder: Path, run: Run) -> None:
    table = pq.read_table(folder / "replicates.parquet").to_pylist()
    assert len(table) == sum(
        len(values) for item in run.conditions for values in item.decision.values.values()
    )
    first = [row for row in table if row["claim"] == "A1" and row["parameter_layer"] == "conv1"]
    assert [row["replicate"] for row in first[:3]] == [0, 1, 2]
    assert first[0]["image"] == "astronaut"
    assert first[0]["outcome"] == "plateau"
    events = sum(row["as_claimed"] for row in first if row["parameter_network"] == "resnet18")
    assert events == run.conditions[0].decision.parts[0].events


def test_the_badge_counts_in_words(run: Run) -> None:
    drawn = ET.fromstring(badge(summarise(run)))
    texts = [item.text for item in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:2] == ["claims", "5 supported"]
    assert drawn.get("aria-label") == "claims: " + ", ".join(str(text) for text in texts[1:])
    partial = badge(summarise(dataclasses.replace(run, every_condition=False)))
    assert ">claims of a partial run<" in partial
    own = badge(summarise(dataclasses.replace(run, custom={"network": "resnet34"})))
    assert ">claims with one&#39;s own network<" in own
    assert ET.fromstring(badge(summarise(make_run([])))).get("aria-label") == "claims: none"


def test_a_citation_names_commit_claims_and_date(run: Run) -> None:
    text = citation(summarise(run))
    for word in ("3f1c2ab94d0e", run.claims_digest[:12], "2025-11-23", "5 supported", "@misc{"):
        assert word in text
    assert "unknown date" in citation(summarise(make_run([], ended="yesterday")))
    assert ("partial, " in text) == (not run.whole)
    partial = dataclasses.replace(run, every_condition=False)
    assert "cpu, partial, " in citation(summarise(partial))
    own = dataclasses.replace(run, custom={"network": "resnet34"})
    assert "quick on cpu, network resnet34, commit" in citation(summarise(own))


@pytest.mark.parametrize(
    ("label", "ends", "text"),
    [
        ("m_g / m_r at Conv5", (-2.895, -2.653, -2.398),
         "Conv5: m_g is 1/14.2 of m_r [1/18.1, 1/11.0]"),
        ("m_g / m_r", (0.70, 0.80, 0.90), "m_g is 2.23 times m_r [2.01, 2.46]"),
        ("m_g / m_r", (-0.2, 0.1, 0.3), "m_g is 1.11 times m_r [0.819, 1.35]"),
        ("m_i(T) / m_i(0) (at most 1 where m_g did not halve)", (-0.2, -0.15, -0.1),
         "m_i(T) is 0.861 times m_i(0) [0.819, 0.905] (at most 1 where m_g did not halve)"),
        ("m_g / |O(a)|, untrained over trained", (0.9, 1.01, 1.1),
         "m_g / |O(a)|, untrained over trained is 2.75× [2.46, 3.00]"),
        ("m_g / m_r, trained on noise", (0.70, 0.80, 0.90),
         "m_g is 2.23 times m_r [2.01, 2.46], trained on noise"),
        ("the smaller of m_r / m_g and m_i(T) / m_i(0)", (-0.2, 0.15, 0.2),
         "the smaller of m_r / m_g and m_i(T) / m_i(0) is 1.16× [0.819, 1.22]"),
        ("m_g / m_r", (None, -0.8, -0.7), "m_g is 1/2.23 of m_r [0, 1/2.01]"),
    ],
)  # fmt: skip
def test_an_effect_is_a_sentence(label: str, ends: tuple[float, ...], text: str) -> None:
    claim = make_claim(
        "Z", "z", event("z", Criterion(effect="x", label=label, above=0.0, scale=Scale.LOG))
    )
    effect = condition(claim, {}, normal("x", 1, 0.1)).decision.parts[0].effect
    assert effect is not None
    low, value, high = ends
    assert finding(dataclasses.replace(effect, low=low, value=value, high=high)) == text


# --- evidence ---------------------------------------------------------------------------------


def test_the_course_passes_the_published_gates() -> None:
    found = course(simple([0.9] * 20 + [0.1] * 4))
    assert found is not None
    # 12 of 12, 20 of 24 and 35 of 48 support; 0, 4 and 13 refute.
    assert [(gate.n, gate.supports, gate.refutes) for gate in found.gates] == [
        (12, 12, 0), (24, 20, 4), (48, 35, 13),
    ]  # fmt: skip
    assert [gate.taken for gate in found.gates] == [True, False, False]
    points = np.array(found.path[1:].split(), dtype=float).reshape(-1, 2)
    assert len(points) == 13
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) < 0).all()  # every one an event, upwards


def test_an_invalid_replicate_is_no_event_wherever_it_is_drawn(tmp_path: Path) -> None:
    falling = event("z", PLAIN, presupposes_descent=True)
    item = condition(
        make_claim("Z", "z", falling), {}, lambda _: {"x": 1.0}, n=12, descended=lambda k: k != 3
    )
    run = make_run([item])
    assert item.decision.parts[0].events == 11
    (read,) = run_of(document(summarise(run))).conditions
    assert read.decision.failed == item.decision.failed == (3,)
    found = course(read)
    assert found is not None
    heights = np.array(found.path[1:].split(), dtype=float)[1::2]
    assert [place for place, step in enumerate(np.diff(heights)) if step == 0] == [3]
    chart = replicate_chart([read], 0, title="z")
    assert chart is not None
    assert chart.tables[0]["event"] == [1, 1, 1, 0, *[1] * 8]
    table = replicates(summarise(run), Library(make_store(tmp_path)))
    assert [row["as_claimed"] for row in table.rows] == [k != 3 for k in range(12)]
    # An older document tells how many are invalid, and not which.
    older = dataclasses.replace(read, decision=dataclasses.replace(read.decision, failed=()))
    found = course(older)
    assert found is not None
    assert len(found.path.split()) == 4  # none, and the look
    table = replicates(summarise(make_run([older])), Library(make_store(tmp_path)))
    assert {row["as_claimed"] for row in table.rows} == {None}


def test_an_invalid_photograph_is_told_as_such() -> None:
    ratio = Criterion(effect="x", label="x", below=0.0, scale=Scale.LOG)
    means = {"cat": math.nan, "rocket": math.log(0.5)}
    item = condition(make_claim("Z", "z", event("z", ratio)), {}, lambda _: {"x": -1.0}, n=12)
    counted = Beyond(means=means, events=1, p_supported=1.0, p_refuted=1.0)
    found = evidence(dataclasses.replace(item, beyond=counted)).beyond
    assert found is not None
    assert found.means == (("cat", "invalid", False), ("rocket", "0.500", True))
    assert quantity(math.nan, Scale.LOG) == quantity(math.nan, Scale.LINEAR) == "not finite"


def test_refuting_shares_alpha_among_parts() -> None:
    claim = make_claim(
        "Z", "z", conjunction("z", PLAIN, Criterion(effect="y", label="y", above=0.25))
    )
    found = course(condition(claim, {}, lambda _: {"x": 1.0, "y": 1.0}, n=12))
    assert found is not None
    # 4 of 24 has P = .00154, above .3 * .01 / 2; 0 of 12 and 13 of 48 stay below theirs.
    assert [(gate.supports, gate.refutes) for gate in found.gates] == [(12, 0), (20, 3), (35, 13)]


def test_an_exact_claim_has_a_counterexample_and_no_course(tmp_path: Path) -> None:
    claim = make_claim("Z", "z", exact("z", PLAIN))
    given = iter([0.9] * 5 + [0.1] * 7)
    item = condition(
        claim, {}, lambda _: {"x": next(given)}, n=12, records={"run": ("a" * 64,) * 12}
    )
    assert course(item) is None
    page = write_report(make_run([item]), make_store(tmp_path), tmp_path / "out").read_text("utf-8")
    assert "<b>Counterexample</b>: replicate 5, x 0.100." in page
    assert "stopped at a counterexample" in page


def test_seeds_are_told_so_that_numpy_draws_them_again() -> None:
    told_seeds: Any = seeding()
    sources, entropy = told_seeds["sources"], told_seeds["entropy"]
    sequence = np.random.SeedSequence(
        entropy, spawn_key=(told_seeds["stream"], 7, sources["start"])
    )
    assert ReplicateSeeds(replicate=7).seed(Source.START) == int(
        sequence.generate_state(1, np.uint64)[0]
    )
    text = seeds_text(told_seeds)
    assert f"SeedSequence({entropy}, spawn_key=(0, replicate, source))" in text
    assert "0 weights, 1 image, 2 start" in text


def test_provenance_has_ceiling_and_throughput(run: Run) -> None:
    told_facts = dict(facts(run))
    assert told_facts["Machine ceiling"] == (
        "float32 arithmetic of one worker, when it began: 129 GFLOP/s (2 threads, <i>P</i>)"
    )
    assert told_facts["Throughput"] == (
        "7,473 cells an hour and 901 image-steps a second over the whole run; 502 image-steps a "
        "second of one worker in its descents (352,600 steps in 11 min 42 s, over all networks and "
        "sizes)"
    )


def test_a_run_that_measured_nothing_tells_of_those_that_did(run: Run) -> None:
    known: Any = run.provenance
    one = {"of_one_worker": known["throughput"]["of_one_worker"]}
    warm = make_run([], measured=0, provenance={**known, "throughput": one})
    told_facts = dict(facts(warm))
    assert "when the runs that measured began: 129 GFLOP/s" in told_facts["Machine ceiling"]
    assert told_facts["Throughput"].startswith("nothing was measured in this run; 502 image-steps")
    bare = dict(facts(make_run([], measured=0, provenance={})))
    assert bare["Machine ceiling"] == "unknown: no record tells it"
    assert bare["Throughput"] == "nothing was measured in this run"
    # A run that measured is not told to have measured nothing, whatever is known of its pace.
    dark = dict(facts(make_run([], measured=1, provenance={**known, "throughput": one})))
    assert dark["Throughput"].startswith("unknown over the whole run; 502 image-steps a second of")
    assert "runs that measured" not in dark["Throughput"]


def test_a_witness_is_named(tmp_path: Path) -> None:
    claim = make_claim("Z", "z", existential("z", PLAIN))
    given = iter([0.1] * 3 + [0.9] * 9)
    item = condition(claim, {}, lambda _: {"x": next(given)}, n=12)
    page = write_report(make_run([item]), make_store(tmp_path), tmp_path / "out").read_text("utf-8")
    assert "<b>Witness</b>: replicate 3, x 0.900." in page


@pytest.mark.parametrize("judge", [exact, existential])
def test_a_ratio_that_settles_a_claim_is_told_as_a_ratio(
    judge: Callable[[str, Criterion], Estimand],
) -> None:
    ratio = Criterion(effect="x", label="m_g / m_r", above=math.log(2), scale=Scale.LOG)
    claim = make_claim("Z", "z", judge("z", ratio))
    given = iter([math.log(4), -math.log(2)] * 6)
    found = evidence(condition(claim, {}, lambda _: {"x": next(given)}, n=12)).case
    assert found is not None
    assert found.effects == (("m_g / m_r", "0.500" if judge is exact else "4.00"),)


def test_a_multiverse_is_drawn_against_the_margin_of_its_own_effect() -> None:
    early = Criterion(effect="early", label="m_g / m_r", above=0.2, scale=Scale.LOG)
    other = Criterion(effect="r", label="m_i(T) / m_i(0)", above=0.9)
    choices = [
        Choice(factors={"step": str(k)}, verdict="supported", effect=k / 10) for k in range(5)
    ]
    drawn = multiverse_view(multiverse(choices), conjunction("z", early, other))
    assert drawn.effect == "m_g / m_r"
    assert [label for _, label in drawn.ticks] == ["1.00", "1.49"]  # e^0 and e^0.4
    (margin,) = drawn.margins
    assert margin == drawn.curve[2].y
    within = equivalence("z", effect="x", label="x", centre=0.2, margin=0.1)
    assert len(multiverse_view(multiverse(choices), within).margins) == 2


@pytest.mark.parametrize(
    ("n", "ending"),
    [
        (4, "4 replicates: too few for a look, so that they only describe."),
        (12, "12 replicates, look 1: open, the next look may decide."),
        (48, "48 replicates, look 3: undecided at the last look of this profile"),
    ],
)
def test_a_condition_tells_how_it_ended(n: int, ending: str) -> None:
    given = itertools.cycle([0.1, 0.9])
    claim = make_claim("Z", "z", event("z", PLAIN))
    item = condition(claim, {}, lambda _: {"x": next(given)}, n=n)
    assert evidence(item).ending.startswith(ending)


def test_panels_are_shown_or_said_to_be_missing(folder: Path, tmp_path: Path) -> None:
    page = (folder / "claims.html").read_text("utf-8")
    assert "33 % refuted" in page  # four of twelve cells
    assert "&lt;b&gt;blur" in page
    assert "each mark is a cell" in page
    assert "Image dominates" in page
    assert "2 of 3 as claimed" in page  # cat .15, rocket .3, chelsea .1 against below .25
    bare = write_report(make_run([simple([0.9] * 12)]), make_store(tmp_path), tmp_path / "out")
    assert bare.read_text("utf-8").count("not measured in this profile") == 2
    assert "Distinct photographs are not counted" in bare.read_text("utf-8")


def test_the_article_answers_for_every_claim_that_has_a_headline() -> None:
    from claims.plugin.registry import all_claims

    stated: tuple[Claim, ...] = all_claims(ROOT, planned=())
    testable = {claim.id for claim in stated if not _untestable(claim)}
    assert testable <= answers().keys()


IN_WORDS = {0.0, 0.5, 1.0, 1.5, 100.0}
"""No margin, that of a count or a class, of a rank, of a stage, of rounding: told without a number.

One half may be told by its number all the same."""


def test_why_a_margin_is_what_it_is_speaks_of_that_margin() -> None:
    from claims.plugin.registry import all_claims

    for claim in all_claims(ROOT, planned=()):
        said = _numbers(answers()[claim.id].margin) if claim.id in answers() else []
        laid_down = _margins(claim)
        for ways in said:
            assert any(_same(way, margin) for way in ways for margin in laid_down), (claim.id, ways)
        for margin in laid_down - IN_WORDS:
            assert any(_same(way, margin) for ways in said for way in ways), (claim.id, margin)


def test_numerals_are_read_as_they_are_meant() -> None:
    assert _numbers("ln 1.1, 5 % of 100") == [
        (pytest.approx(0.0953, rel=1e-3),),
        (0.05, pytest.approx(0.0488, rel=1e-3)),
        (100.0, pytest.approx(4.605, rel=1e-3)),
    ]


def _margins(claim: Claim) -> set[float]:
    """Distances of a claim's margins from no effect, or from the middle where they have one."""
    found: set[float] = set()
    for estimand in claim.estimands.values():
        margins = [criterion.margin for criterion in estimand.criteria]
        if estimand.kind is Kind.EQUIVALENCE:
            middle = sum(margins) / 2
            margins = [round(margin - middle, 12) for margin in margins]
        found |= {abs(margin) for margin in margins}
        found |= {criterion.share for criterion in estimand.criteria} - {0.5}
    return found


def _numbers(text: str) -> list[tuple[float, ...]]:
    """The numerals of a text, each with what it may stand for on the scale of an effect."""
    found: list[tuple[float, ...]] = []
    for logarithm, digits, percent in re.findall(r"(ln )?(?<![\w.])(\d+(?:\.\d+)?)( %)?", text):
        value = float(digits)
        if logarithm:
            found.append((math.log(value),))
        elif percent:
            found.append((value / 100, math.log1p(value / 100)))
        else:
            found.append((value, abs(math.log(value))))
    return found


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9)


def _untestable(claim: Claim) -> bool:
    return all(each.kind is Kind.UNTESTABLE for each in claim.estimands.values())


def test_every_ending_has_its_words() -> None:
    from harness.inversion.outcome import Outcome
    from reports.words import OUTCOME_MEANINGS

    assert set(OUTCOME_MEANINGS) == {outcome.value for outcome in Outcome}
