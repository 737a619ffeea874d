"""The workers of a Dask cluster, after a check that they measure what this machine would.

Records come back through the store, whose folder all machines share. The part of the check that
runs in the workers is in `harness.execution.dask_compatibility`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import pickle
import secrets
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from harness.errors import ExecutorError
from harness.execution.dask_compatibility import (
    CheckedCall,
    WorkerAnswer,
    can_import,
    incompatible,
    probe,
    signature,
)
from harness.store import Store

if TYPE_CHECKING:
    # An extra, imported where it is used.
    from distributed import Client

P = ParamSpec("P")
T = TypeVar("T")

CONNECT = 10.0
"""Seconds to wait for the scheduler, and for its first worker."""

ALONE = 60.0
"""Seconds to wait for another worker once the last one is gone."""

COUNTED = 1.0
"""Seconds between two counts of the workers."""


class DaskWorkers(Executor):
    """Workers of a Dask cluster: as many calls at a time as there are worker processes.

    A worker process measures one bucket at a time, with as many threads as it was started with.
    Workers that join later are used, too. Dask itself passes the bucket of a lost worker on.

    Parameters
    ----------
    address : str
        Of Dask's scheduler.
    device : str
        "cpu" or "cuda": where they measure.
    auto : bool
        Whether the device was chosen automatically, on this machine.
    store : Store
        Where records go.

    Raises
    ------
    ExecutorError
        Where no scheduler or no worker answers, or where a worker would measure something else or
        does not share the folder.
    """

    retries = False
    threads = None

    def __init__(self, address: str, *, device: str, auto: bool, store: Store) -> None:
        from distributed.scheduler import KilledWorker

        self.lost: tuple[type[Exception], ...] = (KilledWorker,)
        self._address = address
        self._expected = signature(device=device)
        self._number = 0
        self._seen = time.monotonic()
        try:
            self._client = _connected(address)
        except (OSError, ValueError) as error:
            raise ExecutorError(
                f"--executor dask:{address}",
                rule=f"no scheduler of Dask answers there ({_first_line(error)})",
                remedy="Start one with `python -m dask scheduler`; it prints its address",
            ) from error
        try:
            self._check(auto=auto, store=store)
        except BaseException:
            self._client.close()
            raise
        # Each call is a new one, even where an earlier one had the same arguments.
        self._executor = self._client.get_executor(pure=False)

    @property
    def slots(self) -> int:
        """Worker processes at present.

        Raises
        ------
        ExecutorError
            Where there has been none for a while, or the scheduler is gone.
        """
        now = time.monotonic()
        if not self._number or now - self._seen > COUNTED:
            try:
                self._number = len(self._client.nthreads())
            except (OSError, RuntimeError, ValueError) as error:
                raise ExecutorError(
                    f"--executor dask:{self._address}",
                    rule=f"the scheduler does not answer any more ({_first_line(error)})",
                    remedy="Run again once it does: finished cells are kept",
                ) from error
            if self._number:
                self._seen = now
            elif now - self._seen > ALONE:
                raise self._no_worker()
        return self._number

    @property
    def described(self) -> str:
        """How many workers there are, and where."""
        return f"Dask at {self._address}, {self._number} worker{'s' * (self._number != 1)}"

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future of the call."""
        call = CheckedCall(functools.partial(fn, *args, **kwargs), self._expected)
        # Unpickled by the task itself, so that a worker without this package answers with an error;
        # Dask would unpickle the call as it arrives, and such a worker would end without a message.
        future: Future[T] = self._executor.submit(pickle.loads, pickle.dumps(call))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Cancel what is queued and disconnect; the cluster stays.

        A worker finishes the bucket that it has begun, and the next run finds the records.
        """
        # A scheduler that is gone has taken along what was queued.
        with contextlib.suppress(OSError):
            self._executor.shutdown(wait=False)
        self._client.close(timeout=CONNECT)

    def _check(self, *, auto: bool, store: Store) -> None:
        """Check the scheduler and every worker."""
        try:
            self._client.wait_for_workers(1, timeout=CONNECT)
        except TimeoutError as error:
            raise self._no_worker() from error
        try:
            # The scheduler unpacks calls before it passes them on.
            self._client.run_on_scheduler(can_import)
        except Exception as error:
            raise incompatible("the scheduler of Dask", _first_line(error)) from error
        token = secrets.token_hex(8)
        # Named like what a killed writer leaves behind, so that a later run removes it if need be.
        ours = store.running / f".{token}.part"
        try:
            ours.parent.mkdir(exist_ok=True)
            ours.write_text(token)
            answers: Mapping[str, WorkerAnswer | Exception] = self._client.run(
                probe, self._expected, ours=ours, on_error="return"
            )
            device = self._expected["device"]
            for address, answer in answers.items():
                worker = f"the worker of Dask at {address}"
                if isinstance(answer, Exception):
                    raise incompatible(worker, _first_line(answer)) from answer
                if answer.incompatibility is not None:
                    raise incompatible(worker, answer.incompatibility)
                if not (answer.written is not None and answer.written.exists()):
                    raise ExecutorError(
                        f"--store {store.folder}",
                        rule=f"the worker at {address} ({answer.host}) does not share this folder",
                        remedy="Choose one that all machines share, by the same path",
                    )
                if auto and answer.device != device:
                    raise ExecutorError(
                        "--device auto",
                        rule=f"it is {device} here, and {answer.device} for the worker at "
                        f"{address} ({answer.host})",
                        remedy="Choose --device cpu or --device cuda for all",
                    )
        finally:
            for path in ours.parent.glob(f"{ours.stem}*"):
                path.unlink(missing_ok=True)

    def _no_worker(self) -> ExecutorError:
        return ExecutorError(
            f"--executor dask:{self._address}",
            rule="the scheduler has no worker",
            remedy=f"Start some with `python -m dask worker {self._address} --nworkers N "
            "--nthreads 1`; finished cells are kept",
        )


def _connected(address: str) -> Client:
    """A client of the scheduler at an address.

    Raises
    ------
    OSError, ValueError
        Where none answers, or it is no address.
    """
    import distributed

    class Closing(distributed.Client):
        """Closes itself if it cannot start.

        Left to the garbage collector, it might be closed in the thread of a later client's loop,
        which would then wait for itself.
        """

        def start(self, **options: object) -> None:
            try:
                super().start(**options)  # type: ignore[no-untyped-call]
            except BaseException:
                self.close()  # type: ignore[no-untyped-call]
                raise

    # They log what is raised here as errors.
    for name in ("distributed.client", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        # About versions that differ: those that matter raise an error of their own.
        warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
        return Closing(  # type: ignore[no-untyped-call]
            address, timeout=CONNECT, set_as_default=False, name="depth-claims"
        )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
