"""Where buckets are measured: in this process, in processes of this machine, or by Dask's workers.

Each is a `concurrent.futures.Executor` with what the scheduler has to know of it besides.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import ParamSpec, Protocol, TypeVar

from harness.errors import ExecutorError, UnknownNameError
from harness.execution import mps, tuning
from harness.execution.dask_workers import DaskWorkers
from harness.execution.device import gpu_memory
from harness.execution.tuning import Layout, Machine
from harness.store import Store

FORMS = ("processes", "processes:NxT", "serial", "dask:ADDRESS")
"""Names of executors."""

_PATIENCE = 10.0
"""Seconds for a process to end by itself."""

P = ParamSpec("P")
T = TypeVar("T")


class Workers(Protocol):
    """What the scheduler needs of an executor."""

    lost: tuple[type[Exception], ...]
    """Errors of a call whose worker died."""

    tries: int
    """How often to submit a call whose worker died."""

    @property
    def slots(self) -> int:
        """Calls to have under way; it may change while they run."""
        ...

    @property
    def threads(self) -> int | None:
        """Threads of torch for each call; None where its worker decides."""
        ...

    @property
    def described(self) -> str:
        """In words."""
        ...

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future of the call."""
        ...

    def end(self) -> None:
        """Drop what is queued and let go of the workers at once."""
        ...


class SerialExecutor(Executor):
    """Runs each call at once, in this process, with one thread: what others are compared with."""

    lost: tuple[type[Exception], ...] = ()
    tries = 1
    slots = 1
    threads = 1
    described = "this process, with one thread"

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future that is already done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

    def end(self) -> None:
        """Nothing is left to end."""


class ProcessPool(Executor):
    """Processes of this machine; one that dies takes its own call along and no other.

    Parameters
    ----------
    layout : Layout
        How many, and the threads of each.
    gpu : bool
        Whether they share a GPU.
    """

    # Python's own pool gives up all calls of all its processes when one of them dies. Here each
    # process has a pool to itself.

    lost: tuple[type[Exception], ...] = (BrokenProcessPool,)
    tries = 2

    def __init__(self, layout: Layout, *, gpu: bool = False) -> None:
        self._layout = layout
        # Before the first of them starts, since it is then that they find it.
        self._service = mps.start(layout.processes) if gpu else None
        self._gpu = gpu
        self._processes = [_Process(gpu=gpu) for _ in range(layout.processes)]

    @property
    def slots(self) -> int:
        """One call a process."""
        return self._layout.processes

    @property
    def threads(self) -> int:
        """Threads of torch for each call."""
        return self._layout.threads

    @property
    def described(self) -> str:
        """The layout, and how a GPU is shared."""
        shared = "" if self._service is None else ", which share the GPU by MPS"
        return f"{self._layout}{shared}"

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future of the call; it goes to the process that has the fewest."""
        process = min(self._processes, key=lambda process: process.pending)
        try:
            return process.submit(fn, *args, **kwargs)
        except BrokenProcessPool:
            process.end()
            another = _Process(gpu=self._gpu)
            self._processes[self._processes.index(process)] = another
            return another.submit(fn, *args, **kwargs)

    def tune(self, layouts: Sequence[Layout]) -> dict[Layout, float]:
        """Take the fastest of the layouts, none with more processes than there are.

        Returns
        -------
        dict of Layout to float
            Steps per second of all its processes together, at the same time.
        """
        # All have imported torch before the first is tried.
        for future in [
            process.submit(tuning.steps_per_second, 1, seconds=0.0) for process in self._processes
        ]:
            future.result()
        rates = dict.fromkeys(layouts, 0.0)
        for layout in list(layouts) * tuning.ROUNDS:
            running = [
                process.submit(tuning.steps_per_second, layout.threads, seconds=tuning.SECONDS)
                for process in self._processes[: layout.processes]
            ]
            rates[layout] = max(rates[layout], sum(future.result() for future in running))
        self._layout = tuning.fastest(rates)
        _end(self._processes[self._layout.processes :])
        del self._processes[self._layout.processes :]
        return rates

    def end(self) -> None:
        """End the processes at once, whatever they are doing."""
        try:
            _end(self._processes)
        finally:
            if self._service is not None:
                self._service.end()


class _Process(ProcessPoolExecutor):
    """A pool of one process that Ctrl-C does not reach; it is the parent's, which ends it.

    Parameters
    ----------
    gpu : bool
        Whether it may have a GPU at work when it is ended.
    """

    def __init__(self, *, gpu: bool = False) -> None:
        super().__init__(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_prepare,
            initargs=(gpu,),
        )
        self._own: set[BaseProcess] = set()
        self._calls: list[Future[object]] = []

    @property
    def pending(self) -> int:
        """Calls that have not ended."""
        self._calls = [call for call in self._calls if not call.done()]
        return len(self._calls)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future of the call."""
        # The process starts here and inherits what is blocked: `_prepare` runs only after its first
        # imports.
        with _without_interrupts():
            others = set(multiprocessing.active_children()) - self._own
            future = super().submit(fn, *args, **kwargs)
            self._own |= set(multiprocessing.active_children()) - others
            self._calls.append(future)  # type: ignore[arg-type]  # only asked whether it is done
            return future

    def terminate(self) -> None:
        """Tell the process to end."""
        for process in self._own:
            process.terminate()

    def kill_after(self, deadline: float) -> None:
        """End the process by force, unless it has ended by some time of the monotonic clock."""
        for process in self._own:
            # By its sentinel: whoever asks the process itself would race with the pool's thread.
            if not wait([process.sentinel], timeout=max(0.0, deadline - time.monotonic())):
                process.kill()

    def end(self) -> None:
        """End the process at once."""
        _end([self])


