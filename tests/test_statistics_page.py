"""`docs/statistics.md` says what the code does: its tables are recomputed, its sentences quoted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.claim import ALPHA, LOOKS, Kind
from harness.statistics import decision
from harness.statistics.calibration.worlds import worlds
from harness.statistics.sequential import boundaries, chances, tails

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first heading is this."""
    lines = PAGE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_the_boundaries_are_the_codes() -> None:
    for cells, (n, share), (_, supports, refutes) in zip(
        rows("n"), LOOKS, boundaries(), strict=True
    ):
        assert supports is not None
        assert [float(cell) for cell in cells[:5]] == pytest.approx(
            [n, share, share * ALPHA, supports, refutes]
        )
        for cell, events in ((cells[5], supports), (cells[6], supports - 1)):
            assert float(cell) == pytest.approx(tails(events, n, 0.5)[0], abs=5e-6)


def test_the_law_is_the_codes() -> None:
    for cells in rows("p"):
        p, *by_look, refuted, expected = map(float, cells)
        law = chances(p)
        assert by_look == pytest.approx([chance.supported for chance in law], abs=6e-5)
        assert refuted == pytest.approx(law[-1].refuted, abs=6e-5)
        going = [1 - chance.supported - chance.refuted for chance in law]
        assert expected == pytest.approx(12 + 12 * going[0] + 24 * going[1], abs=0.06)


def test_every_kind_is_explained() -> None:
    assert {cells[0].split(",")[0] for cells in rows("kind")} == set(Kind)


def test_what_the_code_quotes_is_on_the_page() -> None:
    source = Path(decision.__file__).read_text(encoding="utf-8")
    text = " ".join(re.sub(r"^\s*#", "", source, flags=re.MULTILINE).replace('"""', "").split())
    quoted = re.findall(r'"([^"]{15,}?)"', text)
    assert len(quoted) >= 6
    page = " ".join(PAGE.split())
    for sentence in quoted:
        assert sentence.strip(".,") in page, sentence


def test_the_number_of_worlds_is_right() -> None:
    assert f"{len(worlds())} worlds, 10,000 simulations each" in PAGE


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
    for name in re.findall(r"`(\w+\.py)`", PAGE):
        assert (ROOT / "harness" / "statistics" / name).exists(), name
    for name in re.findall(r"`(tests/\w+\.py)`", PAGE):
        assert (ROOT / name).exists(), name
    assert "docs/statistics.md" in (ROOT / "README.md").read_text(encoding="utf-8")
