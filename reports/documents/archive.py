"""The documents of runs, kept in the store beside the records that they name.

With them a report is made again from the store alone, and runs are compared over time.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.errors import OptionError, StoreError
from harness.files import write_atomically
from harness.store import Store
from harness.verdict.results import Run
from reports.documents.build import document, dumps
from reports.documents.read import read_run
from reports.summary import summarise

RUNS = "runs"
"""Folder of a store that has a document for every run."""

DOCUMENT = "claims.json"
"""The document in the folder of a report."""


def keep(run: Run, store: Store) -> Path:
    """Write the document of a run into its store, named by the run's end.

    Raises
    ------
    StoreError
        Where the store cannot be written.
    """
    content = dumps(document(summarise(run)), compact=True).encode("utf-8")
    # The digest parts runs that end in the same second.
    name = f"{_moment(run.ended)}-{hashlib.sha256(content).hexdigest()[:8]}.json"
    path = store.folder / RUNS / name
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise StoreError(
            path,
            rule=f"the document of the run cannot be written ({error.strerror})",
            remedy="Free space, or choose another store with --store DIR",
        ) from error
    return path


def documents(place: Path) -> list[Path]:
    """The documents of a place, oldest first as their names go.

    Parameters
    ----------
    place : Path
        A document, a store, the folder of a report, or a folder with any of these below it.

    Raises
    ------
    OptionError
        Where there is none.
    """
    if place.is_file():
        return [place]
    found = sorted((place / RUNS).glob("*.json"))
    if not found and (place / DOCUMENT).is_file():
        found = [place / DOCUMENT]
    if not found:
        found = sorted({*place.rglob(DOCUMENT), *place.rglob(f"{RUNS}/*.json")})
    if not found:
        raise OptionError(
            place,
            rule="there is no document of a run here",
            remedy=f"Name a store, the folder of a report, or a {DOCUMENT}; "
            "`pytest claims/` writes them",
        )
    return found


def latest(place: Path) -> Run:
    """The whole run of a place that ended last, the last partial one where none is whole.

    Errors as those of `documents`, and of `read_run` for the run that ended last; earlier ones that
    cannot be read are passed over.
    """
    newest, *others = reversed(documents(place))
    last = read_run(newest)
    return next((run for run in itertools.chain([last], _readable(others)) if run.whole), last)


def _readable(paths: Iterable[Path]) -> Iterator[Run]:
    for path in paths:
        with contextlib.suppress(StoreError):
            yield read_run(path)


def _moment(ended: str) -> str:
    """A time as a name that sorts, in UTC; text that is no time as nothing known."""
    try:
        moment = dt.datetime.fromisoformat(ended)
    except ValueError:
        return "unknown"
    return moment.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
