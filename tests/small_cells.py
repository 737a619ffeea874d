"""Cells of milliseconds, and schedulers that measure them into a folder."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from waiting import wait_until

from harness.execution import dask_compatibility as compatibility
from harness.execution.remote import measure_bucket
from harness.execution.scheduler import Scheduler
from harness.plan.buckets import Bucket
from harness.plan.cells import Cell, Inversion, LocalRank
from harness.plan.decoders import Decoder, Descent
from harness.plan.identity import context, identity
from harness.plan.images import Images
from harness.plan.networks import MLP
from harness.plan.seeds import ReplicateSeeds
from harness.store import Record, Store

IMAGES = Images(pixels=4, source="dead-leaves")
PLAIN = Descent()


def cell(
    replicate: int, *, decoder: Decoder = PLAIN, batch: int = 1, iterations: int = 9
) -> Inversion:
    return Inversion(
        seeds=ReplicateSeeds(replicate=replicate),
        network=MLP(inputs=48, widths=(60, 48), activation="relu"),
        images=IMAGES,
        decoder=decoder,
        iterations=iterations,
        batch=batch,
    )


def rank(replicate: int) -> LocalRank:
    return LocalRank(
        seeds=ReplicateSeeds(replicate=replicate),
        network=MLP(inputs=48, widths=(40,)),
        images=IMAGES,
    )


def names(cells: Iterable[Cell]) -> set[str]:
    """Identities."""
    return {identity(each, context=context(device="cpu")) for each in cells}


class ProgressLog:
    """Notes the progress, and calls a hook."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []
        self.left: list[float] = []
        self.hook: Callable[..., None] | None = None

    def __call__(self, *, label: str, done: int, total: int, seconds_left: float) -> None:
        self.calls.append((label, done, total))
        self.left.append(seconds_left)
        if self.hook is not None:
            self.hook()


def scheduler_of(
    folder: Path,
    *,
    executor: str = "serial",
    log: ProgressLog | None = None,
    device: str = "cpu",
    auto: bool = False,
) -> Scheduler:
    """A scheduler whose store is a folder."""
    return Scheduler(
        Store(folder),
        executor=executor,
        device=device,
        auto=auto,
        provenance={"commit": "abc"},
        progress=log or ProgressLog(),
    )


def measure_bucket_or_die(bucket: Bucket, **named: Any) -> float:
    """As its namesake, but replicate 13 kills the process that measures it."""
    if bucket.blocks[0][0].seeds.replicate == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return measure_bucket(bucket, **named)


@dataclasses.dataclass(frozen=True)
class Gate:
    """Holds cells in the processes that measure them, until it is opened.

    Parameters
    ----------
    folder : Path
        For its files, seen by all processes.
    first : int
        Cells of this replicate and of later ones are held; earlier ones pass.
    """

    folder: Path
    first: int = 0

    def measure_bucket(self, bucket: Bucket, **named: Any) -> float:
        """As its namesake, block by block."""
        for number, (cell, *_) in enumerate(bucket.blocks):
            if cell.seeds.replicate >= self.first:
                self.hold()
            measure_bucket(bucket.part([number]), **named)
        return bucket.seconds

    def hold(self) -> int:
        """Wait in a worker until the gate is open; returns its process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        mark = self.folder / str(os.getpid())
        mark.touch()
        wait_until((self.folder / "open").exists, seconds=600)
        mark.unlink()
        return os.getpid()

    @property
    def held(self) -> set[int]:
        """Processes that wait, or were killed as they waited."""
        return {int(mark.name) for mark in self.folder.glob("[0-9]*")}

    def open(self) -> None:
        """Let all pass."""
        (self.folder / "open").touch()


def import_what_measures() -> None:
    """Take the seconds of importing torch now."""
    importlib.import_module("harness.measurements.measure")


def span(seconds: float) -> tuple[int, float, float]:
    """The process that this runs in, and when it began and ended."""
    began = time.monotonic()
    time.sleep(seconds)
    return os.getpid(), began, time.monotonic()


def work_on_a_gpu(folder: Path) -> None:
    """Run in a worker, whose torch is a stand-in: a GPU that is still at work for a while."""

    def synchronize() -> None:
        time.sleep(0.2)
        (folder / "done").touch()

    cuda = SimpleNamespace(is_initialized=lambda: True, synchronize=synchronize)
    sys.modules["torch"] = SimpleNamespace(cuda=cuda)  # type: ignore[assignment]
    (folder / "begun").touch()
    time.sleep(600)


def ignore_signals(folder: Path) -> None:
    """Run in a worker, as a long call of a library does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    (folder / "begun").touch()
    time.sleep(600)


def probe_elsewhere(expected: Mapping[str, str], *, ours: Path) -> compatibility.WorkerAnswer:
    """As a worker that does not see the store."""
    return compatibility.probe(expected, ours=ours.parent / "elsewhere" / ours.name)


def probe_of_a_copy(expected: Mapping[str, str], *, ours: Path) -> compatibility.WorkerAnswer:
    """As a worker that has a copy of the store."""
    answer = compatibility.probe(expected, ours=ours)
    assert answer.written is not None
    answer.written.unlink()
    return answer


def probe_with_a_gpu(expected: Mapping[str, str], *, ours: Path) -> compatibility.WorkerAnswer:
    """As a worker that has a GPU."""
    return dataclasses.replace(compatibility.probe(expected, ours=ours), device="cuda")


def content(record: Record) -> str:
    """What of a record a measurement determines: all but its time."""
    same = dataclasses.replace(record, seconds=0.0)
    return json.dumps(dataclasses.asdict(same), sort_keys=True)


def contents(folder: Path) -> dict[str, str]:
    """The same of every record of a store."""
    store = Store(folder)
    return {name: content(store.read(name)) for name in store}
