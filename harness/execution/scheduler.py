"""Bring cells into the store: queue buckets, keep the workers busy, report progress."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import NamedTuple, Protocol, runtime_checkable

from harness.errors import ExecutorError, StoreError, WorkerError
from harness.execution.executors import Workers, open_executor
from harness.execution.remote import measure_bucket
from harness.plan.buckets import Bucket, buckets
from harness.plan.cells import Cell, Search
from harness.plan.networks import MLP, ModuleFactory, PrescribedSpectrum, ResNet
from harness.store import Store

ARRIVAL = 90.0
"""Seconds within which a record that a worker has written must be visible here: a network file
system may cache its absence for a minute."""

DEATHS = 3
"""Blocks in a row whose workers died, after which the run is given up."""


@runtime_checkable
class Progress(Protocol):
    """Receives the progress of the measurements."""

    def __call__(self, *, label: str, done: int, total: int, seconds_left: float) -> None:
        """Cells done out of the cells known, and an estimate of the time left for those."""
        ...


class Scheduler:
    """Measures what the store lacks, on one executor.

    Cells that somebody waits for (`need`) go before those that may be needed later (`offer`), the
    longest first. If a worker dies, its bucket is measured again with no other running: then it has
    all the memory, and nothing else is to blame should that worker die, too. A cell that still
    fails raises its error for whoever needs it, and the others go on.

    Parameters
    ----------
    store : Store
        Where records go.
    executor : str
        As in `harness.execution.executors.FORMS`; workers start when there is something to measure.
    device : str
        "cpu" or "cuda".
    auto : bool
        Whether the device was chosen automatically, on this machine.
    provenance : mapping
        Goes into each record.
    progress : Progress
        Called whenever a bucket has ended.

    Attributes
    ----------
    measured : set of str
        Identities of the cells that were measured, including batch mates and unused ones.
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
        self._queue: list[_Queued] = []
        self._number = itertools.count()
        self._running: dict[Future[float], _Running] = {}
        self._lost: deque[Bucket] = deque()
        self._deaths = 0
        self._failed: dict[str, Exception] = {}
        self._known: set[str] = set()
        self._missing: set[str] = set()
        self._estimated = 0.0
        self._taken = 0.0
        self.measured: set[str] = set()

    @property
    def workers(self) -> str | None:
        """The workers in words; None until there is something to measure."""
        return None if self._workers is None else self._workers.described

    def offer(self, cells: Iterable[Cell], *, priority: int) -> None:
        """Queue cells that will be needed; lower priorities are measured first."""
        self._offer(buckets(cells, device=self._device), priority=priority)

    def start(self) -> None:
        """Start the workers if anything is queued, before somebody waits for it.

        Raises
        ------
        ExecutorError
            Where there are none, or they cannot measure for this run.
        """
        if self._queue:
            self._opened()

    def need(self, cells: Iterable[Cell], *, label: str) -> None:
        """Return as soon as the store holds all of these cells; measure them before others.

        Raises
        ------
        Exception
            That of the measurement, where one of the cells cannot be measured.
        WorkerError
            Where every worker that measured one of them died.
        ExecutorError
            Where there are no workers, or they cannot measure for this run.
        StoreError
            Where the store cannot be written.
        """
        wanted = buckets(cells, device=self._device)
        ids = {identity for bucket in wanted for identity in _identities(bucket)}
        self._offer(wanted, priority=-1)
        # What an earlier offer queued is now waited for.
        self._queue = [
            queued if ids.isdisjoint(_identities(queued.bucket)) else queued._replace(priority=-1)
            for queued in self._queue
        ]
        heapq.heapify(self._queue)
        self._raise_failure(ids)
        while not ids.isdisjoint(self._missing):
            workers = self._opened()
            self._slots = workers.slots
            self._submit(workers)
            self._report(label)
            self._collect(workers)
            self._update_measured()
            self._raise_failure(ids)
        self._report(label)

    def close(self) -> None:
        """End the workers at once; what they have not written is measured by the next run."""
        if self._workers is not None:
            self._workers.shutdown(wait=False, cancel_futures=True)
        self._update_measured()

    def _opened(self) -> Workers:
        if self._workers is None:
            self._store.sweep()
            self._workers = open_executor(
                self._executor, device=self._device, auto=self._auto, store=self._store
            )
        return self._workers

    def _offer(self, offered: Sequence[Bucket], *, priority: int) -> None:
        for bucket in offered:
            missing = self._missing_part(bucket)
            if missing is not None:
                self._push(missing, priority=priority)

    def _missing_part(self, bucket: Bucket) -> Bucket | None:
        """The part of a bucket that is neither stored nor queued."""
        unknown = [
            number for number, ids in enumerate(bucket.ids) if not self._known.issuperset(ids)
        ]
        new = {identity for number in unknown for identity in bucket.ids[number]} - self._known
        self._known |= new
        missing = {identity for identity in new if identity not in self._store}
        self._missing |= missing
        left = [number for number in unknown if not missing.isdisjoint(bucket.ids[number])]
        return bucket.part(left) if left else None

    def _push(self, bucket: Bucket, *, priority: int) -> None:
        order = -round(bucket.seconds * 1000)
        heapq.heappush(self._queue, _Queued(priority, order, next(self._number), bucket))

    def _submit(self, workers: Workers) -> None:
        if any(running.alone for running in self._running.values()):
            return
        if self._lost:
            if not self._running:
                self._start(self._lost.popleft(), workers, alone=True)
            return
        while self._queue and len(self._running) < self._slots:
            self._start(heapq.heappop(self._queue).bucket, workers)

    def _start(self, bucket: Bucket, workers: Workers, *, alone: bool = False) -> None:
        began = time.monotonic()
        future = workers.submit(
            measure_bucket,
            bucket,
            store=self._store.folder,
            device=self._device,
            threads=workers.threads,
            provenance=self._provenance,
        )
        self._running[future] = _Running(bucket, began, alone)

    def _collect(self, workers: Workers) -> None:
        """Wait for a bucket that ends, for a second at most."""
        if not self._running:
            # All workers are gone for the moment.
            time.sleep(0.1)
        done, _ = wait(self._running, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            self._end(future, self._running.pop(future), workers)

    def _end(self, future: Future[float], running: _Running, workers: Workers) -> None:
        bucket = running.bucket
        try:
            self._taken += future.result()
            self._estimated += bucket.seconds
            self._await_records(bucket)
        except CancelledError as error:
            self._push(bucket, priority=-1)
            raise ExecutorError(
                workers.described,
                rule="the connection is lost, and with it what was queued",
                remedy="Run again once it answers: finished cells are kept",
            ) from error
        except workers.lost as error:
            if workers.retries and not running.alone:
                self._lost.append(bucket)
            else:
                self._fail_killed(bucket, error)
        except (ExecutorError, StoreError) as error:
            # These concern every bucket.
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

    def _update_measured(self) -> None:
        """Note what workers have written of the buckets that they are measuring."""
        for running in self._running.values():
            self._unwritten(running.bucket)

    def _unwritten(self, bucket: Bucket) -> Bucket | None:
        """Note which cells of a bucket are in the store; returns the blocks that are not."""
        stored = {
            identity
            for identity in _identities(bucket)
            if identity not in self._missing or identity in self._store
        }
        self.measured |= stored & self._missing
        self._missing -= stored
        left = [number for number, ids in enumerate(bucket.ids) if not stored.issuperset(ids)]
        return bucket.part(left) if left else None

    def _await_records(self, bucket: Bucket) -> None:
        """Wait for the records of a measured bucket, which may take a moment to be visible."""
        end = time.monotonic() + ARRIVAL
        while (left := self._unwritten(bucket)) is not None:
            if time.monotonic() > end:
                raise StoreError(
                    self._store.folder,
                    rule=f"the record of {_described(left)} was written by a worker and is not "
                    "there",
                    remedy="Choose a folder that all workers share, with --store DIR",
                )
            time.sleep(0.05)

    def _fail(self, bucket: Bucket, error: Exception) -> None:
        """Let the first unwritten block fail, and queue the blocks behind it again."""
        left = self._unwritten(bucket)
        if left is None:
            return
        failed, *others = range(len(left.blocks))
        ids = _identities(left.part([failed])) & self._missing
        self._failed |= dict.fromkeys(ids, error)
        self._missing -= ids
        if others:
            self._push(left.part(others), priority=-1)

    def _fail_killed(self, bucket: Bucket, error: Exception) -> None:
        """As `_fail` for workers that died; if many die in a row, no block is to blame."""
        name = _described(self._unwritten(bucket) or bucket)
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

    def _report(self, label: str) -> None:
        # Estimates are those of a table, scaled by what this run has taken so far.
        known = self._estimated > 5 and self._taken
        scale = self._taken / self._estimated if known else 1.0
        now = time.monotonic()
        left = [
            *(queued.bucket.seconds for queued in self._queue),
            *(bucket.seconds for bucket in self._lost),
            *(
                max(0.0, running.bucket.seconds - (now - running.began) / scale)
                for running in self._running.values()
            ),
        ]
        self._progress(
            label=label,
            done=len(self.measured),
            total=len(self.measured) + len(self._missing),
            # One bucket is one worker's alone.
            seconds_left=scale * max(sum(left) / max(self._slots, 1), max(left, default=0.0)),
        )


class _Queued(NamedTuple):
    """A bucket in the queue; tuples are compared up to the number, which is unique."""

    priority: int
    order: int
    number: int
    bucket: Bucket


class _Running(NamedTuple):
    """A bucket that a worker is measuring: alone, if a worker died with it before."""

    bucket: Bucket
    began: float
    alone: bool


def _identities(bucket: Bucket) -> set[str]:
    return {identity for block in bucket.ids for identity in block}


def _described(bucket: Bucket) -> str:
    """The first block of a bucket, in words."""
    cell = bucket.blocks[0][0]
    words = [type(cell).__name__]
    match getattr(cell, "network", None):
        case ResNet() as network:
            words.append(f"of {network.name} at {network.layer}")
        case ModuleFactory() as network:
            words.append(f"of {network.text}")
        case MLP() as network:
            words.append(f"of an MLP {'-'.join(map(str, (network.inputs, *network.widths)))}")
        case PrescribedSpectrum() as network:
            words.append(f"of a map {network.inputs}-{network.outputs}")
    if isinstance(cell, Search):
        words.append(f"for {cell.statement!r}")
    first, last = cell.seeds.replicate, bucket.blocks[0][-1].seeds.replicate
    words.append(f"in replicate {first}" if first == last else f"in replicates {first} to {last}")
    return f"{' '.join(words)} ({bucket.ids[0][0][:12]})"
