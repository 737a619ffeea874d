"""Image-steps per second of the article's descent, next to the matrix-multiplication ceiling.

No time is asserted: a machine that is busy makes a benchmark slow, not wrong.
"""

from __future__ import annotations

import pytest
import torch

from benchmarks.cases import CASES, Case
from benchmarks.throughput import Reconstruction, Throughput

pytest.importorskip("pytest_benchmark", reason="the benchmarks need pytest-benchmark")

ROUNDS = 6
SECONDS = 0.2
"""Least time of a round: short ones find the quiet moments of a shared machine."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reconstruction(benchmark, case: Case, device: str, found: list[Throughput]) -> None:
    reconstruction = Reconstruction(case, device=device, seconds=SECONDS)
    copies = benchmark.pedantic(
        reconstruction.descend, setup=reconstruction.measure_ceiling, rounds=ROUNDS
    )
    assert torch.isfinite(copies).all()
    found.append(reconstruction.throughput())
    benchmark.extra_info.update(found[-1].extra_info())
