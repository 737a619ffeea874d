"""Where buckets are measured: in this process, or in a pool of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
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
    """Processes that Ctrl-C does not reach; it is the parent's, which ends them."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future of the call."""
        if not hasattr(signal, "pthread_sigmask"):
            return super().submit(fn, *args, **kwargs)
        # Processes start here and inherit what is blocked: `_prepare` runs only after their first
        # imports.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
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
            pool = ProcessPool(
                workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_prepare,
            )
            return pool, workers
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
