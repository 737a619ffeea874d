"""The plugin on tiny suites: verdicts, locks, exit codes, selection, plans, report, console."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import cast

import pytest
import torch
from PIL import Image
from plugin_suite import ALONE, ROOT, Suite, claim, environment, of, one_message, text

from claims.plugin import progress
from harness.lab.lab import Custom
from harness.plan.networks import ResNet, WeightsFile
from harness.subjects.resnet import build_resnet
from harness.verdict.lock import Entry, Lock, read_lock, write_lock
from harness.verdict.verdict import Verdict
from reports.documents.archive import latest

pytest_plugins = ("pytester",)

FILES = {
    "badge.svg",
    "citation.txt",
    "claims.csv",
    "claims.html",
    "claims.json",
    "claims.parquet",
    "replicates.csv",
    "replicates.parquet",
    "summary.md",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def suite(pytester: pytest.Pytester, store: Path) -> Suite:
    return Suite(pytester, store)


# Verdicts and exit codes


@pytest.mark.parametrize(
    ("verdict", "outcomes", "code"),
    [
        ("supported", {"passed": 1}, 0),
        ("refuted", {"failed": 1}, 1),
        ("inconclusive", {"skipped": 1}, 0),
        ("invalid", {"skipped": 1}, 0),
    ],
)
def test_a_verdict_without_a_lock(
    suite: Suite, verdict: str, outcomes: dict[str, int], code: int
) -> None:
    result = suite.write(test_z=of(verdict)).run("-v", "-rs")
    result.assert_outcomes(**outcomes)
    assert result.ret == code
    assert suite.verdicts() == {"Z1": verdict}
    result.stdout.re_match_lines([rf"test_z.py::test_{verdict}_1 {verdict.upper()}\b.*"])
    # The table that ends a run.
    result.stdout.re_match_lines([rf".*\b{verdict}\b.*", r"1 claim: 1 " + verdict])
    for source_code in ("Traceback", "def test_", "pytest.fail"):
        assert source_code not in text(result)


def test_what_is_not_selected_is_not_run(suite: Suite) -> None:
    result = suite.write(test_z=of("supported", "refuted")).run("-k", "supported")
    result.assert_outcomes(passed=1, deselected=1)
    assert result.ret == 0
    assert [(name, verdict) for name, verdict, _ in suite.conditions()] == [
        ("Z1", "supported"),
        ("Z2", "not run"),
    ]
    assert suite.conditions()[1][2] == "not selected"
    result.stdout.fnmatch_lines(["1 claim: 1 supported", "1 other not selected: Z2"])
    result.stdout.no_fnmatch_line("Z2*")


def test_nothing_selected_writes_nothing_and_names_the_claims(suite: Suite) -> None:
    result = suite.write(test_z=of("supported", "refuted")).run("-k", "absent")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not suite.report.exists()
    result.stdout.fnmatch_lines(["Nothing was selected. The claims here: Z1 Z2"])


def test_a_partial_run_is_told_from_the_last_whole_one(suite: Suite) -> None:
    suite.store = suite.folder / "fresh"
    suite.write(test_z=of("supported", "inconclusive"))
    result = suite.run()
    assert result.outlines[-2] == f"report: {suite.report / 'claims.html'}"
    result = suite.run("-k", "supported")
    result.stdout.fnmatch_lines(
        [
            "report: *claims.html (of a partial run)",
            f"that of the last whole run again: python -m reports build --store {suite.store} *",
        ]
    )
    assert latest(suite.store).whole


def test_what_is_not_testable_stays_so_whatever_is_selected(suite: Suite) -> None:
    body = """
    from harness.claim import Claim, untestable

    def test_taste(lab):
        lab.record(Claim(
            id="Z2", statement="S.", section="S", method="M.", estimands={"x": untestable("T.")}
        ))

    def test_it(lab):
        judge(lab, claim("Z1"), "supported")
    """
    suite.write(test_z=body).run("-k", "test_it")
    assert suite.verdicts() == {"Z1": "supported", "Z2": "not testable"}
    assert suite.conditions()[1] == ("Z2", "not testable", "not selected")


def test_workers_that_cannot_be_had_end_the_run_before_it_has_a_report(suite: Suite) -> None:
    suite.store = suite.folder / "fresh"
    process = suite.write(test_z=of("supported", "refuted")).start("--executor=dask:nohost")
    said, _ = process.communicate()
    assert process.returncode == pytest.ExitCode.USAGE_ERROR, said
    assert "--executor dask:nohost: no scheduler of Dask answers there" in said
    assert not any(suite.report.iterdir())
    assert not [path for path in suite.store.rglob("*") if path.is_file()]


def test_x_ends_at_the_first_refutation(suite: Suite) -> None:
    result = suite.write(test_z=of("supported", "refuted", "supported")).run("-x")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == 1
    assert suite.conditions()[2] == ("Z3", "not run", "the run ended before")


def test_headlines_come_first_and_can_be_selected(suite: Suite) -> None:
    body = """
    def test_aside(lab):
        judge(lab, claim("Z1"), "supported")

    def test_main(lab):
        judge(lab, claim("Z2", headline="relu"), "supported")
    """
    suite.write(test_z=body)
    result = suite.run("-v")
    result.stdout.fnmatch_lines(["*::test_main SUPPORTED*", "*::test_aside SUPPORTED*"])
    result = suite.run("-m", "headline")
    result.assert_outcomes(passed=1, deselected=1)
    assert suite.verdicts() == {"Z1": "not run", "Z2": "supported"}


def test_an_exploratory_condition_fails_nothing(suite: Suite) -> None:
    body = """
    def test_it(lab):
        judge(lab, claim("Z1"), "supported")

    @pytest.mark.parametrize("kind", ["refuted"])
    def test_other(lab, kind):
        judge(lab, claim("Z1"), kind, confirmatory=False)
    """
    suite.locked.parent.mkdir()
    result = suite.write(test_z=body).run("-rs", "--update-verdicts")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["REFUTED *: refuted: * (exploratory, decides nothing)"])
    assert set(tomllib.loads(suite.locked.read_text())["quick"]) == {"Z1"}


def test_an_ordinary_failure_stays_one(suite: Suite) -> None:
    body = """
    def test_broken(lab):
        lab.judge(claim("Z1"), cells=lambda seeds: {}, effects=lambda seen: {"x": 1 / 0})

    def test_broken_cells(lab):
        lab.judge(claim("Z2"), cells=lambda seeds: {"a": 1 / 0}, effects=lambda seen: {})

    def test_skipped(lab):
        pytest.skip("needs something")

    def test_fine(lab, tmp_path):
        judge(lab, claim("Z3"), "supported")
    """
    result = suite.write(test_z=body).run("-rs")
    result.assert_outcomes(failed=2, skipped=1, passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*ZeroDivisionError*"])
    error = "an error ended its test (ZeroDivisionError: division by zero)"
    assert suite.conditions() == [
        ("Z1", "not run", error),
        ("Z2", "not run", error),
        ("Z3", "supported", suite.conditions()[2][2]),
    ]


MISTAKES = """
from harness.plan.cells import ActiveUnits, Inversion
from harness.plan.decoders import Descent
from harness.plan.images import Images
from harness.plan.networks import MLP