def _end(processes: Sequence[_Process]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _PATIENCE
    for process in processes:
        process.kill_after(deadline)
        # The pool's own thread waits for its process. Waiting for it here as well, or not for the
        # thread, would race with it.
        process.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let Ctrl-C wait, where the system can block signals."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """An executor's name, taken apart.

    Parameters
    ----------
    kind : str
        "serial", "processes" or "dask".
    layout : Layout, optional
        Of processes, where the name fixes it.
    address : str
        Of Dask's scheduler.
    """

    kind: str
    layout: Layout | None = None
    address: str = ""


def chosen(name: str) -> Chosen:
    """Take the name of an executor apart; nothing is started or reached.

    Raises
    ------
    UnknownNameError
        Where there is no such executor.
    ExecutorError
        Where it is not written as it has to be, or a package is missing.
    """
    kind, _, rest = name.partition(":")
    match kind:
        case "serial" if not rest:
            return Chosen(kind)
        case "processes":
            numbers = re.fullmatch(r"([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?", rest)
            if numbers is not None:
                return Chosen(kind, layout=Layout(int(numbers[1]), int(numbers[2] or 1)))
            if name == kind:
                return Chosen(kind)
            raise ExecutorError(
                f"--executor {name}",
                rule="processes are given by their number and the threads of each",
                remedy="Write processes:4, or processes:4x2 for two threads each",
            )
        case "dask":
            if not rest.strip():
                raise ExecutorError(
                    f"--executor {name}",
                    rule="the address of Dask's scheduler is missing",
                    remedy="Write dask:tcp://HOST:8786, the address that `dask scheduler` prints",
                )
            if importlib.util.find_spec("distributed") is None:
                raise ExecutorError(
                    f"--executor {name}",
                    rule="the package distributed is not installed",
                    remedy="Install the extra dask: pip install '.[dask]'",
                )
            return Chosen(kind, address=rest.strip())
    raise UnknownNameError.nearest(name, FORMS, what="executor")


def open_workers(name: str, *, device: str, auto: bool, store: Store) -> Workers:
    """The workers of an executor, ready to be given calls.

    A GPU is shared by some processes, at most a constant number that is not measured, whose threads
    are for what is measured beside it. On a CPU, the layout of processes and threads that measures
    most is found by trying, once for a machine.

    Parameters
    ----------
    name : str
        As in `chosen`.
    device : str
        "cpu" or "cuda": where they measure.
    auto : bool
        Whether it was found on this machine, rather than asked for.
    store : Store
        Where they write records.

    Raises
    ------
    UnknownNameError, ExecutorError
        As `chosen`; and where workers cannot be reached, or would measure something else.
    """
    found = chosen(name)
    match found.kind:
        case "serial":
            return SerialExecutor()
        case "dask":
            return DaskWorkers(found.address, device=device, auto=auto, store=store)
    gpu = device == "cuda"
    if found.layout is not None:
        return ProcessPool(found.layout, gpu=gpu)
    if gpu:
        return ProcessPool(Machine.here().beside_a_gpu(gpu_memory()), gpu=True)
    return _tuned()


def _tuned() -> ProcessPool:
    machine = Machine.here()
    layouts = machine.layouts
    known = layouts[0] if len(layouts) == 1 else tuning.remembered(machine)
    if known is not None:
        return ProcessPool(known)
    pool = ProcessPool(layouts[0])
    try:
        tuning.remember(machine, pool.tune(layouts))
    except BrokenProcessPool as error:
        pool.end()
        raise ExecutorError(
            "a worker process",
            rule="it was killed as it started (by hand, or for want of memory)",
            remedy="Free memory, or take fewer processes: --executor processes:1",
        ) from error
    except BaseException:
        pool.end()
        raise
    return pool


def _prepare(gpu: bool) -> None:
    # Where nothing can be blocked.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpu:
        signal.signal(signal.SIGTERM, _leave)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that was killed leaves no message; without this its workers would stay for ever.
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    # The main thread is to stop first, wherever it is.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(1)


def _leave(*_: object) -> None:
    """End this process as soon as its GPU has done what it was given.

    Where processes share a GPU by MPS, one that ends in the midst of its work may stop all others.
    """
    # While torch is imported it lacks a part that is.
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    try:
        # It fails while a graph is captured: then there is no work.
        if cuda is not None and cuda.is_initialized():
            cuda.synchronize()
    finally:
        os._exit(1)
