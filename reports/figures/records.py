"""The records of a claim's conditions, and which of them share a chart or a gallery."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from harness.errors import StoreError
from harness.store import Record, Store
from harness.verdict.results import ConditionResult, Run
from reports import words
from reports.figures.galleries import GalleryRecord


class Library:
    """Records of a store, each read once; those that cannot be read are reported."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: dict[str, Record | str] = {}
        self.problems: list[str] = []
        """Records that could not be read since the list was last cleared, in words."""

    def read(self, identity: str) -> Record | None:
        """A record; None, and a problem, if it cannot be read."""
        if identity not in self._records:
            try:
                self._records[identity] = self._store.read(identity)
            except StoreError as error:
                self._records[identity] = f"Record {identity[:12]}: {error.rule}. {error.remedy}."
        found = self._records[identity]
        if isinstance(found, str):
            self.problems.append(found)
            return None
        return found

    def read_all(self, ids: Mapping[str, str]) -> dict[str, Record]:
        """Records by role, those that can be read."""
        return {
            role: record
            for role, identity in ids.items()
            if (record := self.read(identity)) is not None
        }

    def of(self, run: Run) -> dict[str, Record]:
        """All records that the replicates of a run name, by identity."""
        ids = dict.fromkeys(
            identity
            for condition in run.conditions
            for own in condition.records.values()
            for identity in own
        )
        return self.read_all({identity: identity for identity in ids})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cells:
    """The records of a condition's first replicate by role, and those whose images are shown."""

    condition: ConditionResult
    records: Mapping[str, Record]
    gallery: Mapping[str, Record]


def cells_of(condition: ConditionResult, library: Library) -> Cells:
    """The cells of one condition."""
    ids = {role: names[0] for role, names in condition.records.items() if names}
    return Cells(
        condition=condition,
        records=library.read_all(ids),
        gallery=library.read_all(condition.gallery),
    )


def without_repeats(cells: Iterable[Cells]) -> list[Cells]:
    """Cells, each set of records once."""
    seen: set[frozenset[str]] = set()
    found = []
    for item in cells:
        key = frozenset(record.id for record in (*item.records.values(), *item.gallery.values()))
        if item.records and key not in seen:
            seen.add(key)
            found.append(item)
    return found


def by_caption(cells: Sequence[Cells]) -> dict[str, GalleryRecord]:
    """Records for a gallery by caption: the condition and, if it has several, the role."""
    named: dict[str, GalleryRecord] = {}
    for item in cells:
        name = words.parameters_text(item.condition.parameters)
        judged = next(iter(item.records.values()), None)
        shown = item.gallery or item.records
        for role, record in shown.items():
            several = len(shown) > 1
            caption = " · ".join(text for text in (name, role if several else "") if text)
            own = GalleryRecord(record=record, condition=item.condition, judged=judged)
            named.setdefault(caption or role, own)
    return named


def chart_groups(cells: Sequence[Cells], *, limit: int) -> list[tuple[str, dict[str, Record]]]:
    """Groups of at most `limit` records that share a chart, with what they have in common.

    The roles of a condition share one; of conditions with a single role, those that differ in
    their last parameter alone do.
    """
    grouped: dict[tuple[str, int], dict[str, Record]] = {}
    for number, item in enumerate(cells):
        parameters = list(item.condition.parameters.items())
        if len(item.records) > 1:
            name = words.parameters_text(dict(parameters))
            grouped[name, number] = dict(item.records)
            continue
        for role, record in item.records.items():
            common = words.parameters_text(dict(parameters[:-1]))
            own = words.parameters_text(dict(parameters[-1:])) or role
            grouped.setdefault((common, -1), {}).setdefault(own, record)
    return [
        (name, dict(lines[start : start + limit]))
        for (name, _), records in grouped.items()
        if (lines := list(records.items()))
        for start in range(0, len(lines), limit)
    ]
