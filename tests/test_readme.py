"""The README's examples: they run as they are printed, and come to what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_suite import ROOT, Suite, environment

pytest_plugins = ("pytester",)

NUMBER = r"\d+\.\d+"


def example(part: str) -> tuple[str, list[str]]:
    """The block of Python that the README has below a heading, and the next indented lines."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, below = readme.partition(f"\n## {part}\n")
    _, program, after = re.split(r"^```(?:python)?\n", below, maxsplit=2, flags=re.MULTILINE)
    return program, re.findall(r"^    (.*)$", after.partition("\n## ")[0], flags=re.MULTILINE)


@pytest.mark.slow
def test_a_claim_of_ones_own(pytester: pytest.Pytester, tmp_path: Path) -> None:
    suite = Suite(pytester, tmp_path / "store")
    (suite.folder / "test_mine.py").write_text(example("Add a claim")[0])
    suite.run("test_mine.py").assert_outcomes(passed=1, failed=1)
    assert suite.verdicts() == {"M1": "mixed"}
    assert [verdict for _, verdict, _ in suite.conditions()] == ["supported", "refuted"]
    for (_, _, reason), count in zip(suite.conditions(), ("12 of 12", "none of 12"), strict=True):
        assert f"in {count} replicates" in reason


@pytest.mark.slow
def test_a_network_of_ones_own(tmp_path: Path) -> None:
    program, told = example("Invert a layer of your own network")
    script = tmp_path / "script.py"
    script.write_text(program)
    command = [sys.executable, "-W", "error", script]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    found = ran.stdout.splitlines()
    assert [re.sub(NUMBER, "", line) for line in found] == [re.sub(NUMBER, "", x) for x in told]
    # Rounding is a machine's own.
    numbers, expected = (
        [float(number) for line in lines for number in re.findall(NUMBER, line)]
        for lines in (found, told)
    )
    assert numbers
    assert numbers == pytest.approx(expected, rel=0.2, abs=0.01)