IMAGES = Images(pixels=8, channels=1, source="digits")

def units(seeds, **settings):
    return {"layer": ActiveUnits(seeds=seeds, images=IMAGES, **settings)}

def test_value(lab):
    lab.judge(claim("Z1"), cells=units, effects=lambda seen: {"x": seen["layer"].values["unit"]})

def test_effect(lab):
    lab.judge(claim("Z2"), cells=units, effects=lambda seen: {"y": 1.0})

def test_replicates(lab):
    lab.judge(claim("Z3"), cells=units, effects=lambda seen: {"x": 1.0}, max_replicates=0)

def test_layer(lab):
    lab.judge(
        claim("Z4"),
        cells=lambda seeds: {"a": Inversion(
            seeds=seeds, network=lab.resnet("resnet18", "layer9"), images=IMAGES,
            decoder=Descent(), iterations=1,
        )},
        effects=lambda seen: {"x": 1.0},
    )

def test_network(lab):
    lab.judge(
        claim("Z5"),
        cells=lambda seeds: {"a": Inversion(
            seeds=seeds, network=print, images=IMAGES, decoder=Descent(), iterations=1
        )},
        effects=lambda seen: {"x": 1.0},
    )

def test_unit(lab):
    network = MLP(inputs=1, widths=(1,), activation="rleu")

