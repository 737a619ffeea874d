"""Where buckets are measured: in this process, or in a pool of processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from typing import ParamSpec, TypeVar

from harness.errors import UnknownNameError

EXECUTORS = ("processes", "serial")

P = ParamSpec("P")
T = TypeVar("T")


class SerialExecutor(Executor):
    """Runs each call at once, in this process."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future that is already done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class ProcessPool(ProcessPoolExecutor):
    """Processes that Ctrl-C does not reach; it is the parent's, which ends them.

    Parameters
    ----------
    workers : int
        How many.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(
            workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare
        )
        self._own: set[BaseProcess] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future of the call."""
        # Processes start here and inherit what is blocked: `_prepare` runs only after their first
        # imports.
        with _without_interrupts():
            others = set(multiprocessing.active_children()) - self._own
            future = super().submit(fn, *args, **kwargs)
            self._own |= set(multiprocessing.active_children()) - others
            return future

    def end(self) -> None:
        """End the pool and its processes at once, whatever they are doing."""
        for process in self._own:
            process.terminate()
        # The pool's own thread waits for its processes. Waiting for them here as well, or not for
        # the thread, would race with it.
        self.shutdown(wait=True, cancel_futures=True)


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


def executor_named(name: str, *, device: str) -> tuple[Executor, int]:
    """An executor and how many buckets it measures at a time.

    One process a core with one thread each measures more than one process with all threads; a GPU
    is shared best by one process.

    Raises
    ------
    UnknownNameError
        Where the name is none of `EXECUTORS`.
    """
    match name:
        case "serial":
            return SerialExecutor(), 1
        case "processes":
            workers = 1 if device == "cuda" else available_cores()
            return ProcessPool(workers), workers
        case _:
            raise UnknownNameError.nearest(name, EXECUTORS, what="executor")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _prepare() -> None:
    # Where nothing can be blocked; before the import of torch, which takes seconds.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Imported in the worker, so that the parent needs no torch.
    from harness.worker import prepare

    prepare()
