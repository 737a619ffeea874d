"""Two runs compared, many over time, and reports made again, by `python -m reports`."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fixtures import (
    PLAIN,
    condition,
    full_run,
    left_out,
    make_claim,
    make_run,
    make_store,
    normal,
    part,
    simple,
)

from harness.claim import event
from harness.verdict.results import ENDED_BEFORE, Run
from harness.verdict.verdict import Verdict
from reports.__main__ import main
from reports.comparison.compare import compare
from reports.comparison.history import history
from reports.documents.archive import archive_run, latest
from reports.documents.build import document, dumps
from reports.summary import extent_text, summarise
from reports.write import write_report

ROOT = Path(__file__).parents[1]
S, R = Verdict.SUPPORTED, Verdict.REFUTED
HIGH, LOW = [0.9] * 12, [0.1] * 12


def day(number: int, run: Run) -> Run:
    return dataclasses.replace(run, ended=f"2026-01-0{number}T09:00:00+00:00")


def saved(run: Run, path: Path) -> str:
    path.write_text(dumps(document(summarise(run))))
    return str(path)


def test_a_run_is_whole_if_every_condition_had_its_turn() -> None:
    one, other = simple(HIGH), simple(HIGH, name="Z2")
    assert make_run([one, left_out(other, "the weights are not on this machine")]).whole
    assert not make_run([one, left_out(other)]).whole
    assert not make_run([one, left_out(other, ENDED_BEFORE)]).whole
    assert not part(one, others=[other.claim]).whole
    assert not make_run([one], every_condition=False).whole


# --- compare ----------------------------------------------------------------------------------


def test_replicates_are_paired_by_number() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 5, 24)
    # Spread hides the shift of 0.4 everywhere except in the paired differences.
    shifted = noise + rng.normal(0.4, 0.01, 24)
    (pair,) = compare(make_run([simple(list(noise))]), make_run([simple(list(shifted))])).pairs
    assert pair.pairs == 24
    assert pair.difference is not None
    low, high = pair.difference.low, pair.difference.high
    assert low is not None
    assert high is not None
    assert 0.39 < low < 0.4 < high < 0.41


def test_a_changed_verdict_comes_first_and_sets_the_exit_status(tmp_path: Path) -> None:
    before = make_run([simple(HIGH, name="Z2"), simple(HIGH)])
    after = make_run([simple(HIGH, name="Z2"), simple(LOW)])
    found = compare(before, after)
    assert [(pair.claim, pair.before, pair.after) for pair in found.pairs] == [
        ("Z1", S, R),
        ("Z2", S, S),
    ]
    assert found.changed
    a, b = saved(before, tmp_path / "a.json"), saved(after, tmp_path / "b.json")
    assert main(["compare", a, b, "--report", str(tmp_path / "out")]) == 1
    assert (tmp_path / "out" / "comparison.html").exists()


def test_a_run_compared_with_itself_has_no_difference(tmp_path: Path) -> None:
    run = full_run(make_store(tmp_path))
    path = saved(run, tmp_path / "a.json")
    assert main(["compare", path, path, "--report", str(tmp_path / "out")]) == 0
    found = compare(run, run)
    assert found.settings == found.missing == found.added == ()
    differences = [pair.difference for pair in found.pairs if pair.difference]
    assert len(differences) > 20
    assert {(item.low, item.value, item.high) for item in differences} == {(0.0, 0.0, 0.0)}


def test_only_what_both_measured_is_compared() -> None:
    early, late = (simple(HIGH, layer=layer) for layer in ("conv1", "layer4"))
    whole = make_run([early, late])
    for again, verdict in ((early, S), (simple(LOW, layer="conv1"), R)):
        found = compare(whole, make_run([again, left_out(late)]))
        assert [(item.before, item.after) for item in found.claims] == [(S, verdict)]
        assert found.changed is (verdict is R)
        assert (found.missing, found.added) == (("Z1 layer4",), ())


def test_a_changed_exploratory_condition_changes_no_verdict() -> None:
    runs = [
        make_run([dataclasses.replace(simple(values), confirmatory=False)])
        for values in (HIGH, LOW)
    ]
    found = compare(*runs)
    assert found.pairs[0].changed
    assert not found.changed


def test_a_claim_with_other_rules_is_restated_and_a_reworded_one_is_not() -> None:
    after = simple(LOW)
    for changes, restated in (
        ({}, False),
        ({"method": "Reworded."}, False),
        ({"alpha": 0.1}, True),
    ):
        claim = dataclasses.replace(after.claim, **changes)
        other = make_run([dataclasses.replace(after, claim=claim)])
        (change,) = compare(make_run([simple(HIGH)]), other).claims
        assert change.restated is restated


def test_a_network_of_the_users_is_compared_with_the_one_it_replaces() -> None:
    before = make_run([simple(HIGH, network="resnet50", layer="conv1")])
    after = make_run([simple(HIGH, network="resnet34", layer="conv1")], device="cuda")
    found = compare(before, after)
    assert [pair.name for pair in found.pairs] == ["resnet50 · conv1 → resnet34 · conv1"]
    assert ("Device", "cpu", "cuda") in found.settings
    ambiguous = make_run([simple(HIGH, network=name, layer="conv1") for name in ("a", "b")])
    assert compare(before, ambiguous).pairs == ()


def test_replicates_of_different_seeds_are_not_paired() -> None:
    after = make_run([simple(HIGH)], provenance={"seeds": {"entropy": 1}})
    assert compare(make_run([simple(HIGH)]), after).pairs[0].difference is None


def test_runs_without_a_common_condition_are_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = simple(HIGH), simple(HIGH, name="Z2")
    a = saved(part(one, others=[other.claim]), tmp_path / "a.json")
    b = saved(part(other, left_out(one)), tmp_path / "b.json")
    assert main(["compare", a, b, "--report", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"ERROR: {a}")
    assert not (tmp_path / "out").exists()


# --- history ----------------------------------------------------------------------------------


def test_history_is_in_order_of_time_without_repetitions(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    runs = [day(n, make_run([simple(values)])) for n, values in ((3, LOW), (1, HIGH), (2, HIGH))]
    found = history(runs)
    assert [run.ended[8:10] for run in found.runs] == ["01", "03"]
    assert found.left_out == 1
    (line,) = found.lines
    assert (line.verdicts, line.steady) == ((S, R), False)
    first, last = line.drawing.marks
    assert first.x < last.x
    assert first.y < last.y  # a larger effect is higher up
    for run in runs:
        archive_run(run, store)
    assert main(["history", str(store.folder), "--report", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "history.html").exists()


def test_a_partial_run_without_news_is_left_out() -> None:
    one, other = simple(HIGH), simple(HIGH, name="Z2")
    runs = [
        make_run([one, other]),
        part(one, others=[other.claim]),
        make_run([one, other]),
        part(simple(LOW), left_out(other)),
    ]
    found = history([day(number, run) for number, run in enumerate(runs, start=1)])
    assert [run.ended[8:10] for run in found.runs] == ["01", "04"]
    assert [run.whole for run in found.runs] == [True, False]


SETTINGS: Sequence[dict[str, Any]] = (
    {},
    {"profile": "standard"},
    {"device": "cuda"},
    {"custom": {"images": "mine"}},
)


def test_a_line_of_history_has_one_setting() -> None:
    runs = [
        day(number, make_run([simple(values, layer="conv1")], **changes))
        for number, (values, changes) in enumerate(
            [(values, changes) for values in (LOW, HIGH) for changes in SETTINGS], start=1
        )
    ]
    lines = history(runs).lines
    assert [line.name for line in lines] == [
        "conv1 · quick on cpu",
        "conv1 · standard on cpu",
        "conv1 · quick on cuda",
        "conv1 · quick on cpu, images mine",
    ]
    assert {line.verdicts for line in lines} == {(R, S)}
    assert [line.name for line in history([runs[0], runs[4]]).lines] == ["conv1"]


def test_a_line_of_history_has_one_version_of_its_claim() -> None:
    runs = []
    for number, (value, margin) in enumerate([(0.1, 0.25), (0.9, 0.5), (0.9, 0.25)], start=1):
        judged = event("x exceeds it.", dataclasses.replace(PLAIN, above=margin))
        item = condition(make_claim("Z1", "It is so.", judged), {}, normal("x", value, 0.01))
        runs.append(day(number, make_run([item, simple(HIGH, name="Z2")])))
    found = [(line.claim, line.stated, len(line.drawing.marks)) for line in history(runs).lines]
    assert found == [("Z1", 1, 2), ("Z1", 2, 1), ("Z2", None, 3)]


# --- build ------------------------------------------------------------------------------------


def test_build_makes_the_same_report_without_slow_imports(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    run = full_run(store)
    folder = write_report(run, store, tmp_path / "written").parent
    archive_run(run, store)
    code = (
        "import sys; from reports.__main__ import main; "
        "status = main(sys.argv[1:]); slow = {'torch', 'scipy.stats', 'statsmodels'}; "
        "sys.exit(status or ', '.join(slow.intersection(sys.modules)) or 0)"
    )
    command = ["build", "--store", str(store.folder), "--report", str(tmp_path / "built")]
    subprocess.run([sys.executable, "-c", code, *command], cwd=ROOT, check=True)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "built").iterdir()} == files


def test_build_prefers_the_last_whole_run(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    one, other = simple(HIGH), simple(HIGH, name="Z2")
    partial = part(one, others=[other.claim])
    archive_run(day(1, partial), store)
    assert extent_text(latest(store.folder)) == "partial, 1 of 2 claims measured"
    archive_run(day(2, make_run([one, other])), store)
    archive_run(day(3, partial), store)
    assert latest(store.folder).ended.startswith("2026-01-02")
    assert extent_text(latest(store.folder)) == "whole"


def test_build_makes_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--store", str(tmp_path / "typo")]) == 2
    assert str(tmp_path / "typo") in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
