"""How long the Jacobian of a layer and its singular value decomposition take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.cases import Case, resnet
from benchmarks.facts import case_facts
from benchmarks.peak_rate import synchronize
from benchmarks.tables import SPECTRUM, Facts
from benchmarks.tasks import Task, draw_tasks
from harness.encoders.runtime import precision_of
from harness.encoders.spectrum import decompose, jacobian

pytest.importorskip("pytest_benchmark", reason="the benchmarks need pytest-benchmark")

pytestmark = pytest.mark.benchmark(group=SPECTRUM)

CASES = (resnet("resnet18", "layer2", pixels=32, batch=1, precision="float64"),)


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=str)
def test_spectrum(
    benchmark: Any, case: Case, device: torch.device, state: Callable[[Facts], None]
) -> None:
    with precision_of(case.precision, device=device) as precision:
        (task,) = draw_tasks(case, precision=precision, device=device)
        found = benchmark.pedantic(_measure, args=(task,), rounds=1)
    state({**case_facts(case, device=device), **found})


def _measure(task: Task) -> dict[str, object]:
    """One Jacobian and its decomposition."""
    began = time.perf_counter()
    matrices = jacobian(task.encoder, task.original)
    synchronize(task.device)
    between = time.perf_counter()
    (found,) = decompose(matrices)
    synchronize(task.device)
    ended = time.perf_counter()
    outputs, inputs = matrices[0].shape
    return {
        "outputs": outputs,
        "inputs": inputs,
        "rank": found.rank,
        "jacobian_seconds": between - began,
        "decomposition_seconds": ended - between,
    }
