"""The README's examples: they run as they are printed, and come to what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from plugin_suite import ROOT, Suite

pytest_plugins = ("pytester",)


def example(part: str) -> str:
    """The block of Python that the README has below a heading."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, below = readme.partition(f"\n## {part}\n")
    found = re.search(r"^```python\n(.*?)^```$", below, flags=re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.slow
def test_a_claim_of_ones_own(pytester: pytest.Pytester, tmp_path: Path) -> None:
    suite = Suite(pytester, tmp_path / "store")
    (suite.folder / "test_mine.py").write_text(example("How to add a claim"))
    suite.run("test_mine.py").assert_outcomes(passed=1, failed=1)
    assert suite.verdicts() == {"M1": "mixed"}
    assert [verdict for _, verdict, _ in suite.conditions()] == ["supported", "refuted"]
    assert "in 12 of 12 replicates" in suite.conditions()[0][2]