def test_fine(lab):
    judge(lab, claim("Z7"), "supported")
"""


def test_a_mistake_in_a_claim_fails_that_test_alone_in_one_line(suite: Suite) -> None:
    result = suite.write(test_z=MISTAKES).run()
    result.assert_outcomes(failed=6, passed=1)
    assert result.ret == 1
    for parts in (
        ("Z1: 'unit': ", "needed"),
        ("Z2: 'x': ", "Choose y"),
        ("max_replicates=0 of Z3: ",),
        ("Z4: 'layer9': ", "Choose layer4"),
        ("Z5: network=<built-in function print> of Inversion: ", "ResNet"),
        ("'rleu': ", "Choose relu"),
    ):
        said = [line for line in result.outlines if line.startswith(parts[0])]
        assert len(said) == 1
        assert all(part in said[0] for part in parts)
    result.stdout.no_fnmatch_line("During handling*")
    # No source code either, which pytest shows where a test fails.
    assert not any(line.startswith((">", "E  ")) for line in result.outlines)
    reasons = {name: reason for name, _, reason in suite.conditions()}
    assert "'unit'" in reasons["Z1"]
    assert "'layer9'" in reasons["Z4"]


@pytest.mark.slow
def test_a_test_that_measures_and_breaks_does_not_hang_the_next(suite: Suite) -> None:
    body = """
    from harness.plan.cells import ActiveUnits
    from harness.plan.images import Images

    CELLS = lambda seeds: {"a": ActiveUnits(
        seeds=seeds, images=Images(pixels=8, channels=1, source="digits"), initialisation="absent"
    )}

    @pytest.mark.parametrize("number", [1, 2])
    def test_broken(lab, number):
        lab.judge(claim(f"Z{number}"), cells=CELLS, effects=lambda seen: {"x": 1.0})
    """
    suite.write(test_z=body)
    process = suite.start()
    try:
        output, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 1, output
    assert "2 failed" in output


# Locks


@pytest.mark.parametrize(
    ("locked", "now", "outcome", "code"),
    [
        ("refuted", "refuted", "xfailed", 0),
        ("supported", "supported", "passed", 0),
        ("supported", "refuted", "failed", 1),
        ("supported", "inconclusive", "skipped", 0),
    ],
)
def test_a_verdict_with_a_lock(
    suite: Suite, locked: str, now: str, outcome: str, code: int
) -> None:
    suite.lock(locked)
    result = suite.write(test_z=of(now)).run("-v")
    result.assert_outcomes(**{outcome: 1})
    assert result.ret == code
    result.stdout.re_match_lines([rf"test_z.py::test_{now}_1 {now.upper()}\b.*"])
    warned = any(line.startswith("warning:") for line in result.outlines)
    assert warned == (outcome == "skipped")


def test_what_the_lock_says_of_many_conditions_is_one_warning(suite: Suite) -> None:
    changed = claim("Z1", margin=0.5).digest
    supported = Entry(verdict=Verdict.SUPPORTED, claim=changed)
    keys = ["Z1 size=1", "Z1 size=2", "Z1 size=3", "Z9"]
    suite.locked.parent.mkdir()
    write_lock(Lock(profiles={"quick": dict.fromkeys(keys, supported)}), suite.locked)
    suite.write(test_z=SIZES.format(sizes=[1, 2]))
    said = [line for line in suite.run().outlines if line.startswith("warning:")]
    assert len(said) == 2
    assert "Z1 size 1 (supported), Z1 size 2 (supported); lock the new" in said[0]
    assert "no claim has these locked conditions: Z1 size=3, Z9; --update-verdicts" in said[1]
    # What a run did not collect, or was not asked for, it does not miss.
    said = [line for line in suite.run("-k", "1").outlines if line.startswith("warning:")]
    assert len(said) == 1


def test_update_verdicts_judges_by_the_former_lock_and_shows_what_changed(suite: Suite) -> None:
    suite.lock("supported")
    suite.write(test_z=of("refuted", "inconclusive"))
    result = suite.run("--update-verdicts")
    result.assert_outcomes(failed=1, skipped=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "claims/verdicts.toml:",
            "~ quick: Z1: supported -> refuted, x -1 *",
            "+ quick: Z2: inconclusive, *",
        ]
    )
    # Once locked, the same run is as expected, and updating changes nothing.
    result = suite.run("--update-verdicts")
    result.assert_outcomes(xfailed=1, skipped=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["nothing has changed"])


def test_a_store_within_another_suite_leaves_that_suites_lock_alone(
    suite: Suite, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "conftest.py").write_text('pytest_plugins = ("claims.plugin.hooks",)\n')
    (other / "claims").mkdir()
    store = other / "store"
    store.mkdir()
    suite.write(test_z=of("supported"))
    suite.locked.parent.mkdir()
    suite.run("--update-verdicts", "--store", str(store), str(suite.folder))
    assert suite.locked.exists()
    (found,) = json.loads((suite.report / "claims.json").read_text())["claims"]
    assert found["conditions"][0]["evidence"]["command"].startswith("pytest test_z.py::")
    assert not (other / "claims" / "verdicts.toml").exists()


def test_a_foreign_subject_is_judged_by_no_lock_and_locks_nothing(suite: Suite) -> None:
    body = """
    def test_refuted(lab):
        judge(lab, claim("Z1"), "refuted", external_weights=True)
    """
    suite.lock("supported")
    before = suite.locked.read_text()
    result = suite.write(test_z=body).run("-rs", "--update-verdicts")
    result.assert_outcomes(skipped=1)
    assert suite.locked.read_text() == before


SIZES = """
@pytest.mark.parametrize("size", {sizes})
def test_sizes(lab, size):
    judge(lab, claim("Z1"), "supported")
