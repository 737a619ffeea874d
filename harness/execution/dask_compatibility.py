"""What runs inside Dask's workers: the check that they measure exactly what this machine would.

The identities of cells are computed by the machine that submits them. They hold for what others
measure only if versions, code and device are the same there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import platform
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import harness
from harness.errors import DepthClaimsError, ExecutorError
from harness.execution.device import resolve_device
from harness.plan.identity import context

T = TypeVar("T")

_measuring = threading.Lock()
"""Held in a worker while it measures."""


def signature(*, device: str) -> dict[str, str]:
    """What has to be the same wherever the cells of a run are measured.

    That is the device and the versions that are part of a cell's identity, and this package's code.
    """
    settings = dict(context(device=device))
    versions = settings.pop("versions")
    return {
        **{name: str(value) for name, value in settings.items()},
        **(versions if isinstance(versions, dict) else {}),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "code": _code(),
    }


@dataclasses.dataclass(frozen=True)
class WorkerAnswer:
    """What a worker answers to `probe`.

    Parameters
    ----------
    host : str
        Its machine's name.
    device : str
        What "auto" means there.
    incompatibility : str, optional
        Why it cannot measure for this run.
    written : Path, optional
        A file that it wrote next to ours; None if it did not find ours.
    """

    host: str
    device: str
    incompatibility: str | None
    written: Path | None


def probe(expected: Mapping[str, str], *, ours: Path) -> WorkerAnswer:
    """Answer, in a worker, whether it can measure for this run.

    Parameters
    ----------
    expected : mapping of str to str
        The signature of the process that asks.
    ours : Path
        A file in its store, which contains its own name.
    """
    written = None
    with contextlib.suppress(OSError):
        if ours.read_text() == ours.stem[1:]:
            written = ours.with_stem(f"{ours.stem}-{secrets.token_hex(4)}")
            written.touch()
    return WorkerAnswer(
        host=platform.node(),
        device=resolve_device("auto"),
        incompatibility=incompatibility(expected),
        written=written,
    )


def incompatibility(expected: Mapping[str, str]) -> str | None:
    """Why this process would measure something else than is expected; None if it would not."""
    device = expected["device"]
    try:
        resolve_device(device)
    except DepthClaimsError as error:
        return error.rule
    found = signature(device=device)
    differing = [
        f"{name} {found.get(name, 'missing')} in place of {value}"
        for name, value in expected.items()
        if found.get(name) != value
    ]
    return f"it has {', '.join(differing)}" if differing else None


@dataclasses.dataclass(frozen=True)
class CheckedCall:
    """A call that is made where it is unpickled, if the process there is compatible.

    Parameters
    ----------
    call : callable
        Without arguments.
    expected : mapping of str to str
        The signature of the process that asks.
    """

    call: Callable[[], object]
    expected: Mapping[str, str]

    def __reduce__(self) -> tuple[object, ...]:
        return _run, (self.call, self.expected)


def can_import() -> None:
    """Do nothing: a process that can call this has this package."""


def incompatible(process: str, rule: str) -> ExecutorError:
    """The error for a worker, or the scheduler, that cannot be used for this run."""
    return ExecutorError(
        process,
        rule=rule,
        remedy="Start it in the project's folder, with the environment that is used here",
    )


@functools.cache
def _code() -> str:
    """Digest of this package's source, as it was when this process first read it."""
    digest = hashlib.sha256()
    folder = Path(harness.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _run(call: Callable[[], T], expected: Mapping[str, str]) -> T:
    """Run a call in a worker, one at a time; workers that joined later are checked here."""
    rule = incompatibility(expected)
    if rule is not None:
        from distributed import get_worker

        raise incompatible(f"the worker of Dask at {get_worker().address}", rule)
    with _measuring:
        return call()
