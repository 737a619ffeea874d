"""Ceiling and throughput of a run, from records whose times are known."""

from __future__ import annotations

import functools

import pytest
import torch

from harness.execution.peak_rate import arithmetic_gflops, worker_gflops
from harness.execution.throughput import pace
from harness.store import Record
from reports.page.provenance import throughput_text


def descent(name: str, *, steps: int, seconds: float, gflops: float | None = 100.0) -> Record:
    """A record of a descent, measured by a worker of so many GFLOP/s."""
    told = {} if gflops is None else {"gflops": gflops}
    return Record(
        id=name,
        cell={"type": "Inversion", "restarts": 2},
        values={},
        outcome="plateau",
        seconds=seconds,
        traces={"iteration": (0.0, float(steps))},
        provenance={"processor": "P", "device": "cpu", "threads": 1, **told},
    )


RECORDS = {
    "a": descent("a", steps=500, seconds=2.0, gflops=90.0),
    "b": descent("b", steps=500, seconds=2.0, gflops=110.0),
    "old": descent("old", steps=100, seconds=10.0, gflops=5.0),
    # Its iterations are epochs.
    "training": Record(
        id="t",
        cell={"type": "Train"},
        values={},
        outcome="measured",
        seconds=50.0,
        traces={"iteration": (1.0, 90.0)},
    ),
}


def test_a_run_tells_of_what_it_measured_itself() -> None:
    found = pace(RECORDS, measured={"a", "b", "training", "unread"}, seconds=8.0)
    assert found == {
        "peak_rate": [
            {"processor": "P", "device": "cpu", "threads": 1, "gflops": 100.0, "cells": 2}
        ],
        "throughput": {
            "cells_an_hour": 1800,
            "image_steps_a_second": 250.0,  # two restarts of 500 steps, twice, in 8 s
            "of_one_worker": {"image_steps": 2000, "seconds": 4.0, "image_steps_a_second": 500.0},
        },
    }


def test_a_run_from_a_full_store_tells_of_the_runs_that_measured() -> None:
    found = pace(RECORDS, measured=(), seconds=8.0)
    assert found == {
        "peak_rate": [
            {"processor": "P", "device": "cpu", "threads": 1, "gflops": 90.0, "cells": 3}
        ],
        "throughput": {
            "of_one_worker": {"image_steps": 2200, "seconds": 14.0, "image_steps_a_second": 157.1}
        },
    }


def test_a_slow_run_has_rates_nevertheless() -> None:
    slow = {"a": descent("a", steps=1, seconds=400.0)}
    found = pace(slow, measured={"a"}, seconds=10_800.0)["throughput"]
    assert found == {
        "cells_an_hour": 0.33,
        "image_steps_a_second": 0.00019,
        "of_one_worker": {"image_steps": 2, "seconds": 400.0, "image_steps_a_second": 0.005},
    }
    assert "one worker in its descents" in throughput_text(found, measured=True)
    assert throughput_text(found, measured=True).startswith("0.33 cells an hour and 1.9e-4 image")


def test_a_run_of_other_cells_has_no_steps_but_has_measured() -> None:
    training = {"t": RECORDS["training"]}
    found = pace(training, measured={"t"}, seconds=3600.0)["throughput"]
    assert found == {"cells_an_hour": 1}
    assert throughput_text(found, measured=True) == "1.0 cells an hour over the whole run"
    assert "throughput" not in pace(training, measured={"t"}, seconds=0.0)


def test_what_no_record_knows_is_left_out() -> None:
    assert pace({}, measured=(), seconds=1.0) == {}
    old = {"a": descent("a", steps=0, seconds=0.0, gflops=None)}
    assert "peak_rate" not in pace(old, measured={"a"}, seconds=1.0)


def test_kinds_of_workers_are_told_apart() -> None:
    other = descent("c", steps=1, seconds=1.0)
    other = Record(**{**vars(other), "provenance": {**other.provenance, "threads": 2}})
    found = pace({**RECORDS, "c": other}, measured=(), seconds=1.0)
    kinds = found["peak_rate"]
    assert isinstance(kinds, list)
    assert [(kind["threads"], kind["cells"]) for kind in kinds] == [(1, 3), (2, 1)]


def test_a_ceiling_is_measured_once_and_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(
        "harness.execution.peak_rate.worker_gflops", functools.cache(worker_gflops.__wrapped__)
    )
    monkeypatch.setattr(
        "harness.execution.peak_rate.arithmetic_gflops",
        lambda **named: calls.append(named) or arithmetic_gflops(**named),
    )
    from harness.execution import peak_rate as ceiling

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = ceiling.worker_gflops("cpu", 1)
    assert ceiling.worker_gflops("cpu", 1) == first > 0
    assert len(calls) == 1
    assert torch.equal(torch.get_rng_state(), before)
