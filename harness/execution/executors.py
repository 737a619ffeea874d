"""Where buckets are measured: in this process, in processes of this machine, or by Dask's workers.

Each is a `concurrent.futures.Executor`, with what the scheduler has to know about its workers.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, Protocol, TypeVar

from harness.errors import ExecutorError, UnknownNameError
from harness.execution.dask_workers import DaskWorkers
from harness.execution.process_pool import Layout, ProcessPool, local_layout
from harness.store import Store

FORMS = ("processes", "processes:N", "serial", "dask:ADDRESS")
"""Names of executors."""

P = ParamSpec("P")
T = TypeVar("T")


class Workers(Protocol):
    """What the scheduler needs of an executor.

    Attributes
    ----------
    lost : tuple of type
        Errors of a call whose worker died.
    retries : bool
        Whether such a call is to be submitted again; Dask does that by itself.
    slots : int
        Calls to run at a time; it may change while they run.
    threads : int or None
        Threads of torch for each call; None where its worker decides.
    described : str
        The workers in words.
    """

    lost: tuple[type[Exception], ...]
    retries: bool

    @property
    def slots(self) -> int: ...  # noqa: D102 - see above

    @property
    def threads(self) -> int | None: ...  # noqa: D102

    @property
    def described(self) -> str: ...  # noqa: D102

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future of the call."""
        ...

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Drop what is queued and let go of the workers at once."""
        ...


class SerialExecutor(Executor):
    """Runs each call at once, in this process, with one thread: what others are compared with."""

    lost: tuple[type[Exception], ...] = ()
    retries = False
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


@dataclasses.dataclass(frozen=True)
class ExecutorName:
    """The name of an executor, parsed.

    Parameters
    ----------
    kind : str
        "serial", "processes" or "dask".
    processes : int, optional
        How many, where the name says so.
    address : str
        Of Dask's scheduler.
    """

    kind: str
    processes: int | None = None
    address: str = ""


def parse_executor(name: str) -> ExecutorName:
    """Parse the name of an executor; nothing is started or contacted.

    Raises
    ------
    UnknownNameError
        Where there is no such executor.
    ExecutorError
        Where the name is malformed, or a package is missing.
    """
    kind, _, rest = name.partition(":")
    match kind:
        case "serial" if not rest:
            return ExecutorName(kind)
        case "processes":
            if name == kind:
                return ExecutorName(kind)
            if re.fullmatch(r"[1-9]\d{0,3}", rest):
                return ExecutorName(kind, processes=int(rest))
            raise ExecutorError(
                f"--executor {name}",
                rule="processes are given by their number",
                remedy="Write processes:4, or processes for one on each core",
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
            return ExecutorName(kind, address=rest.strip())
    raise UnknownNameError.nearest(name, FORMS, what="executor")


def open_executor(name: str, *, device: str, auto: bool, store: Store) -> Workers:
    """Start the executor with a name.

    Parameters
    ----------
    name : str
        As in `parse_executor`.
    device : str
        "cpu" or "cuda": where the workers measure.
    auto : bool
        Whether the device was chosen automatically, on this machine.
    store : Store
        Where they write records.

    Raises
    ------
    UnknownNameError, ExecutorError
        As `parse_executor`; and where workers cannot be reached, or would measure something else.
    """
    parsed = parse_executor(name)
    match parsed.kind:
        case "serial":
            return SerialExecutor()
        case "dask":
            return DaskWorkers(parsed.address, device=device, auto=auto, store=store)
    layout = local_layout(device) if parsed.processes is None else Layout(parsed.processes)
    return ProcessPool(layout, gpu=device == "cuda")
