"""The throughput of a run, and the peak rate of its workers."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping

from harness.plan.cells import Inversion
from harness.store import Record


def run_throughput(
    records: Mapping[str, Record], *, measured: Collection[str], seconds: float
) -> dict[str, object]:
    """Peak rate and throughput of a run, as plain JSON values; what is unknown is left out.

    A run that found everything in the store describes the runs that measured. No record knows their
    wall time: then there are no rates over the run.

    Parameters
    ----------
    records : mapping of str to Record
        What the run read, by identity.
    measured : collection of str
        Identities of the cells that it measured itself, read or not.
    seconds : float
        Its wall time.
    """
    own = [record for name, record in records.items() if name in measured]
    described = own or list(records.values())
    throughput: dict[str, object] = {}
    if measured and seconds > 0:
        throughput["cells_an_hour"] = _rate(3600 * len(measured), seconds, digits=0)
        # A run without inversions has no such rate.
        if steps := sum(map(_image_steps, own)):
            throughput["image_steps_a_second"] = _rate(steps, seconds, digits=1)
    if one := _of_one_worker(described):
        throughput["of_one_worker"] = one
    peak_rate = _peak_rates(described)
    return {
        **({"peak_rate": peak_rate} if peak_rate else {}),
        **({"throughput": throughput} if throughput else {}),
    }


def _rate(number: int, seconds: float, *, digits: int) -> float:
    """A number per unit of time, with two significant digits where decimals would leave fewer."""
    rate = number / seconds
    return round(rate, digits) if rate >= 10 ** (1 - digits) else float(f"{rate:.2g}")


def _peak_rates(records: Collection[Record]) -> list[dict[str, object]]:
    """The median rate of arithmetic of each kind of worker, that of most cells first."""
    rates: dict[tuple[object, ...], list[float]] = {}
    names = ("processor", "device", "threads")
    for record in records:
        rate = record.provenance.get("gflops")
        if isinstance(rate, float):
            kind = tuple(record.provenance.get(name) for name in names)
            rates.setdefault(kind, []).append(rate)
    return [
        {
            **dict(zip(names, kind, strict=True)),
            "gflops": round(statistics.median(found), 1),
            "cells": len(found),
        }
        for kind, found in sorted(rates.items(), key=lambda item: -len(item[1]))
    ]


def _of_one_worker(records: Collection[Record]) -> dict[str, object]:
    """Image-steps of inversions, and the time that their workers took for them."""
    timed = [(_image_steps(record), record.seconds) for record in records if record.seconds > 0]
    steps = sum(number for number, _ in timed)
    seconds = sum(taken for number, taken in timed if number)
    if not seconds:
        return {}
    return {
        "image_steps": steps,
        "seconds": round(seconds, 1) or float(f"{seconds:.2g}"),
        "image_steps_a_second": _rate(steps, seconds, digits=1),
    }


def _image_steps(record: Record) -> int:
    """Steps of an inversion, over all its restarts; 0 for any other cell."""
    if record.cell["type"] != Inversion.__name__:
        return 0
    restarts = record.cell.get("restarts", 1)
    return round(record.traces["iteration"][-1]) * (restarts if isinstance(restarts, int) else 1)
