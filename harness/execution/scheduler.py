"""Bring cells into the store: queue buckets, keep the workers busy, show how far it is."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Protocol, runtime_checkable

from harness.errors import ExecutorError, StoreError, WorkerError
from harness.execution.executors import Workers, open_workers
from harness.execution.remote import measure_bucket
from harness.plan.buckets import Bucket, buckets
from harness.plan.cells import Cell, Search
from harness.plan.networks import MLP, PrescribedSpectrum, ResNet
from harness.store import Store

ARRIVAL = 90.0
"""Seconds until a record that a worker has written has to be seen here: a network file system may
remember for a minute that there was none."""

DEATHS = 3
"""Blocks in a row whose workers have died, after which no others are tried."""


@runtime_checkable
class Progress(Protocol):
    """Hears how far the measuring is."""

    def __call__(self, *, label: str, done: int, total: int, seconds_left: float) -> None:
        """Cells done of cells known, and an estimate of the time left for those."""
        ...


class Scheduler:
    """Measures what the store lacks, on one executor.

    What somebody waits for (`need`) goes before what may be needed later (`offer`), longest first.
    Where a worker dies, its bucket is measured by another one, as long as none else runs beside it:
    then the memory is all its own, and nothing else is to blame should that worker die, too. What
    fails nevertheless is told to whoever needs it, and the rest goes on.

    Parameters
    ----------
    store : Store
        Where records go.
    executor : str
        As in `harness.execution.executors.FORMS`; workers start with the first bucket.
    device : str
        "cpu" or "cuda".
    auto : bool
        Whether the device was found on this machine, rather than asked for.
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
        auto: bool = False,
        provenance: Mapping[str, object],
        progress: Progress,
    ) -> None:
        self._store = store
        self._executor = executor
        self._workers: Workers | None = None
        self._slots = 1
        self._device = device
        self._auto = auto
        self._provenance = provenance
        self._progress = progress
        self._queue: list[tuple[int, int, int, Bucket]] = []
        self._number = itertools.count()
        self._running: dict[Future[float], Bucket] = {}
        self._times: dict[Future[float], _Times] = {}
        self._lost: deque[Bucket] = deque()
        self._tries: Counter[tuple[tuple[str, ...], ...]] = Counter()
        self._deaths = 0
        self._failed: dict[str, Exception] = {}
        self._known: set[str] = set()
        self._missing: set[str] = set()
        self._ended = 0.0
        self._busy = 0.0
        self.measured: set[str] = set()

    @property
    def workers(self) -> str | None:
        """Who measures, in words; None as long as nothing was measured."""
        return None if self._workers is None else self._workers.described

    def offer(self, cells: Iterable[Cell], *, priority: int) -> None:
        """Queue cells that will be needed; lower priorities are measured first."""
        for bucket in buckets(cells, device=self._device):
            fresh = self._lacking(bucket)
            if fresh:
                self._push(fresh, priority=priority)

    def need(self, cells: Iterable[Cell], *, label: str) -> None:
        """Return as soon as the store holds all of these cells; measure them before others.

        Raises
        ------
        Exception
            That of the measurement, where one of the cells cannot be measured.
        WorkerError
            Where every worker that measured one of them has died.
        ExecutorError
            Where there are no workers, or they cannot measure for this run.
        StoreError
            Where the store cannot be written.
        """
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
        self._raise_failure(ids)
        while not ids.isdisjoint(self._missing):
            workers = self._opened()
            self._slots = workers.slots
            self._submit(workers)
            self._tell(label)
            self._collect(workers)
            self._look()
            self._raise_failure(ids)
        self._tell(label)

    def close(self) -> None:
        """End the workers at once; what they have not written is measured by the next run."""
        if self._workers is not None:
            self._workers.end()
        self._look()

    def _opened(self) -> Workers:
        if self._workers is None:
            self._store.sweep()
            self._workers = open_workers(
                self._executor, device=self._device, auto=self._auto, store=self._store
            )
        return self._workers

    def _push(self, bucket: Bucket, *, priority: int) -> None:
        entry = (priority, -round(bucket.seconds * 1000), next(self._number), bucket)
        heapq.heappush(self._queue, entry)

    def _lacking(self, bucket: Bucket) -> Bucket | None:
        """The part of a bucket that is neither stored nor queued."""
        chosen = [
            number
            for number, ids in enumerate(bucket.ids)
            if any(identity not in self._known for identity in ids)
        ]
        new = {identity for number in chosen for identity in bucket.ids[number]} - self._known
        self._known |= new
        absent = {identity for identity in new if identity not in self._store}
        self._missing |= absent
        left = [number for number in chosen if not absent.isdisjoint(bucket.ids[number])]
        return bucket.part(left) if left else None

    def _submit(self, workers: Workers) -> None:
        if self._lost:
            # A worker died with it before: this time it is measured alone.
            if not self._running:
                self._start(self._lost.popleft(), workers)
            return
        if any(bucket.ids in self._tries for bucket in self._running.values()):
            return
        while self._queue and len(self._running) < self._slots:
            self._start(heapq.heappop(self._queue)[3], workers)

    def _start(self, bucket: Bucket, workers: Workers) -> None:
        times = _Times(began=time.monotonic())
        future = workers.submit(
            measure_bucket,
            bucket,
            store=self._store.folder,
            device=self._device,
            threads=workers.threads,
            provenance=self._provenance,
        )
        self._running[future] = bucket
        self._times[future] = times
        # Nobody may look for a while.
        future.add_done_callback(lambda _: times.end())

    def _collect(self, workers: Workers) -> None:
        if not self._running:
            # All workers are gone for the moment.
            time.sleep(0.1)
        done, _ = wait(self._running, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            bucket = self._running.pop(future)
            times = self._times.pop(future)
            try:
                self._ended += future.result()
                self._busy += times.spent
                self._await(bucket)
            except CancelledError as error:
                self._push(bucket, priority=-1)
                raise ExecutorError(
                    workers.described,
                    rule="the connection is lost, and with it what was queued",
                    remedy="Run again once it answers: finished cells are kept",
                ) from error
            except workers.lost as error:
                self._tries[bucket.ids] += 1
                if self._tries[bucket.ids] < workers.tries:
                    self._lost.append(bucket)
                else:
                    self._die(bucket, error)
            except (ExecutorError, StoreError) as error:
                # These concern every bucket, as the next one does.
                self._fail(bucket, error)
                raise
            except ImportError as error:
                self._fail(bucket, error)
                raise ExecutorError(
                    workers.described,
                    rule=f"a worker cannot import what it needs ({error})",
                    remedy="Start it in an environment that has the project and what it depends on",
                ) from error
            except Exception as error:
                self._fail(bucket, error)
            else:
                self._deaths = 0

    def _look(self) -> None:
        """Note what workers have written of the buckets that they are at."""
        for bucket in self._running.values():
            self._settle(bucket)

    def _settle(self, bucket: Bucket) -> Bucket | None:
        """Note what of a bucket is in the store; returns the blocks that are not."""
        stored = {
            identity
            for identity in _identities(bucket)
            if identity not in self._missing or identity in self._store
        }
        self.measured |= stored & self._missing
        self._missing -= stored
        left = [number for number, ids in enumerate(bucket.ids) if not stored.issuperset(ids)]
        return bucket.part(left) if left else None

    def _await(self, bucket: Bucket) -> None:
        """Settle a bucket that was measured; its records may take a moment to be seen here."""
        end = time.monotonic() + ARRIVAL
        while (left := self._settle(bucket)) is not None:
            if time.monotonic() > end:
                raise StoreError(
                    self._store.folder,
                    rule=f"the record of {_named(left)} was written by a worker and is not there",
                    remedy="Choose a folder that all workers share, with --store DIR",
                )
            time.sleep(0.05)

    def _fail(self, bucket: Bucket, error: Exception) -> None:
        """Let a block fail whoever needs it, and go on with the blocks behind it."""
        left = self._settle(bucket)
        if left is None:
            return
        # A bucket is measured in order.
        failed, *others = range(len(left.blocks))
        ids = _identities(left.part([failed])) & self._missing
        self._failed |= dict.fromkeys(ids, error)
        self._missing -= ids
        if others:
            self._push(left.part(others), priority=-1)

    def _die(self, bucket: Bucket, error: Exception) -> None:
        """The same where workers died; when they do so again and again, no block is to blame."""
        name = _named(self._settle(bucket) or bucket)
        killed = WorkerError(
            name,
            rule="every worker that measured it was killed (by hand, or for want of memory)",
            remedy="Run it again with --executor processes:1, which leaves it all the memory",
        )
        killed.__cause__ = error
        self._fail(bucket, killed)
        self._deaths += 1
        if self._deaths >= DEATHS:
            raise ExecutorError(
                "workers",
                rule=f"they were killed with {DEATHS} blocks of cells in a row, last with {name}",
                remedy="Free memory, or take fewer processes: finished cells are kept",
            ) from error

    def _raise_failure(self, ids: set[str]) -> None:
        for identity in ids & self._failed.keys():
            raise self._failed[identity]

    def _tell(self, label: str) -> None:
        # The first estimates come from a table, later ones from this machine's own pace.
        pace = self._busy / self._ended if self._ended > 5 and self._busy else 1.0
        left = [
            *(entry[3].seconds for entry in self._queue),
            *(bucket.seconds for bucket in self._lost),
            *(
                max(0.0, bucket.seconds - self._times[future].spent / pace)
                for future, bucket in self._running.items()
            ),
        ]
        self._progress(
            label=label,
            done=len(self.measured),
            total=len(self.measured) + len(self._missing),
            # What one worker has to do is shared with no other.
            seconds_left=pace * max(sum(left) / max(self._slots, 1), max(left, default=0.0)),
        )


@dataclasses.dataclass
class _Times:
    """When a bucket began and, once it has, when it ended."""

    began: float
    ended: float | None = None

    def end(self) -> None:
        """It ended now."""
        self.ended = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return (time.monotonic() if self.ended is None else self.ended) - self.began


def _identities(bucket: Bucket) -> set[str]:
    return {identity for block in bucket.ids for identity in block}


def _named(bucket: Bucket) -> str:
    """The first block of a bucket, in words."""
    cell = bucket.blocks[0][0]
    words = [type(cell).__name__]
    match getattr(cell, "network", None):
        case ResNet() as network:
            words.append(f"of {network.name} at {network.layer}")
        case MLP() as network:
            words.append(f"of an MLP {'-'.join(map(str, (network.inputs, *network.widths)))}")
        case PrescribedSpectrum() as network:
            words.append(f"of a map {network.inputs}-{network.outputs}")
    if isinstance(cell, Search):
        words.append(f"for {cell.statement!r}")
    first, last = cell.seeds.replicate, bucket.blocks[0][-1].seeds.replicate
    words.append(f"in replicate {first}" if first == last else f"in replicates {first} to {last}")
    return f"{' '.join(words)} ({bucket.ids[0][0][:12]})"