"""


def test_update_verdicts_drops_conditions_that_are_gone(suite: Suite) -> None:
    suite.locked.parent.mkdir()
    suite.write(test_z=SIZES.format(sizes=[1, 2, 3])).run("--update-verdicts")
    suite.write(test_z=SIZES.format(sizes=[1, 2]))
    # A run that collects a part cannot know what is gone; one that runs a part keeps the rest.
    for selection in (["test_z.py::test_sizes[1]"], ["-k", "1"]):
        assert len(read_lock(suite.locked).profiles["quick"]) == 3
        suite.run("--update-verdicts", *selection)
    assert len(read_lock(suite.locked).profiles["quick"]) == 2


def test_a_run_that_ends_early_locks_nothing(suite: Suite) -> None:
    suite.locked.parent.mkdir()
    suite.write(test_z=of("refuted", "supported")).run("--update-verdicts", "-x")
    assert not suite.locked.exists()


def test_the_lock_is_that_of_the_profile(suite: Suite) -> None:
    suite.lock("refuted")
    result = suite.write(test_z=of("supported")).run("--profile", "standard")
    result.assert_outcomes(passed=1)


# The user's own subjects


def test_a_custom_run_ignores_locks_and_only_reports(suite: Suite) -> None:
    images = suite.folder / "images"
    images.mkdir()
    Image.new("RGB", (20, 20), "red").save(images / "a.png")
    suite.lock("refuted")
    suite.write(test_z=of("supported", "refuted"))
    result = suite.run("--images", "images", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*is locked*")
    run = json.loads((suite.report / "claims.json").read_text())["run"]
    assert str(images) in json.dumps(run)


def test_the_users_network_takes_the_place_of_a_tests_own(suite: Suite) -> None:
    body = """
    @pytest.mark.networks("resnet50", "resnet18")
    def test_it(lab, network):
        judge(lab, claim("Z1"), "supported")
    """
    suite.write(test_z=body)
    result = suite.run("--co", "-q")
    result.stdout.fnmatch_lines(["*[[]resnet50]", "*[[]resnet18]"])
    result = suite.run("-v", "--network", "resnext50_32x4d")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*::test_it[[]resnext50_32x4d] SUPPORTED*"])
    command = json.loads((suite.report / "claims.json").read_text())["claims"][0]["conditions"][0]
    assert "--network resnext50_32x4d" in json.dumps(command)


OWN = """
from harness.plan.cells import ZeroUnits

def state(lab, name, network):
    images = lab.photographs(pixels=32)
    lab.judge(
        claim(name),
        cells=lambda seeds: {"zeros": ZeroUnits(seeds=seeds, network=network, images=images)},
        effects=lambda seen: {"x": 1.0},
        max_replicates=1,
    )

def test_its_own(lab):
    state(lab, "Z1", lab.resnet("resnet18", "stem"))

