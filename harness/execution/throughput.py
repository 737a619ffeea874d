"""How fast a run measured, and what its workers could have done at most."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping

from harness.plan.cells import Inversion
from harness.store import Record


def pace(
    records: Mapping[str, Record], *, measured: Collection[str], seconds: float
) -> dict[str, object]:
    """Peak rate and throughput of a run, as plain JSON values; what is unknown is left out.

    A run that found everything in the store tells of the runs that measured, whose wall time no
    record knows: then there are no rates over the run.

    Parameters
    ----------
    records : mapping of str to Record
        What the run read, by identity.
    measured : collection of str
        Identities of the cells that it measured itself, read or not.
    seconds : float
        Its wall time.
    """
    own = {name: record for name, record in records.items() if name in measured}
    told = (own or records).values()
    steps = sum(map(_image_steps, own.values()))
    timed = bool(measured) and seconds > 0
    return _known(
        peak_rate=[
            {**worker, "gflops": round(statistics.median(rates), 1), "cells": len(rates)}
            for worker, rates in _workers(told)
        ],
        throughput=_known(
            cells_an_hour=_rate(3600 * len(measured), seconds, digits=0) if timed else None,
            # A run whose cells are no descents has no such rate.
            image_steps_a_second=_rate(steps, seconds, digits=1) if timed and steps else None,
            of_one_worker=_of_one_worker(told),
        ),
    )


def _known(**values: object) -> dict[str, object]:
    """Without what is None or an empty container; a rate of 0 is one."""
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _rate(number: int, seconds: float, *, digits: int) -> float:
    """So many a unit of time, with two significant digits where decimals would leave fewer."""
    rate = number / seconds
    return round(rate, digits) if rate >= 10 ** (1 - digits) else float(f"{rate:.2g}")


def _workers(records: Collection[Record]) -> list[tuple[dict[str, object], list[float]]]:
    """Rates of arithmetic by kind of worker, those of most cells first."""
    found: dict[tuple[object, ...], list[float]] = {}
    named = ("processor", "device", "threads")
    for record in records:
        rate = record.provenance.get("gflops")
        if isinstance(rate, float):
            kind = tuple(record.provenance.get(name) for name in named)
            found.setdefault(kind, []).append(rate)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return [(dict(zip(named, kind, strict=True)), rates) for kind, rates in ordered]


def _of_one_worker(records: Collection[Record]) -> dict[str, object]:
    """Image-steps of descents over the time that their workers took."""
    steps, seconds = 0, 0.0
    for record in records:
        taken = _image_steps(record)
        if taken and record.seconds > 0:
            steps += taken
            seconds += record.seconds
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
