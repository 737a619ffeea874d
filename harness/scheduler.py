"""Bring cells into the store: queue buckets, keep the workers busy, show how far it is."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, runtime_checkable

from harness.cells import Cell
from harness.errors import StoreError
from harness.executors import ProcessPool, executor_named
from harness.plan import Bucket, buckets
from harness.remote import measure_bucket
from harness.store import Store


@runtime_checkable
class Progress(Protocol):
    """Hears how far the measuring is."""

    def __call__(self, *, label: str, done: int, total: int, seconds_left: float) -> None:
        """Cells done of cells known, and an estimate of the time left for those."""
        ...


class Scheduler:
    """Measures what the store lacks, on one executor.

    What somebody waits for (`need`) goes before what may be needed later (`offer`), longest first.

    Parameters
    ----------
    store : Store
        Where records go.
    executor : str
        One of `harness.executors.EXECUTORS`; workers start with the first bucket.
    device : str
        "cpu" or "cuda".
    provenance : mapping
        Goes into each record.
    progress : Progress
        Called whenever a bucket has ended.

    Attributes
    ----------
    measured : set of str
        Identities of the cells that were measured, batch mates and what nobody used included.
    """

    def __init__(
        self,
        store: Store,
        *,
        executor: str,
        device: str,
        provenance: Mapping[str, object],
        progress: Progress,
    ) -> None:
        self._store = store
        self._executor, self._slots = executor_named(executor, device=device)
        self._device = device
        self._provenance = provenance
        self._progress = progress
        self._queue: list[tuple[int, int, int, Bucket]] = []
        self._number = itertools.count()
        self._running: dict[Future[float], Bucket] = {}
        self._known: set[str] = set()
        self._missing: set[str] = set()
        self._estimated = 0.0
        self._ended = 0.0
        self._began = time.monotonic()
        self.measured: set[str] = set()

    def offer(self, cells: Iterable[Cell], *, priority: int) -> None:
        """Queue cells that will be needed; lower priorities are measured first."""
        for bucket in buckets(cells, device=self._device):
            fresh = self._lacking(bucket)
            if fresh:
                self._estimated += fresh.seconds
                entry = (priority, -round(fresh.seconds * 1000), next(self._number), fresh)
                heapq.heappush(self._queue, entry)

    def need(self, cells: Iterable[Cell], *, label: str) -> None:
        """Return as soon as the store holds all of these cells; measure them before others."""
        wanted = list(cells)
        self.offer(wanted, priority=-1)
        ids = {
            identity
            for bucket in buckets(wanted, device=self._device)
            for identity in _identities(bucket)
        }
        # What an earlier offer queued keeps its place in the queue but is now waited for.
        self._queue = [
            (-1 if not ids.isdisjoint(_identities(entry[3])) else entry[0], *entry[1:])
            for entry in self._queue
        ]
        heapq.heapify(self._queue)
        while not ids.isdisjoint(self._missing):
            self._submit()
            self._tell(label)
            self._collect()
        self._tell(label)

    def close(self) -> None:
        """End the workers at once; what they have not written is measured by the next run."""
        if isinstance(self._executor, ProcessPool):
            self._executor.end()
        else:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _lacking(self, bucket: Bucket) -> Bucket | None:
        """The part of a bucket that is neither stored nor queued."""
        chosen = [
            (mates, ids)
            for mates, ids in zip(bucket.blocks, bucket.ids, strict=True)
            if any(identity not in self._known for identity in ids)
        ]
        new = {identity for _, ids in chosen for identity in ids} - self._known
        self._known |= new
        absent = {identity for identity in new if identity not in self._store}
        self._missing |= absent
        left = [(mates, ids) for mates, ids in chosen if not absent.isdisjoint(ids)]
        if not left:
            return None
        return Bucket(
            blocks=tuple(mates for mates, _ in left),
            ids=tuple(ids for _, ids in left),
            seconds=bucket.seconds * len(left) / len(bucket.blocks),
        )

    def _submit(self) -> None:
        while self._queue and len(self._running) < self._slots:
            *_, bucket = heapq.heappop(self._queue)
            try:
                future = self._executor.submit(
                    measure_bucket,
                    bucket,
                    store=self._store.folder,
                    device=self._device,
                    provenance=self._provenance,
                )
            except BrokenProcessPool as error:
                self._forget(bucket)
                raise _killed() from error
            self._running[future] = bucket

    def _collect(self) -> None:
        done, _ = wait(self._running, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            bucket = self._running.pop(future)
            try:
                self._ended += future.result()
            except BrokenProcessPool as error:
                self._forget(bucket)
                raise _killed() from error
            except Exception:
                self._forget(bucket)
                raise
            finished = self._missing & _identities(bucket)
            self._missing -= finished
            self.measured |= finished

    def _forget(self, bucket: Bucket) -> None:
        """Let a failed bucket be asked for again; who waited for it would wait for ever."""
        self._known -= _identities(bucket)
        self._missing -= _identities(bucket)
        self._estimated -= bucket.seconds

    def _tell(self, label: str) -> None:
        elapsed = time.monotonic() - self._began
        left = self._estimated - self._ended
        # The first estimates come from a table, later ones from this machine's own pace.
        pace = elapsed / self._ended if self._ended > 5 else 1 / self._slots
        self._progress(
            label=label,
            done=len(self.measured),
            total=len(self.measured) + len(self._missing),
            seconds_left=left * pace,
        )


def _identities(bucket: Bucket) -> set[str]:
    return {identity for block in bucket.ids for identity in block}


def _killed() -> StoreError:
    return StoreError(
        "a worker process",
        rule="it was killed (by hand, or for want of memory)",
        remedy="Run again: finished cells are kept",
    )