@pytest.mark.networks("resnet50")
def test_marked(lab, network):
    state(lab, "Z2", lab.resnet(network, "stem"))

@pytest.mark.networks("resnet50")
def test_marked_in_vain(lab, network):
    state(lab, "Z3", lab.resnet("resnet18", "stem"))

def test_none(lab):
    judge(lab, claim("Z4"), "supported", max_replicates=1)
"""


class TestWhatWasMeasuredWithTheUsersOwn:
    """A report names the user's network with the conditions alone that were measured with it."""

    def measured(self, suite: Suite) -> dict[str, tuple[list[str], str]]:
        """What each claim was measured with, and the command that measures it again."""
        return {
            found["id"]: (condition["evidence"]["custom"], condition["evidence"]["command"])
            for found in json.loads((suite.report / "claims.json").read_text())["claims"]
            for condition in found["conditions"]
        }

    def custom(self, suite: Suite) -> dict[str, str]:
        document = json.loads((suite.report / "claims.json").read_text())
        return cast(dict[str, str], document["run"]["custom"])

    @pytest.fixture
    def suite(self, suite: Suite) -> Suite:
        return suite.write(test_z=OWN)

    def test_a_network_and_its_weights(self, suite: Suite) -> None:
        network = build_resnet(ResNet(name="resnet34", layer="conv1"), seed=0)
        torch.save(network.state_dict(), suite.folder / "w.pt")
        result = suite.run("--network", "resnet34", "--weights", "w.pt")
        result.assert_outcomes(failed=1, skipped=3)
        (said,) = (line for line in result.outlines if line.startswith("Z3 resnet34: "))
        assert "network=resnet34" in said
        assert "resnet18" in said
        found = self.measured(suite)
        assert {name: used for name, (used, _) in found.items()} == {
            "Z1": [],
            "Z2": ["network", "weights"],
            "Z3": [],
            "Z4": [],
        }
        for option in ("--network resnet34", "--weights"):
            assert {name for name, (_, command) in found.items() if option in command} == {
                "Z2",
                "Z3",  # which was not measured
            }
        assert self.custom(suite)["network"] == "resnet34"
        told = "resnet34 (in 1 of 3 conditions)"
        result.stdout.fnmatch_lines([f"depth-claims * network {told}*"])
        for name in ("claims.html", "summary.md"):
            assert told in (suite.report / name).read_text()

    def test_what_nothing_was_measured_with_is_no_label_and_told(self, suite: Suite) -> None:
        result = suite.run("--network", "resnet34", "-k", "own or none")
        result.assert_outcomes(skipped=2, deselected=2)
        assert self.custom(suite) == {}
        result.stdout.no_fnmatch_line("depth-claims *resnet34*")
        result.stdout.fnmatch_lines(["warning: --network resnet34: nothing that was measured *"])

    def test_images(self, suite: Suite) -> None:
        images = suite.folder / "images"
        images.mkdir()
        Image.new("RGB", (40, 40), "red").save(images / "a.png")
        suite.run("--images", "images", "-k", "own or none")
        assert self.custom(suite).keys() == {"images"}
        used = self.measured(suite)
        assert (used["Z1"][0], used["Z4"][0]) == (["images"], [])

    def test_a_resnet_of_another_name_never_has_the_users_weights(self) -> None:
        weights = WeightsFile(sha256="0" * 64, path=Path("w.pt"))
        custom = Custom(network="resnet18", weights=weights)
        assert custom.resnet("resnet18", "conv1").weights == weights
        assert custom.resnet("resnet34", "conv1").weights is None


# Without measuring


def test_a_plan_measures_and_writes_nothing(suite: Suite) -> None:
    suite.store = suite.folder / "fresh"
    suite.write(test_z=of("supported", "inconclusive"))
    result = suite.run("--plan")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "Z1: 12 cells, about *, at most 48 cells, about *",
            "Z2: 12 cells*",
            "times are for one core of a processor of about 2020*",
            "in all*: 12 cells*",
        ]
    )
    assert not suite.store.exists()
    assert not suite.report.exists()
    suite.run("-k", "inconclusive")
    result = suite.run("--plan")
    result.stdout.fnmatch_lines(["Z1: nothing", "Z2: nothing", "in all*: nothing"])


