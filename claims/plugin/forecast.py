"""What a run would measure, and how long that would take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.claim import Kind
from harness.lab.condition import Condition
from harness.plan.buckets import buckets
from harness.plan.cells import Cell
from harness.plan.costs import MACHINES
from reports.summary import full_name
from reports.words import duration

_STORED = "nothing"
"""Printed if the store has every cell."""


def forecast(conditions: Sequence[Condition], *, stored: Callable[[str], bool], device: str) -> str:
    """Cells and time of each condition and of all, up to the first look and up to the last.

    `stored` says whether the store has a cell, by its identity.
    """
    idle: dict[str, list[str]] = {}
    asked: list[Condition] = []
    for condition in conditions:
        if reason := _why_not(condition):
            idle.setdefault(reason, []).append(_name(condition))
        else:
            asked.append(condition)
    lines = [
        f"{_name(condition)}: {_work([condition], stored, device=device)}" for condition in asked
    ]
    whole = _work(asked, stored, device=device)
    lines += [f"{reason}: {', '.join(labels)}" for reason, labels in idle.items()]
    lines += [f"times are for {MACHINES[device]}"]
    return "\n".join([*lines, f"in all, cells that several ask for counted once: {whole}"])


def _name(condition: Condition) -> str:
    """A condition's name in the final table, and whether it decides nothing."""
    return full_name(condition) + ("" if condition.confirmatory else " (exploratory)")


def _why_not(condition: Condition) -> str | None:
    """Why a condition is never measured; None if it is."""
    if condition.claim.estimands[condition.estimand].kind is Kind.UNTESTABLE:
        return "not testable"
    return None if condition.skip_reason is None else f"not run ({condition.skip_reason})"


def _work(conditions: Sequence[Condition], stored: Callable[[str], bool], *, device: str) -> str:
    """The cells that conditions lack up to their first and last look, as text."""
    first, last = (
        _lacking(
            [
                cell
                for condition in conditions
                for cell in condition.cells_up_to(condition.sizes[look])
            ],
            stored,
            device=device,
        )
        for look in (0, -1)
    )
    if first == last:
        return first
    return f"{first}{' for the first look' if first == _STORED else ''}, at most {last}"


def _lacking(cells: Iterable[Cell], stored: Callable[[str], bool], *, device: str) -> str:
    """Cells that are not stored, and their time on one of `MACHINES`, as text."""
    count, seconds = 0, 0.0
    for bucket in buckets(cells, device=device):
        lacking = [ids for ids in bucket.ids if not all(map(stored, ids))]
        count += sum(map(len, lacking))
        seconds += bucket.seconds * len(lacking) / len(bucket.ids)
    where = "one of 16 processes" if device == "cuda" else "one core"
    return f"{count} cells, about {duration(seconds)} of {where}" if count else _STORED
