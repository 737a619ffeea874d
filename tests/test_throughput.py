"""Peak rate and throughput of a run, from records whose times are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.execution import peak_rate
from harness.execution.throughput import run_throughput
from harness.store import Record
from reports.page.provenance import throughput_text


def descent(name: str, *, steps: int, seconds: float, gflops: float | None = 100.0) -> Record:
    """A record of a descent, measured by a worker of so many GFLOP/s."""
    known = {} if gflops is None else {"gflops": gflops}
    return Record(
        id=name,
        cell={"type": "Inversion", "restarts": 2},
        values={},
        outcome="plateau",
        seconds=seconds,
        traces={"iteration": (0.0, float(steps))},
        provenance={"processor": "P", "device": "cpu", "threads": 1, **known},
    )


# Its iterations are epochs.
TRAINING = dataclasses.replace(
    descent("t", steps=90, seconds=50.0, gflops=None), cell={"type": "Train"}
)
RECORDS = {
    "a": descent("a", steps=500, seconds=2.0, gflops=90.0),
    "b": descent("b", steps=500, seconds=2.0, gflops=110.0),
    "old": descent("old", steps=100, seconds=10.0, gflops=5.0),
    "training": TRAINING,
}
WORKER = {"processor": "P", "device": "cpu", "threads": 1}


def test_a_run_describes_what_it_measured_itself() -> None:
    found = run_throughput(RECORDS, measured={"a", "b", "training", "unread"}, seconds=8.0)
    assert found == {
        "peak_rate": [{**WORKER, "gflops": 100.0, "cells": 2}],
        "throughput": {
            "cells_an_hour": 1800,
            "image_steps_a_second": 250.0,  # two restarts of 500 steps, twice, in 8 s
            "of_one_worker": {"image_steps": 2000, "seconds": 4.0, "image_steps_a_second": 500.0},
        },
    }


def test_a_run_from_a_full_store_describes_the_runs_that_measured() -> None:
    found = run_throughput(RECORDS, measured=(), seconds=8.0)
    assert found == {
        "peak_rate": [{**WORKER, "gflops": 90.0, "cells": 3}],
        "throughput": {
            "of_one_worker": {"image_steps": 2200, "seconds": 14.0, "image_steps_a_second": 157.1}
        },
    }


def test_a_slow_run_has_rates_nevertheless() -> None:
    slow = {"a": descent("a", steps=1, seconds=400.0)}
    found = run_throughput(slow, measured={"a"}, seconds=10_800.0)["throughput"]
    assert found == {
        "cells_an_hour": 0.33,
        "image_steps_a_second": 0.00019,
        "of_one_worker": {"image_steps": 2, "seconds": 400.0, "image_steps_a_second": 0.005},
    }
    assert throughput_text(found, measured=True).startswith("0.33 cells an hour and 1.9e-4 image")


def test_a_run_without_inversions_has_no_steps() -> None:
    found = run_throughput({"t": TRAINING}, measured={"t"}, seconds=3600.0)
    assert found == {"throughput": {"cells_an_hour": 1}}


def test_what_no_record_knows_is_left_out() -> None:
    assert run_throughput({}, measured=(), seconds=1.0) == {}
    assert run_throughput({"t": TRAINING}, measured={"t"}, seconds=0.0) == {}


def test_kinds_of_workers_are_listed_apart() -> None:
    other = dataclasses.replace(
        descent("c", steps=1, seconds=1.0), provenance={**WORKER, "threads": 2, "gflops": 1.0}
    )
    kinds = run_throughput({**RECORDS, "c": other}, measured=(), seconds=1.0)["peak_rate"]
    assert isinstance(kinds, list)
    assert [(kind["threads"], kind["cells"]) for kind in kinds] == [(1, 3), (2, 1)]


@pytest.mark.parametrize("fastest", [0, 1, 2])
def test_the_peak_rate_is_that_of_the_fastest_arithmetic(
    fastest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = iter(range(3))

    def seconds(work: Callable[[], object], **_: object) -> float:
        with FlopCounterMode(display=False) as counted:
            work()
        return counted.get_total_flops() / (9e9 if next(kinds) == fastest else 1e9)

    monkeypatch.setattr(peak_rate, "best_seconds", seconds)
    rate = peak_rate.arithmetic_gflops(dtype=torch.float32, device=torch.device("cpu"), size=320)
    assert rate == pytest.approx(9)


def test_a_peak_rate_is_measured_once_and_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    peak_rate.worker_gflops.cache_clear()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = peak_rate.worker_gflops("cpu", 1)
    assert torch.equal(torch.get_rng_state(), before)
    monkeypatch.delattr(peak_rate, "arithmetic_gflops")
    assert peak_rate.worker_gflops("cpu", 1) == first > 0