@pytest.mark.parametrize(("profile", "cells"), [("quick", 12), ("standard", 12 + 6 * 6)])
def test_quick_has_no_crossed_block(suite: Suite, profile: str, cells: int) -> None:
    suite.store = suite.folder / "fresh"
    body = """
    def test_it(lab):
        judge(lab, claim("Z1"), "supported", family="a family", max_replicates=12)
    """
    suite.write(test_z=body)
    result = suite.run("--plan", "--profile", profile)
    result.stdout.fnmatch_lines([f"Z1: {cells} cells, about *"])


@pytest.mark.parametrize("words", [("--collect-only",), ("--setup-plan",), ("--fixtures",)])
def test_pytests_own_ways_to_look_leave_no_trace(suite: Suite, words: tuple[str, ...]) -> None:
    suite.store = suite.folder / "fresh"
    result = suite.write(test_z=of("supported")).run(*words)
    assert result.ret == 0
    assert not suite.store.exists()
    assert not suite.report.exists()
    result.stdout.no_fnmatch_line("*= claims =*")


def test_tests_without_claims_are_left_alone(suite: Suite) -> None:
    suite.locked.parent.mkdir()
    suite.locked.write_text("not a lock")
    suite.store = suite.folder / "fresh"
    result = suite.write(test_other="def test_it(): pass").run("-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*::test_it PASSED*"])
    result.stdout.no_fnmatch_line("*= claims =*")
    assert not suite.store.exists()
    assert not suite.report.exists()


@pytest.mark.parametrize("broken", ["import absent_module", "def test_a(lab)"])
def test_a_broken_file_ends_the_run_before_anything_is_measured(suite: Suite, broken: str) -> None:
    suite.write(test_a=broken, test_z=of("supported"))
    for words in ((), ("--plan",)):
        result = suite.run(*words)
        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines(["ERROR test_a.py*", "*nothing ran: mend it, or move it away*"])
        assert not suite.report.exists()


def test_claims_run_despite_a_broken_file_where_that_is_asked_for(suite: Suite) -> None:
    go_on = "--continue-on-collection-errors"
    suite.write(test_a="import absent_module", test_z=of("supported"))
    result = suite.run(go_on, "--plan")
    result.stdout.fnmatch_lines(["Z1: *"])
    assert not suite.report.exists()
    result = suite.run(go_on)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR test_a.py*"])
    assert suite.verdicts() == {"Z1": "supported"}


# The report and the console


def test_the_report_is_there_and_a_second_run_measures_nothing(suite: Suite) -> None:
    suite.store = suite.folder / "fresh"
    suite.write(test_z=of("supported", "inconclusive"))
    result = suite.run()
    result.stdout.fnmatch_lines(["48 cells measured, 0 reused*", f"report: {suite.report}*.html"])
    assert {path.name for path in suite.report.iterdir()} == FILES
    records = suite.store / "records"
    before = {path: path.stat().st_mtime_ns for path in records.rglob("*.json")}
    assert len(before) == 48
    result = suite.run()
    result.stdout.fnmatch_lines(["0 cells measured, 48 reused*"])
    assert before == {path: path.stat().st_mtime_ns for path in records.rglob("*.json")}
    assert len(list((suite.store / "runs").iterdir())) == 2


def test_junit_has_the_verdict_and_every_effect(suite: Suite) -> None:
    body = """
    from harness.plan.cells import ActiveUnits
    from harness.claim import Claim, Criterion, conjunction
    from harness.plan.images import Images

    def test_both(lab):
        both = conjunction(
            "x and y", *(Criterion(effect=e, label=e, above=0.0, null=0.0) for e in "xy")
        )
        stated = Claim(id="Z1", statement="S.", section="S", method="M.", estimands={"both": both})
        images = Images(pixels=8, channels=1, source="digits")
        lab.judge(
            stated,
            cells=lambda seeds: {"layer": ActiveUnits(seeds=seeds, images=images)},
            effects=lambda _: {"x": 1.0, "y": 2.0},
        )
    """
    suite.write(test_z=body).run("--junitxml=junit.xml")
    (case,) = ET.parse(suite.folder / "junit.xml").iter("testcase")
    found = {entry.get("name"): entry.get("value") for entry in case.iter("property")}
    assert (found["claim"], found["verdict"], found["n"]) == ("Z1", "supported", "12")
    assert (found["effect x"], found["effect y"]) == ("1.0", "2.0")
    assert found["interval x"] == "1 to 1 at 0.998"
    assert found["in words y"] == "y is 2.00 [2.00, 2.00]"


