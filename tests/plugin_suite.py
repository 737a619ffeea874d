"""Tiny suites of claims for the tests of the plugin: cells of a millisecond, effects as told."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sklearn.datasets
from small_cells import Gate

# Imported here once: pytester forgets what a run imports, and torch cannot be imported twice.
import claims.plugin.hooks
import harness.execution.worker
import harness.subjects.resnet
from harness.claim import Claim, Criterion, event
from harness.lab.lab import Lab
from harness.plan.cells import ActiveUnits, Cell
from harness.plan.images import Images
from harness.plan.seeds import ReplicateSeeds
from harness.store import Record
from harness.verdict.lock import Entry, Lock, Locked, write_lock
from harness.verdict.verdict import Verdict

ROOT = Path(__file__).resolve().parents[1]

GATE, FIRST = "HELD_CELLS_GATE", "HELD_CELLS_FIRST"
"""Variables that `held_cells` reads."""

KEPT = (claims.plugin.hooks, harness.subjects.resnet, harness.execution.worker, sklearn.datasets)
"""What would otherwise be imported by every run anew."""

ALONE = ("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
"""Other plugins take longer to load than these runs."""

EFFECTS: Mapping[str, Callable[[int], float]] = {
    "supported": lambda _: 1.0,
    "refuted": lambda _: -1.0,
    "inconclusive": lambda replicate: float((-1) ** replicate),
    "invalid": lambda _: math.nan,
}
"""Effects of a replicate by the verdict that they lead to."""


def claim(name: str, *, headline: str | None = None, margin: float = 0.0) -> Claim:
    """A claim that x exceeds a margin."""
    return Claim(
        id=name,
        statement="It is so.",
        section="A section",
        method="Units are counted.",
        estimands={
            "x": event("x exceeds it.", Criterion(effect="x", label="x", above=margin, null=0.0))
        },
        headline=headline,
    )


def judge(lab: Lab, stated: Claim, verdict: str, **options: Any) -> None:
    """State a condition that comes to a verdict; all share their cells."""

    def cells(seeds: ReplicateSeeds) -> Mapping[str, Cell]:
        images = Images(pixels=8, channels=1, source="digits")
        return {"layer": ActiveUnits(seeds=seeds, images=images)}

    def effects(seen: Mapping[str, Record]) -> Mapping[str, float]:
        seeds: Any = seen["layer"].cell["seeds"]
        return {"x": EFFECTS[verdict](seeds["replicate"])}

    lab.judge(stated, cells=cells, effects=effects, **options)


TWO_CLAIMS = """
from harness.plan.cells import ActiveUnits
from harness.plan.images import Images

@pytest.mark.parametrize("rows", [6, 7])
def test_it(lab, rows):
    lab.judge(
        claim("Z1"),
        cells=lambda seeds: {"layer": ActiveUnits(
            seeds=seeds, images=Images(pixels=8, rows=rows)
        )},
        effects=lambda seen: {"x": 1.0},
    )
"""
"""Two conditions that share no cell."""


def of(*verdicts: str, **options: object) -> str:
    """A suite with one claim per verdict: Z1, Z2 and so on."""
    return "".join(
        f"def test_{verdict}_{number}(lab):\n"
        f"    judge(lab, claim('Z{number}', **{options!r}), {verdict!r})\n"
        for number, verdict in enumerate(verdicts, start=1)
    )


class Suite:
    """A suite of claims in a folder of its own, and runs of it.

    Parameters
    ----------
    pytester : pytest.Pytester
        Of the test.
    store : Path
        Cells of all suites are the same, so that suites may share a store.
    """

    def __init__(self, pytester: pytest.Pytester, store: Path) -> None:
        self.pytester = pytester
        self.store = store
        self.folder = pytester.path
        self.report = pytester.path / "report"
        self.locked = pytester.path / "claims" / "verdicts.toml"
        pytester.makeconftest('pytest_plugins = ("claims.plugin.hooks",)')
        pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n")

    def write(self, **files: str) -> Suite:
        """Write files of tests, by name."""
        head = "import pytest\nfrom plugin_suite import claim, judge, EFFECTS\n\n"
        self.pytester.makepyfile(
            **{name: head + textwrap.dedent(body) for name, body in files.items()}
        )
        return self

    def lock(self, verdict: str, *, of: Claim | None = None, **limits: float) -> None:
        """Lock a verdict of claim Z1, whose effect was x."""
        digest = (of or claim("Z1")).digest
        effects = {"x": Locked(**limits)} if limits else {}
        entry = Entry(verdict=Verdict(verdict), claim=digest, effects=effects)
        self.locked.parent.mkdir(exist_ok=True)
        write_lock(Lock(profiles={"quick": {"Z1": entry}}), self.locked)

    def arguments(self, *words: str) -> list[str]:
        """Those of a run; what `words` say comes last and wins."""
        return [
            *("--executor=serial", "--device=cpu", f"--store={self.store}"),
            *(f"--report={self.report}", "-p", "no:cacheprovider", "--assert=plain", *words),
        ]

    def run(self, *words: str) -> pytest.RunResult:
        """Run in this process."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(*ALONE)
            return self.pytester.runpytest_inprocess(*self.arguments(*words))

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *self.arguments(*words)],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def start_held(self, gate: Gate, *words: str) -> subprocess.Popen[str]:
        """Start a process in a session of its own, whose workers wait for a gate."""
        variables = {GATE: str(gate.folder), FIRST: str(gate.first)}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            return self.start("-p", "held_cells", *words, start_new_session=True)

    def conditions(self) -> list[tuple[str, str, str]]:
        """Claim, verdict and reason of each condition that the report tells of."""
        document = json.loads((self.report / "claims.json").read_text())
        return [
            (found["id"], condition["verdict"], condition["reason"])
            for found in document["claims"]
            for condition in found["conditions"]
        ]

    def verdicts(self) -> dict[str, str]:
        """Verdicts of the claims in the report."""
        document = json.loads((self.report / "claims.json").read_text())
        return {found["id"]: found["verdict"] for found in document["claims"]}


def environment(**variables: str) -> dict[str, str]:
    """That of a process in which a suite runs."""
    path = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    return {**os.environ, **dict([ALONE]), "PYTHONPATH": path, **variables}


def text(result: pytest.RunResult) -> str:
    """Everything that a run said, without the folding of lines."""
    return " ".join(line for line in [*result.outlines, *result.errlines])


def one_message(result: pytest.RunResult, *parts: str) -> None:
    """Assert that a run ended as a wrong option does, in one message with these parts."""
    said: Sequence[str] = [line for line in result.outlines + result.errlines if "ERROR" in line]
    assert result.ret == pytest.ExitCode.USAGE_ERROR, text(result)
    assert len(said) == 1, text(result)
    for part in parts:
        assert part in said[0]
    assert "Traceback" not in text(result)
    assert "INTERNALERROR" not in text(result)
    # No source code either, which pytest shows where a test fails.
    assert not any(line.startswith(">") for line in result.outlines)
