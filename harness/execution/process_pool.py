"""A pool of processes on this machine in which the death of one costs its own call and no other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from harness.execution import mps
from harness.execution.device import gpu_memory

MEMORY = 800_000_000
"""Bytes that a process needs: torch, a network and the steps of a decoder."""

PROCESSES_PER_GPU = 16
"""Processes that share a GPU at most. The steps of one image leave much of it idle, and most of the
rest is work for the CPU: networks are built there, and ranks computed."""

GPU_MEMORY, HOST_MEMORY = 1_500_000_000, 3_000_000_000
"""Bytes of the GPU, and of the machine, that a process needs, most of them for CUDA itself."""

PATIENCE = 10.0
"""Seconds that a process has to end by itself."""

P = ParamSpec("P")
T = TypeVar("T")


class Layout(NamedTuple):
    """Processes, and the threads of each."""

    processes: int
    threads: int = 1

    def __str__(self) -> str:
        processes = f"{self.processes} process{'es' * (self.processes > 1)}"
        return f"{processes} of {self.threads} thread{'s' * (self.threads > 1)}"


def local_layout(device: str) -> Layout:
    """A process a core, as far as memory goes; a GPU is shared by 16 at most.

    Parameters
    ----------
    device : str
        "cpu" or "cuda".
    """
    cores = available_cores()
    if device == "cuda":
        room = min(PROCESSES_PER_GPU, available_memory() // HOST_MEMORY, gpu_memory() // GPU_MEMORY)
    else:
        room = available_memory() // MEMORY
    processes = max(1, min(cores, room))
    return Layout(processes, cores // processes)


def available_cores() -> int:
    """Cores that this process may use."""
    # It respects the quotas that containers set. Imported here: not every run measures.
    from joblib import cpu_count

    return int(cpu_count())


def available_memory() -> int:
    """Bytes of the machine, or of the container where that has fewer."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        # Reads "max" where there is no limit.
        return min(installed, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return installed


class ProcessPool(Executor):
    """Processes of this machine; one that dies takes only its own call with it.

    Python's own pool gives up the calls of all its processes when one of them dies. Here each
    process has such a pool to itself.

    Parameters
    ----------
    layout : Layout
        How many, and the threads of each.
    gpu : bool
        Whether they share a GPU.
    """

    lost: tuple[type[Exception], ...] = (BrokenProcessPool,)
    retries = True

    def __init__(self, layout: Layout, *, gpu: bool = False) -> None:
        self.slots, self.threads = layout
        # Started before the processes, which find it by their environment.
        self._service = mps.start(layout.processes) if gpu else None
        self._gpu = gpu
        self._workers = [_Worker(gpu=gpu) for _ in range(layout.processes)]
        shared = "" if self._service is None else ", which share the GPU by MPS"
        self.described = f"{layout}{shared}"

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future of the call, which goes to the process with the fewest."""
        number = min(range(self.slots), key=lambda number: self._workers[number].pending)
        try:
            return self._workers[number].submit(fn, *args, **kwargs)
        except BrokenProcessPool:
            end_workers([self._workers[number]])
            self._workers[number] = _Worker(gpu=self._gpu)
            return self._workers[number].submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """End the processes at once, whatever they are doing."""
        try:
            end_workers(self._workers)
        finally:
            if self._service is not None:
                self._service.end()


def end_workers(workers: Sequence[_Worker]) -> None:
    """Terminate the processes of workers, and kill those that do not end."""
    for worker in workers:
        for process in worker.processes:
            process.terminate()
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        for process in worker.processes:
            # By its sentinel: asking the process itself would race with the pool's own thread.
            if not wait([process.sentinel], timeout=max(0.0, deadline - time.monotonic())):
                process.kill()
        worker.shutdown(wait=True, cancel_futures=True)


def exit_after_gpu(*_: object) -> None:
    """End this process as soon as its GPU has finished what it was given.

    Where processes share a GPU by MPS, one that ends in the midst of its work may stop all others.
    """
    # While torch is being imported, it has no `cuda` yet.
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    try:
        # It fails while a graph is captured: then there is no work.
        if cuda is not None and cuda.is_initialized():
            cuda.synchronize()
    finally:
        os._exit(1)


class _Context(SpawnContext):
    """Starts processes afresh and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        process = SpawnProcess(*args, **kwargs)
        self.started.append(process)
        return process


class _Worker(ProcessPoolExecutor):
    """A pool of one process, which Ctrl-C does not reach: it ends with its parent."""

    def __init__(self, *, gpu: bool) -> None:
        self._context = _Context()
        super().__init__(1, mp_context=self._context, initializer=_prepare, initargs=(gpu,))
        self._calls: list[Future[Any]] = []

    @property
    def pending(self) -> int:
        """Calls that have not ended."""
        self._calls = [call for call in self._calls if not call.done()]
        return len(self._calls)

    @property
    def processes(self) -> Sequence[SpawnProcess]:
        """The process, once it was started."""
        return self._context.started

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future of the call."""
        # The process is started here and inherits what is blocked.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            future = super().submit(fn, *args, **kwargs)
            self._calls.append(future)
            return future
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _prepare(gpu: bool) -> None:
    """Set up a worker's process."""
    if gpu:
        signal.signal(signal.SIGTERM, exit_after_gpu)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that was killed leaves no message; without this its workers would stay for ever.
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    # The main thread is to stop first, wherever it is.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)
