"""Image-steps per second of the article's descent, next to the matrix-multiplication ceiling.

No time is asserted: a machine that is busy makes a benchmark slow, not wrong.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.cases import CASES, Case
from benchmarks.throughput import Reconstruction, Throughput

pytest.importorskip("pytest_benchmark", reason="the benchmarks need pytest-benchmark")

SECONDS = 0.15
"""Least time of a round: short ones find the quiet moments of a shared machine."""

LONGEST = 2.0
"""Time of a benchmark's rounds, unless three take longer."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reconstruction(benchmark: Any, case: Case, device: str, found: list[Throughput]) -> None:
    reconstruction = Reconstruction(case, device=device, seconds=SECONDS, longest=LONGEST)
    copies = benchmark.pedantic(
        reconstruction.descend, setup=reconstruction.measure_ceiling, rounds=reconstruction.rounds
    )
    assert torch.isfinite(copies).all()
    found.append(reconstruction.throughput())
    benchmark.extra_info.update(found[-1].extra_info())
