"""Image-steps per second of the article's descent, and the roofline of the machine.

No time is asserted: a busy machine makes a benchmark slow, not wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.cases import GPU, MORE, SELECTED, Case
from benchmarks.facts import throughput_facts
from benchmarks.loops.engine import Engine
from benchmarks.roofline import PeakRates
from benchmarks.tables import THROUGHPUT, Facts
from benchmarks.tasks import draw_tasks
from benchmarks.throughput import ROUNDS, Throughput
from harness.encoders.runtime import precision_of
from harness.execution.allocator import keep_freed_memory

pytest.importorskip("pytest_benchmark", reason="the benchmarks need pytest-benchmark")

pytestmark = pytest.mark.benchmark(group=THROUGHPUT)


@pytest.fixture(autouse=True, scope="module")
def freed_memory_is_kept() -> None:
    """As in the engine's workers, and for good: this runs after the comparisons with peers."""
    keep_freed_memory()


def _measure(benchmark: Any, case: Case, device: torch.device) -> dict[str, object]:
    with precision_of(case.precision, device=device) as precision:
        tasks = draw_tasks(case, precision=precision, device=device)
        loops = [Engine(task, case.decoder) for task in tasks]
        throughput = Throughput(loops, images=case.batch, device=device)
        peaks = PeakRates(case, dtype=precision.network, device=device)
        images = benchmark.pedantic(throughput.round, setup=peaks.measure, rounds=ROUNDS)
    assert torch.isfinite(images).all()
    return throughput_facts(case, throughput, peaks.roofline(), device=device)


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