def test_quiet_is_short(suite: Suite) -> None:
    result = suite.write(test_z=of("supported", "inconclusive")).run("-q")
    assert len(result.outlines) < 12
    assert "2 claims: 1 supported, 1 inconclusive" in result.outlines
    assert result.outlines[0].startswith(".s")


def test_a_condition_is_stated_once(suite: Suite) -> None:
    body = """
    def test_one(lab):
        judge(lab, claim("Z1"), "supported")

    def test_other(lab):
        judge(lab, claim("Z1"), "refuted")
    """
    one_message(suite.write(test_z=body).run(), "test_other", "'Z1'", "test_one")
    body = """
    def test_two(lab):
        judge(lab, claim("Z1"), "supported")
        judge(lab, claim("Z2"), "supported")
    """
    one_message(suite.write(test_z=body).run(), "test_two", "this one states 2")


NO_TORCH = """
import sys

def pytest_unconfigure():
    found = {"torch", "torchvision", "jax"} & sys.modules.keys()
    print("imported:", *sorted(found))
"""


def test_planning_the_claims_imports_no_torch(tmp_path: Path) -> None:
    assert "imported:\n" in run_watched(tmp_path, "claims/", "-k", "e2 and 3", "--plan")


@pytest.mark.slow
def test_a_run_from_a_full_store_imports_no_torch(tmp_path: Path) -> None:
    words = ("claims/test_lower_bounds.py", "-k", "16 and default")
    output = run_watched(tmp_path, *words, "--executor=serial")
    assert "imported: torch torchvision\n" in output
    output = run_watched(tmp_path, *words)
    assert "0 cells measured" in output
    assert "imported:\n" in output


def run_watched(folder: Path, *words: str) -> str:
    (folder / "watch_torch.py").write_text(NO_TORCH)
    found = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "watch_torch", "-p", "no:cacheprovider"),
            *(f"--store={folder / 's'}", f"--report={folder / 'r'}", "--assert=plain", *words),
        ],
        cwd=ROOT,
        env={**os.environ, **dict([ALONE]), "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout + "\n"


# Progress


def in_terminal(suite: Suite, *words: str) -> str:
    """What a run writes to a terminal of 100 columns."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "pytest", *suite.arguments(*words)]
    variables = environment(TERM="xterm")
    variables.pop("COLUMNS", None)
    process = subprocess.Popen(
        command, cwd=suite.folder, env=variables, stdin=child, stdout=child, stderr=child
    )
    os.close(child)
    written = b""
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not chunk:
            break
        written += chunk
    process.wait()
    os.close(parent)
    return written.decode()


@pytest.mark.slow
def test_a_terminal_gets_a_bar_that_leaves_pytests_lines_whole(suite: Suite) -> None:
    suite.store = suite.folder / "fresh"
    suite.write(test_z=of("supported", "inconclusive"))
    written = in_terminal(suite)
    assert re.search(r"\d+/12 cells, about \d+ s left, next Z1", written)
    # The bar lies between saving the place on pytest's line and going back to it.
    kept = re.sub(r"\x1bD\x1b\[A\x1b7.*?\x1b8", "", written, flags=re.DOTALL)
    plain = re.sub(r"\x1b\[[0-9;]*[mK]", "", kept).replace("\r", "")
    assert re.search(r"^test_z\.py \.s +\[100%\]$", plain, flags=re.MULTILINE)
    assert "cells, about" not in plain


@pytest.fixture
def told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)


def test_elsewhere_a_line_says_how_far_it_is(suite: Suite, told_at_once: None) -> None:
    suite.store = suite.folder / "fresh"
    result = suite.write(test_z=of("supported", "inconclusive")).run("-v")
    result.stdout.re_match_lines([r"\d+/12 cells, about \d+ s left, next Z1 *"])
    more = r"\d+/24 cells, about \d+ s left, next Z2, 12 of them for its further look *"
    result.stdout.re_match_lines([more])
    # The verdict stands on a line that names its test.
    result.stdout.re_match_lines([r"test_z.py::test_supported_1 SUPPORTED .*"])


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (185, "3 min 5 s")]
)
def test_time_left(seconds: float, words: str) -> None:
    assert progress.time_left(seconds) == words
