"""Image-steps per second of the article's descent, beside what the machine could do.

No time is asserted: a machine that is busy makes a benchmark slow, not wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.cases import GPU, MORE, SELECTED, Case
from benchmarks.limit import Ceilings, facts
from benchmarks.loops.engine import Engine
from benchmarks.pace import Pace, rounds
from benchmarks.profile import shares
from benchmarks.tables import THROUGHPUT, Facts
from benchmarks.tasks import draw_tasks
from harness.encoders.runtime import precision_of
from harness.execution.allocator import keep_freed_memory

pytest.importorskip("pytest_benchmark", reason="the benchmarks need pytest-benchmark")

pytestmark = pytest.mark.benchmark(group=THROUGHPUT)

LONGEST = 2.0
"""Seconds of a benchmark's rounds, unless the least number takes longer."""


@pytest.fixture(autouse=True, scope="module")
def kept() -> None:
    """Memory as the engine's workers keep it, for good: peers have had their turn without."""
    keep_freed_memory()


def _measure(benchmark: Any, case: Case, device: torch.device) -> dict[str, object]:
    with precision_of(case.precision, device=device) as precision:
        tasks = draw_tasks(case, precision=precision, device=device)
        loops = [Engine(task, case.decoder) for task in tasks]
        pace = Pace(loops, images=case.batch, device=device)
        ceilings = Ceilings(case, dtype=precision.network, device=device)
        copies = benchmark.pedantic(
            pace.round, setup=ceilings.measure, rounds=rounds(pace, longest=LONGEST)
        )
        profile = shares(loops[0], steps=pace.steps, device=device)
    assert torch.isfinite(copies).all()
    return {**facts(case, pace, ceilings.limit(), device=device), "profile": profile}


@pytest.mark.parametrize(
    "case", [*SELECTED, *(pytest.param(case, marks=pytest.mark.full) for case in MORE)], ids=str
)
def test_throughput(
    benchmark: Any, case: Case, device: torch.device, state: Callable[[Facts], None]
) -> None:
    state(_measure(benchmark, case, device))


@pytest.mark.cuda
@pytest.mark.parametrize("case", GPU, ids=str)
def test_throughput_of_a_gpu(
    benchmark: Any, case: Case, device: torch.device, state: Callable[[Facts], None]
) -> None:
    if device.type != "cuda":
        pytest.skip("takes minutes an image without a GPU (--device)")
    state(_measure(benchmark, case, device))
