"""What runs inside Dask's workers: whether they would measure what another machine expects.

Identities are given out by the machine that asks: they hold for what is measured elsewhere only
where versions, code and device are the same.
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

_turn = threading.Lock()
"""Held in a worker while it measures."""


def signature(*, device: str) -> dict[str, str]:
    """What has to be the same wherever cells of one run are measured.

    The device and the versions that are part of a cell's identity, and this package's code.
    """
    settings = dict(context(device=device))
    versions = settings.pop("versions")
    return {
        **{name: str(value) for name, value in settings.items()},
        **(versions if isinstance(versions, dict) else {}),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "code": _code(),
    }


@functools.cache
def _code() -> str:
    """Digest of this package as it was when this process first looked."""
    digest = hashlib.sha256()
    folder = Path(harness.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a worker finds when it is asked.

    Parameters
    ----------
    host : str
        Name of its machine.
    device : str
        What "auto" is there.
    objection : str, optional
        Why it cannot measure for this run.
    theirs : Path, optional
        A file that it wrote beside ours; None where it found none of ours.
    """

    host: str
    device: str
    objection: str | None
    theirs: Path | None


def probe(expected: Mapping[str, str], *, ours: Path) -> Answer:
    """Answer, in a worker, whether it fits; ours is a file in the store with its own name in it."""
    theirs = None
    with contextlib.suppress(OSError):
        if ours.read_text() == ours.stem[1:]:
            theirs = ours.with_stem(f"{ours.stem}-{secrets.token_hex(4)}")
            theirs.touch()
    return Answer(
        host=platform.node(),
        device=resolve_device("auto"),
        objection=objection(expected),
        theirs=theirs,
    )


def objection(expected: Mapping[str, str]) -> str | None:
    """Why the process that this runs in would not measure what is expected; None where it would."""
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
class Turn:
    """A call that is made where it is unpickled.

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
        return _take_turn, (self.call, self.expected)


def _take_turn(call: Callable[[], T], expected: Mapping[str, str]) -> T:
    """Run a call in a worker, one at a time; workers that joined later are asked here."""
    told = objection(expected)
    if told is not None:
        from distributed import get_worker

        raise unfit(get_worker().address, told)
    with _turn:
        return call()


def can_import() -> None:
    """Whoever can call this has this package."""


def unfit(address: str, rule: str) -> ExecutorError:
    """The error for a worker, or the scheduler, that does not fit, and why."""
    return ExecutorError(
        f"the worker of Dask at {address}" if "://" in address else f"{address} of Dask",
        rule=rule,
        remedy="Start it in the project's folder, with the environment that is used here",
    )
